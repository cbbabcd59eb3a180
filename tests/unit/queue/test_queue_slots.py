"""The slots of one queue, as those see them who read and share them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from broker.message import STORED, Message
from broker.ports.slot import Slot
from broker.queue.queue_slots import QueueSlots
from broker.queue.settings import QueueLimits
from broker.queue.window import Window


class Bench:
    """The slots of a queue, and its window."""

    def __init__(self) -> None:
        nothing: Any = None
        self.window = Window(7, 0, QueueLimits(), nothing)
        self.slots = QueueSlots(self.window)

    def publish(self, *ids: int) -> None:
        for message in messages(ids):
            self.window.append(message)


def messages(ids: Iterable[int]) -> list[Message]:
    queue: Any = None
    return [Message(each, queue, b"\0\0", b"", b"", None, STORED) for each in ids]


def slot(start: int, end: int, **options: Any) -> Slot:
    return Slot(7, 0, start, end, end - start + 1, **options)


def test_slots_are_read_one_after_the_other() -> None:
    it = Bench()
    it.window.recover(slot(1, 3))
    it.window.recover(slot(4, 5))
    assert (it.slots.count, it.slots.opened) == (2, None)
    first = it.slots.open_next()
    assert first is not None
    assert first is it.slots.open_next() is it.slots.opened is it.slots.paged[0]
    assert not it.slots.on_read(first, messages([1, 2]))
    it.slots.offer(messages([1, 2]))
    assert (first.start, first.count, [each.id for each in it.window.ready]) == (3, 1, [1, 2])
    assert it.slots.on_read(first, messages([3]))
    assert (it.slots.opened, [each.start for each in it.slots.paged]) == (None, [4])


def test_while_somebody_reads_others_know() -> None:
    it = Bench()
    assert not it.slots.is_reading
    it.slots.begin_reading()
    assert it.slots.is_reading
    it.slots.end_reading()
    assert not it.slots.is_reading


def test_the_oldest_id_is_unknown_while_there_are_slots() -> None:
    it = Bench()
    assert it.slots.oldest_id([]) is None
    it.publish(8, 9)
    assert (it.slots.oldest_id([]), it.slots.oldest_id([5])) == (8, 5)
    it.window.recover(slot(1, 3))
    assert it.slots.oldest_id([5]) == 0


def test_what_is_given_away_is_there_no_more() -> None:
    it = Bench()
    it.publish(1, 2, 3, 4)
    assert [each.id for each in it.slots.take_oldest(2)[0]] == [1, 2]
    assert [each.id for each in it.slots.take_newest(1)[0]] == [4]
    assert it.window.ready_count == 1


def test_at_the_end_of_a_node_all_slots_go_and_those_that_were_delivered_are_named() -> None:
    it = Bench()
    delivered = slot(4, 5, maybe_delivered=True)
    for each in (slot(1, 3), delivered):
        it.window.recover(each)
    assert it.slots.take_delivered() == [delivered]
    assert it.slots.paged == []


def test_transactions_are_counted() -> None:
    it = Bench()
    it.slots.begin_transaction()
    it.slots.begin_transaction()
    it.slots.end_transaction()
    assert it.window.open_transactions == 1
