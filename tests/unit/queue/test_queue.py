"""A queue by itself: order, fairness, memory, slots and counts (ADR 6; contract B24, B29)."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from broker.codec.field_table import EMPTY_TABLE, FieldTable
from broker.message import PENDING, SETTLED, STORED, TRANSIENT, KeyedMessage, Message, body_tails, published_ms
from broker.ports.slot import Slot
from broker.queue.outcome import ACKED, AUTO_ACKED, PURGED, REJECTED
from broker.queue.queue import Queue
from broker.queue.retention import AT_ONCE
from broker.queue.services import UNOBSERVED, QueueObserver
from broker.queue.settings import QueueLimits
from broker.queue.window import Window
from broker.selector.selector import Selector
from tests.support.composition import NoServices, new_queue

QUEUE_ID = 7
SINGLE_ACTIVE = FieldTable.of({"x-single-active-consumer": True})
SMALL = QueueLimits(memory=6000, transient_memory=12_000, window_size=3, read_ahead=2, read_ahead_bytes=4000)


@dataclass
class Ledger:
    """A journal that writes nothing and notes what it is told."""

    settled: list[int] = field(default_factory=list)
    spilled: list[int] = field(default_factory=list)

    def settle(self, message: Message) -> None:
        self.settled.append(message.id)

    def spill(self, message: Message) -> None:
        self.spilled.append(message.id)


@dataclass(eq=False)
class Taker:
    """A consumer with so much credit."""

    queue: Queue
    credit: int = 1_000_000
    is_exclusive: bool = False
    is_resting: bool = False
    priority: int = 0
    unacked: int = 0
    messages: list[Message] = field(default_factory=list)
    is_cancelled: bool = False

    def take(self, ready: deque[Message], limit: int) -> int:
        taken = [ready.popleft() for _ in range(min(limit, self.credit))]
        self.credit -= len(taken)
        self.messages += taken
        self.queue.on_taken(len(taken), sum(message.weight for message in taken))
        return len(taken)

    def allow(self, credit: int) -> None:
        """Let it take so many more."""
        self.credit = credit
        self.queue.turns.wake(self)

    def can_take(self) -> bool:
        return self.credit > 0

    def on_queue_deleted(self) -> None:
        self.is_cancelled = True

    @property
    def ids(self) -> list[int]:
        return [message.id for message in self.messages]


@dataclass
class Bench:
    """A queue with its surroundings. `asked` says how often it has asked for what lies in its slots."""

    queue: Queue
    journal: Ledger
    asked: list[Queue]

    def consumer(self, credit: int = 1_000_000) -> Taker:
        taker = Taker(self.queue, credit)
        self.queue.turns.add(taker)
        return taker

    def publish(self, *ids: int, size: int = 10, state: int = STORED) -> None:
        for message_id in ids:
            self.queue.append(self.message(message_id, size, state))
        self.queue.dispatch()

    def message(self, message_id: int, size: int = 10, state: int = STORED) -> Message:
        return Message(message_id, self.queue, b"\0\0", b"", *body_tails(b"x" * size, 4096), state)

    def read(self, limit: int = 1000) -> None:
        """Bring what lies in the oldest slot, as the slot reader does; its rows are the ids of its range."""
        queue = self.queue
        assert queue.slots.is_reading
        slot = queue.slots.open_next()
        assert slot is not None
        messages = [self.message(message_id) for message_id in range(slot.start, slot.end + 1)[:limit]]
        queue.slots.on_read(slot, messages)
        queue.slots.offer(messages)
        queue.slots.end_reading()
        queue.dispatch()

    @property
    def ready(self) -> list[int]:
        return [message.id for message in self.queue.ready]

    @property
    def window(self) -> Window:
        return self.queue._window

    def closed(self) -> list[tuple[int, int, int]]:
        """Take all slots: start, end and count of each."""
        return [(slot.start, slot.end, slot.count) for slot in self.window.slots.clear()]


@dataclass
class Cluster:
    """What a queue of a cluster tells of itself: how much was ready after each dispatch, and what was purged."""

    ready: list[int] = field(default_factory=list)
    dropped: list[Slot] = field(default_factory=list)
    exact: int = 0

    def after_dispatch(self, queue: Queue) -> None:
        self.ready.append(queue.ready_count)

    def after_exact_dispatch(self, queue: Queue) -> None:
        self.exact += 1

    def on_dropped(self, slots: Sequence[Slot]) -> None:
        self.dropped += slots


def bench(
    limits: QueueLimits = SMALL, observer: QueueObserver[Queue] = UNOBSERVED, arguments: FieldTable = EMPTY_TABLE
) -> Bench:
    journal, asked = Ledger(), list[Queue]()
    queue = new_queue(
        queue_id=QUEUE_ID,
        limits=limits,
        journal=journal,
        read_slots=asked.append,
        observer=observer,
        arguments=arguments,
    )
    return Bench(queue, journal, asked)


def paged_out() -> Bench:
    """A queue of twelve messages, of which the first three are in memory and 4 to 12 in three slots."""
    it = bench()
    it.publish(*range(1, 13))
    assert it.ready == [1, 2, 3]
    return it


def test_messages_leave_in_the_order_in_which_they_came() -> None:
    it = bench()
    consumer = it.consumer()
    it.publish(1, 2)
    it.publish(3)
    assert consumer.ids == [1, 2, 3]
    assert it.queue.ready_count == 0


def test_a_consumer_gets_no_more_than_its_credit() -> None:
    it = bench()
    consumer = it.consumer(credit=2)
    it.publish(1, 2, 3)
    assert (consumer.ids, it.ready) == ([1, 2], [3])


def test_consumers_take_turns() -> None:
    it = bench()
    consumers = [it.consumer() for _ in range(3)]
    it.publish(1, 2, 3, 4)
    it.publish(5)
    assert [consumer.ids for consumer in consumers] == [[1, 4], [2, 5], [3]]


def test_a_consumer_without_credit_is_passed_over() -> None:
    it = bench()
    slow, fast = it.consumer(credit=1), it.consumer()
    it.publish(1, 2, 3, 4)
    assert (slow.ids, fast.ids) == ([1], [2, 3, 4])


def test_a_requeued_message_returns_to_the_front_and_is_redelivered() -> None:
    it = bench()
    consumer = it.consumer(credit=2)
    it.publish(1, 2, 3)
    it.queue.requeue(consumer.messages)
    assert it.ready == [1, 2, 3]
    assert [message.redelivered for message in it.queue.ready] == [True, True, False]


def test_a_requeued_message_returns_between_its_neighbours() -> None:
    it = bench()
    consumer = it.consumer(credit=4)
    it.publish(1, 2, 3, 4, 5)
    first, second, third, fourth = consumer.messages
    it.queue.requeue([third, first])
    it.queue.requeue([fourth, second])
    assert it.ready == [1, 2, 3, 4, 5]


def test_get_takes_the_oldest_message() -> None:
    it = bench()
    it.publish(1, 2)
    taken = it.queue.pop()
    assert taken is not None
    assert (taken.id, it.queue.ready_count) == (1, 1)


def test_get_reads_slots_only_when_memory_is_empty() -> None:
    it = paged_out()
    popped = [it.queue.pop() for _ in range(3)]
    assert ([message and message.id for message in popped], it.asked) == ([1, 2, 3], [])
    assert it.queue.pop() is None
    assert it.asked == [it.queue]


def test_a_get_takes_a_message_that_came_back_between_others_in_its_turn() -> None:
    it = bench()
    it.publish(1, 2, 3, 4)
    taken = [message for _ in range(3) if (message := it.queue.pop()) is not None]
    for index in (0, 2, 1):
        it.queue.requeue([taken[index]])
    popped = [it.queue.pop() for _ in range(5)]
    assert [message and message.id for message in popped] == [1, 2, 3, 4, None]


def test_get_finds_nothing_in_an_empty_queue() -> None:
    assert bench().queue.pop() is None


@pytest.mark.parametrize("size", [0, 10, 9000])
def test_the_octets_in_memory_are_counted_alike_on_every_way(size: int) -> None:
    it = bench(QueueLimits())
    it.publish(1, 2, 3, 4, size=size)
    whole = it.window.bytes
    popped = [it.queue.pop(), it.queue.pop()]
    assert it.window.bytes == whole // 2
    it.queue.requeue([message for message in popped if message])
    assert it.window.bytes == whole
    it.consumer(credit=3)
    it.queue.dispatch()
    assert it.window.bytes == whole // 4
    it.queue.insert([it.message(5, size)])
    assert it.window.bytes == whole // 2


def test_stored_messages_beyond_the_memory_limit_are_closed_into_slots() -> None:
    it = paged_out()
    assert it.closed() == [(4, 6, 3), (7, 9, 3), (10, 12, 3)]
    assert it.journal.spilled == []


def test_transient_messages_have_a_limit_of_their_own_and_are_spilled() -> None:
    it = bench()
    it.publish(*range(1, 13), state=TRANSIENT)
    assert it.window.slots.count == 0
    it.publish(*range(13, 25), state=TRANSIENT)
    assert it.ready == [1, 2, 3, 4, 5, 6]
    assert it.journal.spilled == list(range(7, 25))
    assert all(slot.transient for slot in it.window.slots.clear())


def test_a_slot_says_whether_it_has_transient_messages() -> None:
    it = paged_out()
    it.window.slots.clear()
    it.publish(13, 14, 15)
    it.publish(16)
    it.publish(17, state=TRANSIENT)
    it.publish(18, 19, 20)
    assert [slot.transient for slot in it.window.slots.clear()] == [False, False, True, False]
    assert it.journal.spilled == [17]


def test_the_window_closes_when_it_has_more_than_its_size() -> None:
    it = paged_out()
    it.publish(13, 14, 15)
    assert it.window.slots.count == 9
    it.publish(16)
    assert it.closed()[3:] == [(13, 15, 3), (16, 16, 1)]


def test_the_window_closes_when_its_octets_are_too_many() -> None:
    it = paged_out()
    it.publish(13, size=3900)
    it.publish(14, size=3900)
    assert it.closed()[3:] == [(13, 14, 2)]


def test_messages_are_counted_wherever_they_lie() -> None:
    it = paged_out()
    it.publish(13)
    assert it.queue.ready_count == 13
    consumer = it.consumer(credit=4)
    it.queue.dispatch()
    assert (it.queue.ready_count, it.asked) == (10, [it.queue])
    it.read(limit=2)
    assert (consumer.ids, it.queue.ready_count) == ([1, 2, 3, 4], 9)


def test_slots_are_read_before_the_window() -> None:
    it = paged_out()
    it.publish(13, 14)
    consumer = it.consumer()
    it.queue.dispatch()
    for _ in range(3):
        it.read()
    assert consumer.ids == list(range(1, 15))
    assert it.window.tail is it.queue.ready


def test_a_queue_asks_once_until_it_is_answered() -> None:
    it = paged_out()
    it.consumer()
    it.queue.dispatch()
    it.publish(13)
    assert it.queue.pop() is None
    assert it.asked == [it.queue]


def test_a_queue_without_a_hungry_consumer_reads_no_further() -> None:
    it = paged_out()
    it.consumer(credit=3)
    it.queue.dispatch()
    assert it.asked == []


def test_a_requeued_message_comes_before_the_slots() -> None:
    it = paged_out()
    consumer = it.consumer(credit=3)
    it.queue.dispatch()
    it.queue.requeue([consumer.messages[1]])
    assert (it.ready, it.queue.ready_count) == ([2], 10)


def test_no_slot_covers_a_message_that_a_consumer_holds() -> None:
    it = bench()
    consumer = it.consumer(credit=6)
    it.publish(1, 2, 3, 4, 5, 6)
    it.queue.requeue(consumer.messages[:4])
    it.publish(*range(7, 19))
    assert it.ready == [1, 2, 3, 4]
    assert it.closed() == [(7, 9, 3), (10, 12, 3), (13, 15, 3), (16, 18, 3)]


def test_a_message_that_was_delivered_is_not_paged_out_because_the_store_does_not_know_of_it() -> None:
    it = bench()
    consumer = it.consumer(credit=15)
    it.publish(*range(1, 16))
    it.queue.requeue(consumer.messages)
    it.queue.dispatch()
    assert it.ready == list(range(1, 16))
    assert it.window.slots.count == 0


def test_nothing_is_paged_out_while_a_transaction_has_ids_in_the_queue() -> None:
    it = bench()
    it.queue.slots.begin_transaction()
    it.publish(*range(2, 14))
    assert it.window.slots.count == 0
    it.queue.slots.end_transaction()
    it.queue.insert([it.message(1)])
    it.queue.dispatch()
    assert it.ready == [1, 2, 3]


def test_messages_of_a_transaction_take_the_place_that_their_ids_say() -> None:
    it = bench()
    it.publish(1, 4)
    it.queue.insert([it.message(2), it.message(3)])
    it.queue.insert([it.message(5)])
    assert it.ready == [1, 2, 3, 4, 5]


def test_a_late_transaction_is_not_closed_into_a_slot_with_what_was_delivered_meanwhile() -> None:
    it = bench()
    it.queue.slots.begin_transaction()
    it.consumer(credit=1)
    it.publish(7)
    it.queue.slots.end_transaction()
    it.queue.insert([it.message(5), it.message(6)])
    it.publish(*range(8, 20))
    assert it.ready == [5, 6, 8]
    assert it.closed() == [(9, 11, 3), (12, 14, 3), (15, 17, 3), (18, 19, 2)]


def test_what_lies_in_the_store_at_the_start_is_taken_over_as_slots() -> None:
    it = bench()
    it.queue.recover(Slot(QUEUE_ID, 0, 1, 4, 4))
    it.publish(5)
    consumer = it.consumer()
    it.queue.dispatch()
    it.read(limit=3)
    it.read()
    assert consumer.ids == [1, 2, 3, 4, 5]


def test_purging_forgets_memory_slots_and_window() -> None:
    it = paged_out()
    it.publish(13)
    slots = it.queue.purge()
    assert ([slot.start for slot in slots], it.queue.ready_count) == ([4, 7, 10], 0)
    assert it.journal.settled == [1, 2, 3, 13]
    assert it.window.bytes == 0


def test_purging_takes_what_is_left_of_the_slot_that_is_being_read() -> None:
    it = paged_out()
    consumer = it.consumer(credit=5)
    it.queue.dispatch()
    it.read(limit=2)
    slots = it.queue.purge()
    assert consumer.ids == [1, 2, 3, 4, 5]
    assert [(slot.start, slot.end) for slot in slots] == [(6, 6), (7, 9), (10, 12)]


def test_a_purged_queue_goes_on_in_memory() -> None:
    it = paged_out()
    it.queue.purge()
    it.consumer()
    it.publish(13)
    assert it.queue.ready_count == 0


def test_transient_messages_in_memory_have_no_row_to_delete() -> None:
    it = bench()
    it.publish(1, state=TRANSIENT)
    it.publish(2, state=PENDING)
    it.queue.purge()
    assert it.journal.settled == [2]


def test_a_queue_that_is_being_deleted_pages_nothing_out() -> None:
    it = bench()
    it.queue.begin_delete()
    it.publish(*range(1, 20))
    assert it.queue.ready_count == len(it.queue.ready) == 19


# Slots of other nodes


def foreign(start: int, end: int, lane: int = 0) -> Slot:
    """A slot of another node; ids up to 1023 are of lane 0."""
    return Slot(QUEUE_ID, lane, start, end, end - start + 1, row=start)


def test_a_slot_that_is_taken_over_comes_before_what_was_published_here() -> None:
    it = bench()
    it.publish(10, 11)
    assert not it.queue.take_over(foreign(1, 3))
    assert (it.ready, it.queue.ready_count) == ([], 5)
    consumer = it.consumer()
    it.queue.dispatch()
    it.read()
    assert consumer.ids == [1, 2, 3, 10, 11]


def test_a_slot_of_newer_messages_follows_what_is_in_memory() -> None:
    it = bench()
    it.publish(10, 11)
    assert not it.queue.take_over(foreign(20, 21))
    it.publish(30)
    assert (it.ready, it.queue.ready_count) == ([10, 11], 5)
    consumer = it.consumer()
    it.queue.dispatch()
    it.read()
    assert consumer.ids == [10, 11, 20, 21, 30]


def test_a_slot_of_older_messages_is_late_when_messages_in_memory_were_delivered_before() -> None:
    it = bench()
    consumer = it.consumer(credit=1)
    it.publish(10, 11)
    it.queue.requeue(consumer.messages)
    assert it.queue.take_over(foreign(1, 3))
    assert (it.ready, it.window.tail is it.queue.ready) == ([10, 11], False)


def test_a_slot_of_another_lane_is_not_late() -> None:
    it = bench()
    consumer = it.consumer(credit=1)
    it.publish(3000, 3001)
    it.queue.requeue(consumer.messages)
    assert not it.queue.take_over(foreign(1024, 1026, lane=1))


def test_a_slot_is_late_when_a_newer_one_of_its_lane_is_being_read() -> None:
    it = bench()
    it.queue.take_over(foreign(20, 25))
    consumer = it.consumer(credit=1)
    it.queue.dispatch()
    it.read(limit=1)
    assert it.queue.take_over(foreign(1, 3))
    consumer.allow(99)
    for _ in range(2):
        it.queue.dispatch()
        it.read()
    assert consumer.ids == [20, 21, 22, 23, 24, 25, 1, 2, 3]


def test_a_slot_goes_before_newer_ones_of_its_lane_that_nobody_reads_yet() -> None:
    it = bench()
    it.queue.take_over(foreign(20, 25))
    it.queue.take_over(foreign(1024, 1026, lane=1))
    assert not it.queue.take_over(foreign(1, 3))
    assert [slot.start for slot in it.window.slots.clear()] == [1, 20, 1024]


def test_messages_read_from_slots_of_others_are_not_paged_out_again() -> None:
    it = bench()
    it.queue.take_over(foreign(1, 3))
    assert it.queue.pop() is None
    it.read()
    assert it.queue.pop() is not None
    it.publish(*range(10, 30))
    assert it.ready[:2] == [2, 3]
    assert it.closed()[0][0] >= 10


def test_the_window_counts_its_octets_from_nothing_when_a_slot_is_taken_over() -> None:
    it = bench()
    it.publish(10, 11, size=3000)
    it.queue.take_over(foreign(20, 21))
    it.publish(30)
    assert it.window.bytes == it.window.tail[0].weight


# To other nodes


def given(messages: list[Message], slots: list[Slot]) -> tuple[list[int], list[int]]:
    return [message.id for message in messages], [slot.start for slot in slots]


def test_the_oldest_go_from_memory_first_then_from_slots_then_from_the_window() -> None:
    it = paged_out()
    it.publish(13, 14)
    assert given(*it.queue.slots.take_oldest(2)) == ([1, 2], [])
    assert given(*it.queue.slots.take_oldest(4)) == ([3], [4])
    assert given(*it.queue.slots.take_oldest(7)) == ([13], [7, 10])
    assert (it.queue.ready_count, [message.id for message in it.window.tail]) == (1, [14])


def test_the_newest_go_from_the_window_first_then_from_slots_then_from_memory() -> None:
    it = paged_out()
    it.publish(13, 14)
    assert given(*it.queue.slots.take_newest(5)) == ([14, 13], [10])
    assert given(*it.queue.slots.take_newest(7)) == ([3], [7, 4])
    assert it.ready == [1, 2]


@pytest.mark.parametrize("newest", [True, False])
def test_the_rest_of_the_slot_that_is_being_read_is_given_too(newest: bool) -> None:
    it = bench()
    it.queue.take_over(foreign(1, 5))
    assert it.queue.pop() is None
    it.read(limit=2)
    give = it.queue.slots.take_newest if newest else it.queue.slots.take_oldest
    messages, slots = give(5)
    assert given(messages, slots) == ([2, 1] if newest else [1, 2], [3])
    assert (it.queue.slots.opened, it.queue.ready_count) == (None, 0)


def test_more_than_there_is_cannot_be_given() -> None:
    it = bench()
    it.publish(1, 2)
    assert given(*it.queue.slots.take_oldest(99)) == ([1, 2], [])
    assert given(*it.queue.slots.take_oldest(99)) == ([], [])
    assert given(*it.queue.slots.take_newest(99)) == ([], [])


def test_what_is_given_weighs_nothing_any_more() -> None:
    it = bench(QueueLimits())
    it.publish(1, 2, 3, 4)
    whole = it.window.bytes
    it.queue.slots.take_oldest(1)
    it.queue.slots.take_newest(1)
    assert it.window.bytes == whole // 2


def test_no_slot_covers_what_was_given_from_the_end_of_memory() -> None:
    it = bench()
    it.publish(*range(1, 11))
    it.queue.slots.take_newest(2)
    it.publish(*range(11, 24))
    assert it.closed()[0][0] == 11


def test_no_slot_covers_what_was_given_from_the_end_of_the_window() -> None:
    it = paged_out()
    it.publish(13, 14)
    it.queue.slots.take_newest(1)
    it.publish(15, 16, 17)
    assert not any(start <= 14 <= end for start, end, _ in it.closed())


def test_no_slot_of_a_late_transaction_covers_what_was_in_memory_when_a_slot_was_taken_over() -> None:
    it = bench()
    it.queue.slots.begin_transaction()
    consumer = it.consumer(credit=1)
    it.publish(5, 9)
    it.queue.take_over(foreign(1024, 1026, lane=1))
    it.queue.slots.end_transaction()
    it.queue.insert([it.message(7)])
    it.publish(2048, 2049, 2050)
    assert (consumer.ids, it.ready[-1]) == ([5], 9)
    assert not any(start <= 9 <= end for start, end, _ in it.closed())


# One active consumer, hunger, and what the cluster is told


def test_with_a_single_active_consumer_the_first_one_takes_everything() -> None:
    it = bench(arguments=SINGLE_ACTIVE)
    first, second = it.consumer(), it.consumer()
    it.publish(1, 2, 3)
    assert (first.ids, second.ids, it.queue.turns.has_takers) == ([1, 2, 3], [], True)


def test_the_next_consumer_becomes_active_when_the_first_one_is_gone() -> None:
    it = bench(arguments=SINGLE_ACTIVE)
    first, second = it.consumer(credit=1), it.consumer()
    it.publish(1, 2)
    assert it.ready == [2]
    it.queue.remove_consumer(first)
    it.queue.dispatch()
    assert second.ids == [2]


def test_no_consumer_of_this_node_takes_part_while_the_active_one_is_on_another() -> None:
    it = bench(arguments=SINGLE_ACTIVE)
    it.queue.turns.set_active(False)
    consumer = it.consumer()
    it.publish(1)
    assert (consumer.ids, it.queue.turns.has_takers, it.queue.has_demand) == ([], False, False)


def test_without_that_argument_every_consumer_takes_part() -> None:
    it = bench()
    it.queue.turns.set_active(False)
    consumers = [it.consumer(), it.consumer()]
    it.publish(1, 2)
    assert ([consumer.ids for consumer in consumers], it.queue.turns.has_takers) == ([[1], [2]], True)


def test_a_queue_is_hungry_when_its_consumers_would_take_more_than_is_here() -> None:
    it = bench(QueueLimits(window_size=4))
    is_hungry = [it.queue.has_demand]
    consumer = it.consumer(credit=1)
    is_hungry.append(it.queue.has_demand)
    it.publish(1, 2)
    is_hungry.append(it.queue.has_demand)
    consumer.allow(1)
    is_hungry.append(it.queue.has_demand)
    it.queue.append(it.message(3))
    is_hungry.append(it.queue.has_demand)
    assert is_hungry == [False, True, False, True, False]


def test_a_queue_that_has_slots_is_not_hungry() -> None:
    it = bench()
    it.queue.take_over(foreign(1, 2))
    it.consumer()
    assert not it.queue.has_demand


def test_the_cluster_is_told_after_each_dispatch_what_consumers_have_left() -> None:
    cluster = Cluster()
    it = bench(observer=cluster)
    it.publish(1, 2)
    it.consumer(credit=1)
    it.queue.dispatch()
    assert cluster.ready == [2, 1]


def test_the_cluster_is_told_which_slots_were_purged() -> None:
    cluster = Cluster()
    it = bench(observer=cluster)
    first, second = foreign(1, 2), foreign(3, 4)
    for slot in (first, second):
        it.queue.take_over(slot)
    assert it.queue.pop() is None
    it.read(limit=1)
    it.queue.purge()
    assert cluster.dropped == [first, second]


def test_messages_and_consumers_elsewhere_count_too() -> None:
    it = bench()
    it.publish(1)
    it.consumer(credit=0)
    it.queue.set_remote_counts(5, 2, 0)
    assert (it.queue.ready_count, it.queue.message_count, it.queue.consumer_count) == (1, 6, 3)


# What is settled, and what is held


def test_delivered_messages_count_as_unacknowledged_until_they_are_settled_or_given_back() -> None:
    it = bench()
    consumer = it.consumer()
    it.publish(1, 2, 3, 4)
    counts = [it.queue.unacked_count]
    it.queue.settle(consumer.messages[:1], ACKED)
    counts.append(it.queue.unacked_count)
    it.queue.settle(consumer.messages[1:2], REJECTED)
    counts.append(it.queue.unacked_count)
    it.queue.requeue(consumer.messages[2:])
    counts.append(it.queue.unacked_count)
    assert (counts, it.journal.settled) == ([4, 3, 2, 0], [1, 2])


def test_what_is_settled_is_counted_by_its_outcome() -> None:
    it = bench()
    consumer = it.consumer(credit=2)
    it.publish(1, 2, 3)
    it.queue.settle(consumer.messages, ACKED, 5)
    it.queue.purge()
    assert {number: count for number, count in enumerate(it.queue.counts.settled) if count} == {
        ACKED.number: 7,
        PURGED.number: 1,
    }


def test_a_message_that_was_got_counts_as_unacknowledged() -> None:
    it = bench()
    it.publish(1)
    message = it.queue.pop()
    assert message is not None
    assert it.queue.unacked_count == 1
    it.queue.settle([message], AUTO_ACKED)
    assert (it.queue.unacked_count, it.journal.settled) == (0, [1])


def test_purged_messages_were_held_by_nobody() -> None:
    it = bench()
    it.consumer(credit=1)
    it.publish(1, 2)
    it.queue.purge()
    assert (it.queue.unacked_count, it.journal.settled) == (1, [2])


def test_the_journal_is_told_only_of_messages_that_it_knows() -> None:
    it = bench()
    it.queue.settle([it.message(1, state=TRANSIENT), it.message(2, state=SETTLED), it.message(3)], PURGED)
    assert it.journal.settled == [3]


def test_what_comes_back_to_a_deleted_queue_is_settled() -> None:
    it = bench()
    consumer = it.consumer()
    it.publish(1, 2)
    assert it.queue.delete() == []
    it.queue.requeue(consumer.messages)
    it.queue.insert([it.message(3)])
    assert (it.queue.unacked_count, it.ready, it.journal.settled) == (0, [], [1, 2, 3])


def test_a_queue_that_could_not_be_deleted_goes_on() -> None:
    it = bench()
    it.queue.begin_delete()
    it.queue.cancel_delete()
    consumer = it.consumer()
    it.publish(1)
    assert (consumer.ids, it.queue.is_closing) == ([1], False)


def test_a_queue_that_was_deleted_meanwhile_does_not_come_back() -> None:
    it = bench()
    consumer = it.consumer()
    it.queue.begin_delete()
    it.queue.delete()
    it.queue.cancel_delete()
    assert (it.queue.is_closing, it.queue.is_deleted, consumer.is_cancelled) == (True, True, True)


def test_what_is_left_behind_is_what_was_delivered_or_may_have_been() -> None:
    it = bench()
    consumer = it.consumer(credit=2)
    it.publish(1, 2, 3)
    it.queue.requeue(consumer.messages)
    certain, doubtful = Slot(QUEUE_ID, 0, 10, 11, 2), Slot(QUEUE_ID, 0, 20, 21, 2, maybe_delivered=True)
    for slot in (certain, doubtful):
        it.queue.recover(slot)
    messages, slots = it.queue.leave_behind()
    assert ([message.id for message in messages], slots) == ([1, 2], [doubtful])


def test_the_cluster_is_told_of_each_dispatch_in_the_way_that_the_queue_needs_now() -> None:
    cluster = Cluster()
    it = bench(observer=cluster)
    it.publish(1)
    it.queue.rank()
    it.publish(2)
    it.queue.unrank()
    it.publish(3)
    assert (cluster.ready, cluster.exact) == ([1, 3], 1)


def test_the_cluster_is_told_of_a_slot_that_is_empty_once() -> None:
    cluster = Cluster()
    it = bench(observer=cluster)
    spent = Slot(QUEUE_ID, 0, 1, 3, 3)
    it.queue.recover(spent)
    it.queue.drop_spent(spent)
    it.queue.drop_spent(spent)
    assert (cluster.dropped, it.queue.slots.paged, it.queue.ready_count) == ([spent], [], 0)


def test_whether_the_active_consumer_has_gone_is_told() -> None:
    it = bench(arguments=SINGLE_ACTIVE)
    first, second = it.consumer(), it.consumer()
    assert [it.queue.remove_consumer(each) for each in (second, first)] == [False, True]


def test_what_was_withdrawn_is_known_until_its_rows_are_gone() -> None:
    it = bench()
    it.publish(1, 2, 3)
    taken = it.queue.withdraw([it.message(2)])
    assert ([message.id for message in taken], it.ready, set(it.queue.withheld_ids)) == ([2], [1, 3], {2})
    it.queue.end_dying(taken)
    assert set(it.queue.withheld_ids) == set()


def test_what_came_late_counts_as_taken_like_what_came_in_order() -> None:
    it = bench()
    it.publish(2, 5)
    it.queue.insert([it.message(3), it.message(4)])
    consumer = it.consumer()
    it.queue.dispatch()
    assert (consumer.ids, it.queue.slots.last_taken, it.window.bytes) == ([2, 3, 4, 5], 5, 0)


def test_consumers_that_select_want_more_as_long_as_nothing_is_theirs_and_nothing_is_behind() -> None:
    it = bench()
    assert not it.queue.has_demand
    it.queue.turns.add(Taker(it.queue), Selector("colour = 'red'"))
    assert it.queue.has_demand
    it.publish(1)
    assert it.queue.has_demand
    it.queue.recover(Slot(QUEUE_ID, 0, 10, 12, 3))
    assert not it.queue.has_demand


def test_a_slot_from_elsewhere_is_unknown_until_somebody_tells_of_its_times() -> None:
    it = bench()
    it.queue.recover(Slot(QUEUE_ID, 0, 1, 2, 2))
    assert not it.queue.has_unknown_slots
    it.queue.take_over(foreign(3, 4))
    assert it.queue.has_unknown_slots
    it.queue.expect_due()
    assert not it.queue.has_unknown_slots


def test_slots_that_may_hold_anything_are_looked_at_soon() -> None:
    it, time = with_time_to_live()
    it.queue.take_over(foreign(3, 4))
    time.watched = 0
    it.queue.expect_due()
    assert (time.watched, it.queue.next_due()) == (1, 0)


class Time(NoServices):
    """Services with a clock, and how often a deadline may have come nearer."""

    now = 0
    watched = 0

    def now_ms(self) -> int:
        return self.now

    def watch(self, queue: Queue) -> None:
        self.watched += 1


def with_time_to_live(limits: QueueLimits = SMALL) -> tuple[Bench, Time]:
    """A queue whose messages live for a second; it is the moment of the first one."""
    journal, asked, time = Ledger(), list[Queue](), Time()
    arguments = FieldTable.of({"x-message-ttl": 1000})
    queue = new_queue(
        queue_id=QUEUE_ID, limits=limits, journal=journal, read_slots=asked.append, arguments=arguments, services=time
    )
    time.now = published_ms(1)
    return Bench(queue, journal, asked), time


def test_what_follows_the_last_slot_has_expired_too() -> None:
    """It comes into memory only when the slots before it have gone, and no consumer may get it then."""
    it, time = with_time_to_live()
    it.publish(*range(1, 13))
    it.publish(13, 14)
    assert [message.id for message in it.window.tail] == [13, 14]
    time.now += 1001
    it.queue.dispatch()
    consumer = it.consumer()
    while it.queue.slots.is_reading:
        it.read()
    it.queue.dispatch()
    assert consumer.ids == []
    assert sorted(it.journal.settled) == list(range(1, 15))


def test_what_follows_the_last_slot_and_has_not_expired_is_delivered_at_once() -> None:
    it, time = with_time_to_live()
    later = 13 + ((published_ms(1) + 700 - published_ms(0)) << 18)
    it.publish(*range(1, 13))
    it.publish(later)
    time.now += 1001
    consumer = it.consumer()
    it.queue.dispatch()
    while it.queue.slots.is_reading:
        it.read()
    assert consumer.ids == [later]


def test_what_expires_later_than_this_turn_is_seen_to_in_the_next_one() -> None:
    it, time = with_time_to_live(QueueLimits(window_size=10_000))
    it.publish(*range(1, AT_ONCE + 2))
    consumer = it.consumer()
    time.now += 1001
    time.watched = 0
    it.queue.dispatch()
    assert (len(it.journal.settled), consumer.ids, time.watched) == (AT_ONCE, [], 1)
    it.queue.dispatch()
    assert (len(it.journal.settled), consumer.ids) == (AT_ONCE + 1, [])


def test_what_was_served_at_once_and_comes_back_is_gone() -> None:
    journal, asked, time = Ledger(), list[Queue](), Time()
    queue = new_queue(
        queue_id=QUEUE_ID,
        limits=SMALL,
        journal=journal,
        read_slots=asked.append,
        arguments=FieldTable.of({"x-message-ttl": 0}),
        services=time,
    )
    it = Bench(queue, journal, asked)
    time.now = published_ms(1)
    consumer = it.consumer()
    it.publish(1)
    queue.requeue(consumer.messages)
    assert (queue.unacked_count, queue.ready_count, journal.settled) == (0, 0, [1])


def test_a_time_that_is_told_of_slots_may_be_the_next_deadline() -> None:
    it, time = with_time_to_live()
    it.queue.recover(Slot(QUEUE_ID, 0, 1, 3, 3))
    time.watched = 0
    it.queue.set_due_in_slots(time.now + 7, (0, 0))
    assert (time.watched, it.queue.next_due()) == (1, time.now + 7)


def keyed(it: Bench, message_id: int) -> KeyedMessage:
    """Publish a message that asks for a key."""
    message = KeyedMessage(message_id, it.queue, b"\0\0", b"", *body_tails(b"", 4096), STORED)
    it.queue.hold(message)
    return message


def test_what_is_held_comes_in_order_and_no_slot_reaches_over_it() -> None:
    it = bench()
    first, second, third = keyed(it, 1), keyed(it, 2), keyed(it, 3)
    it.publish(4)
    second.is_decided = True
    it.queue.admit()
    assert (it.ready, it.window.held_from) == ([], 1)
    first.is_decided = True
    it.queue.admit()
    assert (it.ready, it.window.held_from) == ([1, 2], 3)
    third.is_decided, third.state = True, SETTLED  # another has its key
    it.queue.admit()
    it.publish(5)
    assert it.ready == [1, 2, 4, 5]
    assert it.window.held_from > 5
