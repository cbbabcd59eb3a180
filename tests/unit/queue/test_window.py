"""What lies in memory of a queue: the places of messages that come back or late, and what finding them costs."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random
from typing import Any

import pytest

from broker.message import STORED, Message
from broker.ports.slot import Slot
from broker.queue.ready_messages import BEYOND
from broker.queue.settings import QueueLimits
from broker.queue.window import Window

MANY = 20_000


class Counted(Message):
    """A message that counts how often anybody looks at its place."""

    __slots__ = ("_id",)
    looks = 0

    @property
    def id(self) -> int:  # type: ignore[override]
        Counted.looks += 1
        return self._id

    @id.setter
    def id(self, value: int) -> None:
        self._id = value


ROOMY = QueueLimits(memory=1 << 40, transient_memory=1 << 40)


def new_window(limits: QueueLimits = ROOMY) -> Window:
    journal: Any = None
    return Window(7, 0, limits, journal)


def read_next_slot(window: Window, ids: Iterable[int]) -> None:
    """The next slot has these messages, and all of them are read."""
    slot = window.open_next_slot()
    assert slot is not None
    messages = [message(message_id) for message_id in ids]
    assert window.on_read(slot, messages)
    window.offer(messages)
    if not window.has_slots:
        window.join_tail()


def message(message_id: int) -> Counted:
    queue: Any = None
    return Counted(message_id, queue, b"\0\0", b"", b"", None, STORED)


def publish(window: Window, ids: Iterable[int]) -> None:
    for message_id in ids:
        window.append(message(message_id))


def take(window: Window, count: int) -> list[Message]:
    return [taken for _ in range(count) if (taken := window.take_first()) is not None]


def rest(window: Window) -> list[int]:
    return [taken.id for taken in take(window, window.ready_count)]


@pytest.fixture(autouse=True)
def looks() -> None:
    Counted.looks = 0


@pytest.mark.parametrize("is_descending", [False, True])
def test_a_message_that_comes_back_costs_no_look_at_those_that_are_ready(is_descending: bool) -> None:
    window = new_window()
    publish(window, range(1, 2 * MANY))
    held = take(window, MANY)
    Counted.looks = 0
    returned = held[::-1] if is_descending else held
    for each in returned[:1000]:
        window.put_back([each])
    assert Counted.looks < 20 * 1000
    assert rest(window) == sorted([each.id for each in returned[:1000]] + list(range(MANY + 1, 2 * MANY)))


def test_a_transaction_that_comes_late_costs_no_look_at_those_that_are_ready() -> None:
    window = new_window()
    publish(window, range(1001, MANY))
    Counted.looks = 0
    for first in range(0, 1000, 5):
        window.insert([message(message_id) for message_id in range(first + 1, first + 6)])
    assert Counted.looks < 20 * 1000
    assert rest(window) == list(range(1, MANY))


def test_transactions_behind_slots_are_put_in_order_together() -> None:
    window = new_window()
    window.recover(Slot(7, 0, 1, 10, 10))
    publish(window, range(1001, MANY))
    Counted.looks = 0
    for first in range(10, 1000, 5):
        window.insert([message(message_id) for message_id in range(first + 1, first + 6)])
    assert Counted.looks < 20 * 1000
    window.slots.clear()
    window.join_tail()
    assert rest(window) == list(range(11, MANY))


def test_messages_that_come_back_together_are_put_in_order_together() -> None:
    window = new_window()
    publish(window, range(1, 2 * MANY))
    held = take(window, MANY)
    window.put_back(held[10:20])
    Counted.looks = 0
    window.put_back(held[:10] + held[20:])
    assert Counted.looks < 5 * MANY
    assert rest(window) == list(range(1, 2 * MANY))


def test_a_run_is_in_order_and_what_is_left_of_it_goes_back() -> None:
    window = new_window()
    publish(window, range(1, 200))
    held = take(window, 100)
    for each in held[::2]:
        window.put_back([each])
    run = window.take_run()
    assert [each.id for each in run] == list(range(1, 101, 2)) + list(range(101, 115))
    run.popleft()
    window.return_run(run)
    assert rest(window) == list(range(3, 101, 2)) + list(range(101, 200))


@pytest.mark.parametrize("seed", range(30))
def test_the_oldest_message_is_always_next(seed: int) -> None:
    random = Random(seed)
    window, model, held, fresh, reserved = new_window(), list[int](), list[Message](), 0, list[int]()
    for _ in range(400):
        what = random.choice(("publish", "take", "take", "return", "reserve", "insert", "run"))
        if what == "publish":
            fresh += 1
            publish(window, [fresh])
            model.append(fresh)
        elif what == "reserve":
            reserved += range(fresh + 1, fresh + 4)
            fresh += 3
        elif what == "insert":
            window.insert([message(message_id) for message_id in reserved])
            model += reserved
            reserved = []
        elif what == "return" and held:
            random.shuffle(held)
            part = [held.pop() for _ in range(random.randint(1, len(held)))]
            window.put_back(part)
            model += [each.id for each in part]
        elif what == "run" and window.late:
            run = window.take_run()
            assert [each.id for each in run] == sorted(model)[: len(run)]
            window.return_run(run)
        elif model:
            (taken,) = take(window, 1)
            assert taken.id == min(model)
            model.remove(taken.id)
            held.append(taken)
        assert window.ready_count == len(model)
        assert bool(window.ready) == bool(model)
    assert rest(window) == sorted(model)


# Withdrawing


def test_what_is_withdrawn_leaves_from_wherever_it_lies() -> None:
    window = new_window()
    publish(window, range(1, 11))
    late, *_ = take(window, 3)
    window.put_back([late])
    window.ready[2].due = 5
    window.note_due([window.ready[2]])
    wanted = [message(number) for number in (1, 2, 5, 6, 10, 99)]
    before = window.bytes
    taken = window.withdraw(wanted)
    assert sorted(each.id for each in taken) == [1, 5, 6, 10]
    assert taken[0] is late, "it is the message that was in memory"
    assert window.bytes == before - sum(each.weight for each in taken)
    assert not window.take_due(1000, 10), "it expires no more"
    assert rest(window) == [4, 7, 8, 9]


def test_what_is_withdrawn_from_slots_counts_there_no_more() -> None:
    window = new_window()
    window.recover(Slot(7, 0, 1, 10, 10, octets=0))
    publish(window, range(20, 24))
    taken = window.withdraw([message(number) for number in (3, 4, 15, 21)])
    assert sorted(each.id for each in taken) == [3, 4, 21]
    assert window.ready_count == 11
    assert [each.id for each in window.tail] == [20, 22, 23]


def test_withdrawing_is_told_to_those_who_have_looked() -> None:
    window = new_window()
    publish(window, range(1, 4))
    before = window.changes
    assert window.withdraw([message(9)]) == []
    assert window.changes == before
    window.withdraw([message(2)])
    assert window.changes > before


def test_the_oldest_message_is_found_although_slots_of_other_nodes_overlap() -> None:
    window = new_window()
    publish(window, [4, 9])
    window.take_over(Slot(7, 1, 6, 7, 2, row=6))
    window.take_over(Slot(7, 2, 2, 3, 2, row=2))
    assert window.take_oldest_ready() is None, "2 and 3 are to be read"
    window.open_oldest_first()
    opened = window.open_next_slot()
    assert opened is not None
    assert opened.start == 2
    window.on_read(opened, [message(2), message(3)])
    window.offer([message(2), message(3)])
    taken = [window.take_oldest_ready() for _ in range(4)]
    assert [each and each.id for each in taken] == [2, 3, 4, None], "6 and 7 are to be read before 9"


def test_the_oldest_message_may_be_behind_a_slot_of_another_node() -> None:
    window = new_window()
    window.take_over(Slot(7, 1, 2, 3, 2, row=2))
    publish(window, [4, 5])
    window.take_over(Slot(7, 1, 6, 7, 2, row=6))
    opened = window.open_next_slot()
    assert opened is not None
    window.on_read(opened, [message(2), message(3)])
    window.offer([message(2), message(3)])
    taken = [window.take_oldest_ready() for _ in range(5)]
    assert [each and each.id for each in taken] == [2, 3, 4, 5, None]


def test_messages_of_other_nodes_that_were_read_are_in_order_for_whoever_takes_the_oldest() -> None:
    window = new_window()
    window.take_over(Slot(7, 1, 6, 7, 2, row=6))
    publish(window, [4, 5])
    opened = window.open_next_slot()
    assert opened is not None
    window.on_read(opened, [message(6), message(7)])
    window.offer([message(6), message(7)])
    window.join_tail()
    assert [each.id for each in (window.take_oldest_ready(), window.take_oldest_ready()) if each] == [4, 5]


def test_octets_of_a_slot_count_when_they_are_known_unless_it_is_being_read() -> None:
    journal: Any = None
    window = Window(7, 0, QueueLimits(), journal, counts_octets=True)
    first, second = Slot(7, 1, 2, 5, 4, row=2), Slot(7, 1, 6, 9, 4, row=6)
    for slot in (first, second):
        window.take_over(slot)
    assert window.unmeasured() == [first, second]
    window.open_next_slot()
    window.on_measured(first, 2, 40)
    window.on_measured(second, 6, 50)
    window.on_measured(second, 6, 50)
    assert window.ready_octets == 50
    assert window.unmeasured() == []
    assert new_window().unmeasured() == []


# Memory and slots


def test_what_was_read_from_a_slot_is_in_no_new_one() -> None:
    window = new_window(QueueLimits(memory=0, window_size=100))
    window.recover(Slot(7, 0, 1, 8, 8))
    read_next_slot(window, range(1, 9))
    publish(window, range(11, 21))

    window.page_out()

    assert [each.id for each in window.ready] == list(range(1, 9))
    assert [(slot.start, slot.end) for slot in window.slots] == [(11, 20)]


def test_a_window_that_is_full_is_closed() -> None:
    window = new_window(QueueLimits(window_size=3))
    window.recover(Slot(7, 0, 1, 8, 8))
    publish(window, (11, 12))
    window.page_out()
    assert [each.id for each in window.tail] == [11, 12]

    publish(window, (13,))
    window.page_out()

    assert not window.tail
    assert [(slot.start, slot.end) for slot in window.slots] == [(1, 8), (11, 13)]


def test_nothing_lies_behind_slots_where_there_are_none() -> None:
    window = new_window()
    publish(window, (5, 6))
    assert window.oldest_in_slots() == BEYOND

    window.take_over(Slot(7, 0, 1, 3, 3))
    assert window.oldest_in_slots() == 1
    window.open_next_slot()
    assert window.oldest_in_slots() == 1
    window.open_slot = None
    assert window.oldest_in_slots() == 5, "all that is left lies behind slots"


def test_a_late_transaction_with_a_place_among_what_was_in_memory_goes_there() -> None:
    window = new_window()
    publish(window, (10, 20))
    window.take_over(Slot(7, 0, 30, 40, 2))

    window.insert([message(15)])

    assert not window.tail
    assert rest(window)[:3] == [10, 15, 20]


def test_what_is_read_into_empty_memory_is_in_order_again() -> None:
    window = new_window()
    publish(window, (2000,))
    window.recover(Slot(7, 0, 1, 3000, 2))
    window.recover(Slot(7, 1, 4, 6, 3))
    read_next_slot(window, (1, 3000))
    assert window.is_unordered
    take(window, 3)

    read_next_slot(window, (4, 5, 6))

    assert not window.is_unordered
