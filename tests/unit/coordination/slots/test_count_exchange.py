"""CountExchange of queues over all nodes: told, replaced, forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

from broker.codec.field_table import FieldTable
from broker.coordination.slots.count_exchange import CountExchange
from broker.errors import StoreUnavailable
from broker.message import STORED, Message
from broker.ports.cluster_rows import Incarnation
from broker.ports.peer_calls import Caller, QueueCount, Unavailable
from broker.ports.slot import Slot
from broker.queue.queue import Queue
from broker.queue.settings import Overflow, QueueSettings
from tests.support.clock import FakeClock
from tests.support.composition import new_queue
from tests.support.stage import drive
from tests.support.virtual_loop import in_virtual_time

NOTHING: Any = None


class Coordinator:
    """Notes what it is told and answers with `elsewhere`."""

    def __init__(self) -> None:
        self.told: list[list[QueueCount]] = []
        self.elsewhere: list[QueueCount] = []
        self.is_away = False

    async def exchange_counts(self, counts: Sequence[QueueCount], caller: Caller) -> Sequence[QueueCount]:
        self.told.append(list(counts))
        if self.is_away:
            raise Unavailable("away")
        return self.elsewhere


class Bench:
    """A node with the queues 1 and 2."""

    def __init__(self) -> None:
        self.coordinator: Coordinator | None = Coordinator()
        self.clock = FakeClock()
        self.is_cut_off = self.is_store_away = False
        self.reads, self.seconds_to_read = 0, 0.0
        self.queues = {number: numbered_queue(number) for number in (1, 2)}
        service: Any = lambda: self.coordinator  # noqa: E731
        self.counts = CountExchange(
            queues=self.queues.values,
            find_queue=self.queues.get,
            coordinator=service,
            caller=lambda: Caller("alice"),
            is_cut_off=lambda: self.is_cut_off,
            read_stored=self._read_stored,
            consumers_elsewhere=lambda queue: [Incarnation("bob", "1")] if queue.queue_id == 2 else [],
            limited=lambda: [queue for queue in self.queues.values() if queue.settings.has_length],
            monotonic=self.clock.monotonic,
        )

    async def _read_stored(self) -> list[Slot]:
        self.reads += 1
        self.clock.advance(self.seconds_to_read)
        if self.is_store_away:
            raise StoreUnavailable("away")
        return [Slot(1, 0, 1, 9, 4), Slot(1, 2, 1, 9, 3), Slot(2, 0, 1, 9, 5), Slot(99, 0, 1, 9, 5)]

    def learn(self, *counts: tuple[int, ...]) -> None:
        """Exchange counts when this is elsewhere: queue id, messages and consumers."""
        assert self.coordinator is not None
        self.coordinator.elsewhere = [QueueCount(*each) for each in counts]
        drive(self.counts.exchange())

    @property
    def known(self) -> list[tuple[int, int]]:
        return [(queue.message_count, queue.consumer_count) for queue in self.queues.values()]


def numbered_queue(queue_id: int) -> Queue:
    name = f"queue {queue_id}"
    return new_queue(name, queue_id)


def test_what_is_elsewhere_is_added_to_what_is_here() -> None:
    it = Bench()
    it.queues[1].append(Message(1, it.queues[1], b"", b"", b"", None, STORED))
    it.learn((1, 5, 2))
    assert it.known == [(6, 2), (0, 0)]


def test_counts_are_replaced() -> None:
    it = Bench()
    it.learn((1, 5, 2))
    it.learn((1, 3, 0))
    assert it.known == [(3, 0), (0, 0)]


def test_a_queue_that_is_not_named_any_more_is_nowhere_else() -> None:
    it = Bench()
    it.learn((1, 5, 2), (2, 1, 1))
    it.learn((2, 1, 1))
    assert it.known == [(0, 0), (1, 1)]


def test_only_queues_with_messages_or_consumers_are_told_of() -> None:
    it = Bench()
    it.queues[2].turns.dispatcher.consumers[NOTHING] = None
    it.learn()
    assert it.coordinator is not None
    assert it.coordinator.told == [[QueueCount(2, 0, 1)]]


def test_queues_that_are_unknown_here_or_deleted_meanwhile_do_no_harm() -> None:
    it = Bench()
    it.learn((1, 5, 2), (99, 1, 1))
    del it.queues[1]
    it.learn()
    assert it.known == [(0, 0)]


def test_while_the_coordinator_is_away_the_last_counts_stand() -> None:
    it = Bench()
    it.learn((1, 5, 2))
    assert it.coordinator is not None
    it.coordinator.is_away = True
    it.learn()
    it.coordinator = None
    drive(it.counts.exchange())
    assert it.known == [(5, 2), (0, 0)]


def test_what_was_known_before_the_coordinator_went_away_is_forgotten_after_it() -> None:
    it = Bench()
    it.learn((1, 5, 2))
    assert it.coordinator is not None
    it.coordinator.is_away = True
    it.learn()
    it.coordinator.is_away = False
    it.learn()
    assert it.known == [(0, 0), (0, 0)]


@in_virtual_time
async def test_counts_are_exchanged_every_second() -> None:
    it = Bench()
    async with asyncio.TaskGroup() as tasks:
        run = tasks.create_task(it.counts.run())
        await asyncio.sleep(3.5)
        run.cancel()
    assert it.coordinator is not None
    assert len(it.coordinator.told) == 3


@in_virtual_time
async def test_an_error_of_the_machine_costs_one_exchange() -> None:
    it = Bench()
    asked: list[int] = []

    def queues() -> Iterable[Queue]:
        asked.append(len(asked))
        if len(asked) == 1:
            raise MemoryError
        return it.queues.values()

    it.counts._queues = queues
    async with asyncio.TaskGroup() as tasks:
        run = tasks.create_task(it.counts.run())
        await asyncio.sleep(2.5)
        run.cancel()
    assert it.coordinator is not None
    assert (len(asked), len(it.coordinator.told)) == (2, 1)


def test_a_node_that_cannot_ask_counts_what_is_stored_and_nodes_that_consume() -> None:
    it = Bench()
    it.is_cut_off = True
    it.queues[1].append(Message(1, it.queues[1], b"", b"", b"", None, STORED))
    drive(it.counts.exchange())
    assert it.known == [(7, 0), (5, 1)]
    assert it.coordinator is not None
    assert it.coordinator.told == []
    it.is_cut_off = False
    it.learn((1, 1, 1))
    assert it.known == [(2, 1), (0, 0)]


def test_counting_what_is_stored_takes_a_twentieth_of_the_time_and_fails_quietly() -> None:
    it = Bench()
    it.is_cut_off = True
    it.seconds_to_read = 2.0
    drive(it.counts.exchange())
    it.clock.advance(39.0)
    drive(it.counts.exchange())
    assert it.reads == 1
    it.clock.advance(1.0)
    it.is_store_away = True
    drive(it.counts.exchange())
    assert it.reads == 2
    assert it.known == [(7, 0), (5, 1)]


def test_the_use_of_a_queue_with_a_lease_is_told_and_heard() -> None:
    bench = Bench()
    leased = bench.queues[1] = new_queue("leased", 1, arguments=FieldTable.of({"x-expires": 1000}))
    leased.use_elsewhere(5000)
    bench.learn((1, 0, 0, 7000))
    assert bench.coordinator is not None
    assert bench.coordinator.told == [[QueueCount(1, 0, 0, 5000)]]
    assert leased.deadlines.used_at == 7000
    assert not leased.is_lease_over(7999)
    assert leased.is_lease_over(8000)
    bench.learn((1, 0, 0, 6000))
    assert leased.deadlines.used_at == 7000
    assert bench.queues[2].deadlines.used_at == 0


@in_virtual_time
async def test_counts_are_exchanged_sooner_while_publishers_have_to_know_them() -> None:
    it = Bench()
    queue = it.queues[1]
    queue.set(QueueSettings(max_length=5, overflow=Overflow.REJECT_PUBLISH))
    assert it.coordinator is not None
    it.coordinator.elsewhere = [QueueCount(1, 5, 0, octets=50)]
    async with asyncio.TaskGroup() as tasks:
        run = tasks.create_task(it.counts.run())
        await asyncio.sleep(0.9)
        assert it.coordinator.told == []
        queue.keep_length(is_here=False)
        assert queue.elsewhere is not None
        assert not queue.refuses(10)
        queue.elsewhere.give(3, 30)
        await asyncio.sleep(0.2)
        assert len(it.coordinator.told) == 1
        assert (queue.elsewhere.messages, queue.elsewhere.octets, queue.elsewhere.given) == (5, 50, 0)
        await asyncio.sleep(0.5)
        assert len(it.coordinator.told) == 1, "nobody has published"
        assert queue.refuses(10)
        await asyncio.sleep(0.2)
        assert len(it.coordinator.told) == 2
        queue.keep_length(is_here=True)
        queue._window.append(Message(9, queue, b"", b"", b"", None, STORED))
        await asyncio.sleep(0.2)
        assert it.coordinator.told[2] == [QueueCount(1, 1, 0)]
        run.cancel()
