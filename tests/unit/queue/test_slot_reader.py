"""Reading slots back into the memory of queues: what is read, when, and what a purge in between does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from broker.message import STORED, TRANSIENT, Message
from broker.ports.cluster import NoOtherNodes
from broker.ports.slot import Slot
from broker.ports.store import StorageQueue
from broker.queue.queue import Queue
from broker.queue.settings import QueueLimits
from broker.queue.slot_reader import SlotReader
from tests.support.composition import new_queue

NOTHING: Any = None
QUEUE_ID = 7


@dataclass
class Journal:
    """Is flushed when told so, and notes which rows it is to forget."""

    may_flush: asyncio.Event = field(default_factory=asyncio.Event)
    forgotten: list[int] = field(default_factory=list)

    async def readable(self, slot: Slot) -> None:
        await self.may_flush.wait()

    def forget(self, message: Message) -> None:
        self.forgotten.append(message.id)


@dataclass
class Store:
    """Holds messages by id, and answers when told so."""

    rows: dict[int, int]
    may_read: asyncio.Event = field(default_factory=asyncio.Event)
    reads: list[tuple[int, int]] = field(default_factory=list)

    async def read(self, queue: StorageQueue, slot: Slot, limit: int, limit_bytes: int) -> list[Message]:
        self.reads.append((slot.start, slot.end))
        await self.may_read.wait()
        ids = [message_id for message_id in sorted(self.rows) if slot.start <= message_id <= slot.end]
        return [Message(each, queue, b"\0\0", b"", b"", None, self.rows[each]) for each in ids[:limit]]


@dataclass
class Bench:
    reader: SlotReader
    queue: Queue
    store: Store
    journal: Journal
    done: list[Queue]

    @property
    def ready(self) -> list[int]:
        return [message.id for message in self.queue.ready]

    def start(self) -> None:
        """Let the queue ask for what lies in its slots."""
        assert self.queue.pop() is None
        assert self.queue.slots.is_reading


@asynccontextmanager
async def bench(rows: dict[int, int], *slots: Slot, is_idle: bool = True) -> AsyncIterator[Bench]:
    """`is_idle` means that journal and store let everything through at once."""
    store, journal = Store(rows), Journal()
    done = list[Queue]()
    if is_idle:
        store.may_read.set()
        journal.may_flush.set()

    async with asyncio.TaskGroup() as tasks:
        reader = SlotReader(store, journal, tasks, done.append, NoOtherNodes(NOTHING, journal.forget).on_read)  # type: ignore[arg-type]
        queue = new_queue(queue_id=QUEUE_ID, limits=QueueLimits(read_ahead=2), journal=journal, read_slots=reader.start)
        for slot in slots:
            queue.recover(slot)
        yield Bench(reader, queue, store, journal, done)
        store.may_read.set()
        journal.may_flush.set()


def slot(start: int, end: int, count: int) -> Slot:
    return Slot(QUEUE_ID, 0, start, end, count)


def stored(*ids: int) -> dict[int, int]:
    return dict.fromkeys(ids, STORED)


async def turn() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_slot_is_read_in_portions_and_the_count_stays_exact() -> None:
    async with bench(stored(1, 2, 3, 4, 5), slot(1, 5, 5)) as it:
        it.start()
        await it.reader.wait(it.queue)
        assert (it.ready, it.queue.ready_count, it.queue.slots.is_reading) == ([1, 2], 5, False)
        it.queue.ready.clear()
        it.start()
        await it.reader.wait(it.queue)
        assert (it.ready, it.queue.ready_count, it.store.reads) == ([3, 4], 3, [(1, 5), (3, 5)])


async def test_the_next_slot_is_opened_when_one_is_read_to_its_end() -> None:
    async with bench(stored(1, 2, 3), slot(1, 2, 2), slot(3, 3, 1)) as it:
        it.start()
        await it.reader.wait(it.queue)
        it.queue.ready.clear()
        it.start()
        await it.reader.wait(it.queue)
        assert (it.ready, it.queue.slots.opened, it.queue._window.slots.count) == ([3], None, 0)


async def test_a_slot_whose_rows_are_gone_is_closed_and_the_queue_told() -> None:
    async with bench({}, slot(1, 5, 5)) as it:
        it.start()
        await it.reader.wait(it.queue)
        assert (it.queue.ready_count, it.done) == (0, [it.queue])


async def test_nothing_is_read_before_the_journal_has_written_what_the_slot_covers() -> None:
    async with bench(stored(1), slot(1, 1, 1), is_idle=False) as it:
        it.start()
        await turn()
        assert it.store.reads == []
        it.journal.may_flush.set()
        await turn()
        assert it.store.reads == [(1, 1)]


async def test_what_was_purged_during_the_read_is_not_offered() -> None:
    async with bench(stored(1, 2), slot(1, 2, 2), is_idle=False) as it:
        it.journal.may_flush.set()
        it.start()
        await turn()
        purged = it.queue.purge()
        it.store.may_read.set()
        await turn()
        assert [(each.start, each.end) for each in purged] == [(1, 2)]
        assert (it.ready, it.queue.ready_count, it.queue.slots.is_reading, it.done) == ([], 0, False, [it.queue])


async def test_what_was_purged_before_the_read_is_not_read() -> None:
    async with bench(stored(1, 2), slot(1, 2, 2), is_idle=False) as it:
        it.start()
        await turn()
        it.queue.purge()
        it.journal.may_flush.set()
        await turn()
        assert (it.store.reads, it.queue.slots.is_reading) == ([], False)


async def test_transient_messages_lose_their_rows_when_they_are_back_in_memory() -> None:
    async with bench({1: TRANSIENT, 2: STORED}, slot(1, 2, 2)) as it:
        it.start()
        await it.reader.wait(it.queue)
        assert (it.ready, it.journal.forgotten) == ([1, 2], [1])


async def test_two_gets_wait_for_the_same_read() -> None:
    async with bench(stored(1, 2), slot(1, 2, 2), is_idle=False) as it:
        it.start()
        waiting = [asyncio.get_running_loop().create_task(it.reader.wait(it.queue)) for _ in range(2)]
        await turn()
        assert [task.done() for task in waiting] == [False, False]
        it.journal.may_flush.set()
        it.store.may_read.set()
        await asyncio.gather(*waiting)
        assert len(it.store.reads) == 1


async def test_a_get_that_is_cancelled_does_not_cancel_the_read() -> None:
    async with bench(stored(1, 2), slot(1, 2, 2), is_idle=False) as it:
        it.start()
        waiting = asyncio.get_running_loop().create_task(it.reader.wait(it.queue))
        await turn()
        waiting.cancel()
        it.journal.may_flush.set()
        it.store.may_read.set()
        await turn()
        assert it.ready == [1, 2]


async def test_waiting_for_a_queue_that_is_not_being_fed_ends_at_once() -> None:
    async with bench({}) as it:
        await it.reader.wait(it.queue)
