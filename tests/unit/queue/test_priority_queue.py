"""A queue with priorities: the highest level first, each level in its order (contract F9)."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from broker.codec.field_table import FieldTable
from broker.codec.properties import BasicProperties, encode_header
from broker.message import PENDING, SETTLED, STORED, TRANSIENT, Message, body_tails, tail
from broker.ports.levels import MAX_PRIORITY, level_of, queue_id_of, storage_id
from broker.ports.slot import Slot
from broker.queue.admission import QueueAdmission
from broker.queue.outcome import ACKED, AUTO_ACKED, DELETED, EXPIRED, OVER_LENGTH, Outcome
from broker.queue.priority_queue import PriorityQueue
from broker.queue.queue import Queue
from broker.queue.settings import QueueLimits
from tests.support.composition import NoServices, new_queue

QUEUE_ID = 7
NOW = 1_800_000_000_000


@dataclass
class Ledger:
    """A journal that writes nothing and notes what it is told."""

    settled: list[int] = field(default_factory=list)

    def settle(self, message: Message) -> None:
        message.state = SETTLED
        self.settled.append(message.id)

    def spill(self, message: Message) -> None:
        """The rows are there at once."""


class Services(NoServices):
    """The time, and what has died of what."""

    def __init__(self) -> None:
        self.now = 0
        self.buried: list[tuple[int, Outcome]] = []
        self.watched: list[Queue] = []

    def now_ms(self) -> int:
        return self.now

    def watch(self, queue: Queue) -> None:
        self.watched.append(queue)

    def bury(self, queue: Queue, messages: Sequence[Message], outcome: Outcome) -> None:
        self.buried += [(message.id, outcome) for message in messages]
        queue.end_dying(messages)


@dataclass(eq=False)
class Taker:
    """A consumer with so much credit, which settles as `Consumer` does."""

    queue: Queue
    credit: int
    no_ack: bool = False
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
        if self.no_ack:
            stored = [message for message in taken if message.state < SETTLED]
            self.queue.settle(stored, AUTO_ACKED, len(taken) - len(stored))
        return len(taken)

    def allow(self, credit: int) -> None:
        self.credit = credit
        self.queue.turns.wake(self)
        self.queue.dispatch()

    def can_take(self) -> bool:
        return self.credit > 0

    def on_queue_deleted(self) -> None:
        self.is_cancelled = True

    @property
    def ids(self) -> list[int]:
        return [message.id for message in self.messages]


@dataclass
class Bench:
    """A queue with ten priorities; `asked` are the levels that want to read their slots."""

    queue: Queue
    journal: Ledger
    services: Services
    asked: list[Queue]

    def consumer(self, credit: int = 1_000_000, *, no_ack: bool = False) -> Taker:
        taker = Taker(self.queue, credit, no_ack)
        self.queue.turns.add(taker)
        return taker

    def message(self, message_id: int, priority: int | None, *, size: int = 10, state: int = STORED) -> Message:
        header = tail(encode_header(size, BasicProperties(priority=priority)))
        return Message(message_id, self.queue, b"\0\0", header, *body_tails(b"x" * size, 4096), state)

    def publish(self, *messages: tuple[int, int | None], **options: int) -> None:
        """Publish messages with these ids and priorities, together."""
        for message_id, priority in messages:
            self.queue.append(self.message(message_id, priority, **options))
        self.queue.dispatch()

    def publish_at(self, priority: int, *ids: int, **options: int) -> None:
        self.publish(*((message_id, priority) for message_id in ids), **options)

    @property
    def ready(self) -> list[int]:
        return [message.id for message in self.queue.ready]

    def read(self, level: Queue, priority: int, ids: Sequence[int]) -> None:
        """Bring messages from the slot that a level reads, as the slot reader does."""
        slot = level.slots.open_next()
        assert slot is not None
        messages = [self.message(message_id, priority) for message_id in ids]
        for message in messages:
            message.queue = level
        level.slots.on_read(slot, messages)
        level.slots.offer(messages)
        level.slots.end_reading()
        level.dispatch()


def bench(*, limits: QueueLimits | None = None, priorities: int = 9, **arguments: Any) -> Bench:
    journal, services, asked = Ledger(), Services(), list[Queue]()
    table = {"x-max-priority": priorities, **{f"x-{key.replace('_', '-')}": value for key, value in arguments.items()}}
    queue = new_queue(
        queue_id=QUEUE_ID,
        limits=limits,
        journal=journal,
        services=services,
        read_slots=asked.append,
        arguments=FieldTable.of(table),
    )
    return Bench(queue, journal, services, asked)


# Order


def test_the_highest_priority_comes_first_and_each_keeps_its_order() -> None:
    it = bench()
    it.publish((1, 0), (2, 5), (3, 9), (4, 5), (5, None), (6, 9))
    consumer = it.consumer()
    it.queue.dispatch()
    assert consumer.ids == [3, 6, 2, 4, 1, 5]


def test_a_priority_above_the_highest_counts_as_the_highest() -> None:
    it = bench(priorities=3)
    it.publish((1, 2), (2, 3), (3, 4), (4, 255))
    assert it.ready == [2, 3, 4, 1]


@pytest.mark.parametrize("priorities", [1, MAX_PRIORITY])
def test_a_queue_has_a_level_for_each_priority(priorities: int) -> None:
    it = bench(priorities=priorities)
    assert [level.queue_id for level in it.queue.levels] == [storage_id(7, level) for level in range(priorities + 1)]
    assert [level_of(level.queue_id) for level in it.queue.levels] == list(range(priorities + 1))
    assert {queue_id_of(level.queue_id) for level in it.queue.levels} == {QUEUE_ID}
    assert all(level.whole is it.queue for level in it.queue.levels)


def test_a_queue_without_priorities_is_its_own_level() -> None:
    queue = new_queue()
    assert not isinstance(queue, PriorityQueue)
    assert list(queue.levels) == [queue]
    assert queue.whole is queue.level_for(b"") is queue


def test_a_message_with_many_properties_has_its_priority() -> None:
    it = bench()
    properties = BasicProperties(
        content_type="text/plain", headers=FieldTable.of({"a": "b" * 100}), delivery_mode=2, priority=4, message_id="m"
    )
    for message_id in (1, 2):
        message = it.message(message_id, None)
        message.header = tail(encode_header(10, properties))
        it.queue.append(message)
    assert [message.id for message in it.queue.levels[4].ready] == [1, 2]


def test_more_different_properties_than_are_remembered_have_theirs() -> None:
    it = bench()
    for number in range(500):
        message = it.message(number + 1, None)
        message.header = tail(encode_header(10, BasicProperties(priority=number % 10, message_id=str(number))))
        it.queue.append(message)
    assert [len(level.ready) for level in it.queue.levels] == [50] * 10


def test_what_is_published_later_overtakes_what_waits() -> None:
    it = bench()
    it.publish_at(1, 1, 2, 3)
    consumer = it.consumer(credit=1)
    it.queue.dispatch()
    it.publish_at(7, 4)
    consumer.allow(2)
    assert consumer.ids == [1, 4, 2]


def test_a_requeued_message_returns_to_its_place_within_its_priority() -> None:
    it = bench()
    consumer = it.consumer(credit=3)
    it.publish((1, 1), (2, 5), (3, 5), (4, 5), (5, 1))
    assert consumer.ids == [2, 3, 4]
    second = consumer.messages[1]
    second.queue.requeue([second])  # type: ignore[attr-defined]
    assert it.ready == [3, 1, 5]
    assert it.queue.ready[0].redelivered
    assert (it.queue.ready_count, it.queue.unacked_count) == (3, 2)


def test_basic_get_takes_the_highest() -> None:
    it = bench()
    it.publish((1, 0), (2, 3), (3, 3))
    taken = [it.queue.pop() for _ in range(4)]
    assert [message and message.id for message in taken] == [2, 3, 1, None]
    assert it.queue.unacked_count == 3
    it.queue.settle([message for message in taken if message is not None], ACKED)
    assert (it.queue.unacked_count, it.journal.settled) == (0, [2, 3, 1])


def test_consumers_of_all_levels_take_turns() -> None:
    it = bench()
    consumers = [it.consumer(2), it.consumer(2)]
    it.publish((1, 1), (2, 2), (3, 3), (4, 4), (5, 5))
    assert sorted(consumers[0].ids + consumers[1].ids) == [2, 3, 4, 5]
    assert [len(consumer.ids) for consumer in consumers] == [2, 2]


# Counts and settlements


@pytest.mark.parametrize("state", [STORED, TRANSIENT])
def test_what_is_settled_at_once_is_counted_on_its_level(state: int) -> None:
    it = bench()
    consumer = it.consumer(no_ack=True)
    it.publish((1, 1), (2, 8), (3, 1), state=state)
    assert consumer.ids == [2, 1, 3]
    assert it.queue.unacked_count == it.queue.ready_count == 0
    assert it.journal.settled == ([2, 1, 3] if state == STORED else [])


def test_counts_of_other_nodes_are_summed_over_levels() -> None:
    it = bench()
    it.publish_at(3, 1)
    it.queue.levels[0].set_remote_counts(10, 2, 0)
    it.queue.levels[3].set_remote_counts(5, 2, 0)
    assert (it.queue.message_count, it.queue.consumer_count) == (16, 2)
    it.consumer(0)
    assert it.queue.consumer_count == 3
    it.queue.set_remote_counts(0, 1, 0)
    assert (it.queue.message_count, it.queue.consumer_count) == (1, 2)


def test_messages_of_a_transaction_lie_on_their_levels_before_they_are_inserted() -> None:
    it = bench()
    messages = [it.message(message_id, priority, state=PENDING) for message_id, priority in ((1, 2), (2, 8), (3, 2))]
    for message in messages:
        message.queue = it.queue.level_for(message.header)
    it.queue.insert(messages)
    assert it.ready == [2, 1, 3]
    assert {level_of(message.queue.queue_id) for message in messages} == {2, 8}


# Slots


def test_a_level_is_paged_out_by_itself_and_read_before_lower_ones() -> None:
    limits = QueueLimits(memory=60_000, transient_memory=60_000, window_size=3, read_ahead=50, read_ahead_bytes=40_000)
    it = bench(limits=limits, priorities=1)
    it.publish_at(1, *range(1, 101), size=2000)
    it.publish_at(0, 1001, 1002)
    high, low = it.queue.levels[1], it.queue.levels[0]
    assert 0 < len(high.ready) < 100
    assert it.queue.ready_count == 102
    consumer = it.consumer()
    it.queue.dispatch()
    first = len(consumer.ids)
    assert consumer.ids == list(range(1, first + 1))
    assert it.asked == [high]
    assert len(low.ready) == 2  # they wait until the read is done
    while high.slots.is_reading:
        slot = high.slots.open_next()
        assert slot is not None
        it.read(high, 1, range(slot.start, slot.end + 1))
    assert consumer.ids == [*range(1, 101), 1001, 1002]


def test_basic_get_waits_for_what_is_being_read() -> None:
    it = bench()
    it.queue.levels[5].recover(Slot(storage_id(QUEUE_ID, 5), 0, 1, 2, 2))
    it.publish_at(1, 10)
    assert it.queue.pop() is None
    assert it.asked == [it.queue.levels[5]]
    it.read(it.queue.levels[5], 5, [1, 2])
    assert [message.id for message in (it.queue.pop(), it.queue.pop(), it.queue.pop()) if message] == [1, 2, 10]


def test_all_levels_keep_to_the_memory_of_one_queue() -> None:
    limits = QueueLimits()
    it = bench(limits=limits, priorities=9)
    assert sum(level.limits.memory for level in it.queue.levels) <= limits.memory
    assert sum(level.limits.transient_memory for level in it.queue.levels) <= limits.transient_memory
    most = bench(limits=limits, priorities=MAX_PRIORITY)
    assert {level.limits.memory for level in most.queue.levels} == {256 * 1024}
    small = bench(limits=replace(limits, memory=1000))
    assert {level.limits.memory for level in small.queue.levels} == {1000}


# Time and length


def test_a_message_expires_on_its_level() -> None:
    it = bench(message_ttl=1000, dead_letter_exchange="")
    it.services.now = NOW
    first = ((NOW - 1_292_976_000_000) << 18) + 1
    it.publish((first, 1), (first + 1, 9))
    assert it.services.watched
    it.services.now = NOW + 1001
    it.queue.dispatch()
    assert sorted(it.services.buried) == [(first, EXPIRED), (first + 1, EXPIRED)]
    assert it.ready == []


def test_a_message_with_an_expiration_of_its_own_expires_on_its_level() -> None:
    it = bench(dead_letter_exchange="")
    it.services.now = NOW
    messages = [it.message(message_id, 4) for message_id in (1, 2)]
    messages[1].due = NOW + 50
    for message in messages:
        it.queue.append(message)
    it.queue.expect_expiry(messages)
    it.queue.dispatch()
    assert it.queue.levels[4].next_due() == NOW + 50
    it.services.now = NOW + 50
    it.queue.levels[4].dispatch()
    assert (it.services.buried, it.ready) == ([(2, EXPIRED)], [1])


def test_the_length_is_that_of_all_levels_and_the_highest_goes_first() -> None:
    it = bench(max_length=3, dead_letter_exchange="")
    it.publish((1, 1), (2, 9), (3, 5))
    assert it.services.buried == []
    it.publish_at(1, 4)
    assert it.services.buried == [(2, OVER_LENGTH)]
    assert it.ready == [3, 1, 4]


def test_octets_of_all_levels_are_counted() -> None:
    it = bench(max_length_bytes=100)
    it.publish((1, 1), (2, 9), size=45)
    assert it.queue.ready_octets == 90
    it.publish_at(0, 3, size=45)
    assert it.ready == [1, 3]
    assert it.queue.ready_octets == 90


def test_too_many_in_slots_are_read_to_go() -> None:
    it = bench(max_length=1)
    it.queue.levels[5].recover(Slot(storage_id(QUEUE_ID, 5), 0, 1, 2, 2))
    it.publish_at(1, 10)
    assert it.asked == [it.queue.levels[5]]
    it.read(it.queue.levels[5], 5, [1, 2])
    assert it.ready == [10]
    assert it.journal.settled == [1, 2]


def test_a_publisher_is_refused_for_all_levels_together() -> None:
    it = bench(max_length=2, overflow="reject-publish")
    assert not it.queue.refuses(0)
    it.publish((1, 1), (2, 9))
    assert it.queue.refuses(0)
    assert it.queue.levels[5].refuses(0)
    admission = QueueAdmission()
    assert admission.refuses(it.queue.levels[5], 0, is_late=True)
    it.queue.pop()
    admission = QueueAdmission()
    assert not admission.refuses(it.queue.levels[5], 0, is_late=True)
    assert admission.refuses(it.queue.levels[3], 0, is_late=True)


def test_the_lease_is_that_of_the_whole_queue() -> None:
    it = bench(expires=1000)
    assert it.queue.next_due() == 1000
    assert [level.next_due() for level in it.queue.levels] == [None] * 10
    it.consumer()
    assert it.queue.next_due() is None


def test_a_delivery_without_an_answer_is_taken_back_on_its_level() -> None:
    class Channel:
        holds_any = True
        taken_back: tuple[Queue, int, int] | None = None

        def take_back(self, queue: Queue, first: int, last: int) -> int:
            self.taken_back = (queue, first, last)
            return 1

    it, channel = bench(consumer_timeout=1000), Channel()
    it.publish_at(6, 1)
    it.consumer(1)
    it.queue.dispatch()
    it.queue.expect_answers(channel, 1, 1)
    level = it.queue.levels[6]
    due = level.next_due()
    assert due is not None
    it.services.now = due
    level.on_time()
    assert channel.taken_back == (level, 1, 1)


# The end


def test_purge_empties_all_levels() -> None:
    it = bench()
    it.publish((1, 1), (2, 9))
    slot = Slot(storage_id(QUEUE_ID, 5), 0, 3, 4, 2)
    it.queue.levels[5].recover(slot)
    assert it.queue.purge() == [slot]
    assert (it.queue.ready_count, sorted(it.journal.settled)) == (0, [1, 2])


def test_deletion_cancels_consumers_once_and_settles_what_comes_back() -> None:
    it = bench()
    consumer = it.consumer(1)
    it.publish((1, 1), (2, 9))
    it.queue.begin_delete()
    assert all(level.is_closing for level in it.queue.levels)
    it.queue.cancel_delete()
    assert not any(level.is_closing for level in (it.queue, *it.queue.levels))
    it.queue.delete()
    assert it.queue.is_deleted
    assert consumer.is_cancelled
    (held,) = consumer.messages
    held.queue.requeue([held])  # type: ignore[attr-defined]
    assert sorted(it.journal.settled) == [1, 2]
    late = it.message(3, 4)
    late.queue = it.queue.level_for(late.header)
    it.queue.insert([late])
    assert sorted(it.journal.settled) == [1, 2, 3]
    assert it.queue.ready_count == 0


def test_outcomes_of_several_levels_are_told_apart() -> None:
    it = bench(dead_letter_exchange="")
    it.publish((1, 1), (2, 9))
    taken = [it.queue.pop(), it.queue.pop()]
    it.queue.settle([message for message in taken if message], DELETED)
    assert it.services.buried == []
    assert sorted(it.journal.settled) == [1, 2]


def test_the_levels_wait_together_for_consumers_elsewhere_and_no_longer_than_they_have_priorities() -> None:
    queue = new_queue(arguments=FieldTable.of({"x-max-priority": 2}))
    queue.rank()
    dispatchers = {level.turns.dispatcher for level in queue.levels}
    assert dispatchers == {queue.turns.dispatcher}
    assert all(level.is_exact and level.turns.is_ranked for level in queue.levels)
    queue.unrank()
    assert {level.turns.dispatcher for level in queue.levels} == {queue.turns.dispatcher} != dispatchers
    assert not any(level.is_exact for level in queue.levels)
