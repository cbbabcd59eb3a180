"""A journal over a store that a test lets through or lets fail, write by write."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from broker.errors import StoreError
from broker.message import PENDING, Message, body_tails
from broker.ports.store import Batch
from broker.store.journal import GroupCommitJournal
from broker.store.journal_limits import JournalLimits


@dataclass
class Queue:
    queue_id: int = 7
    is_stream: bool = False


QUEUE = Queue()


@dataclass
class Gate:
    """A store whose writes each wait to be let through, or fail."""

    batches: list[Batch] = field(default_factory=list)
    waiting: asyncio.Queue[asyncio.Future[None]] = field(default_factory=asyncio.Queue)

    async def write(self, batch: Batch) -> None:
        copy = Batch([*batch.inserts], [*batch.deletes], [*batch.purges], batch.high_water, recounts=[*batch.recounts])
        copy.prepared, copy.resolved, copy.keyed = [*batch.prepared], [*batch.resolved], [*batch.keyed]
        copy.duplicates, copy.slots, copy.appends = batch.duplicates, [*batch.slots], batch.appends
        self.batches.append(copy)
        answer = asyncio.get_running_loop().create_future()
        self.waiting.put_nowait(answer)
        await answer

    async def begun(self) -> asyncio.Future[None]:
        """Return the write that is under way once there is one."""
        return await self.waiting.get()

    async def fail(self, error: StoreError) -> None:
        """Let the next write fail, and the journal see it."""
        (await self.begun()).set_exception(error)
        await turn()

    async def let_through(self) -> None:
        """Let the next write succeed, and the journal see it."""
        (await self.begun()).set_result(None)
        await turn()

    @property
    def inserts(self) -> list[list[int]]:
        return [[message.id for message in batch.inserts] for batch in self.batches]

    @property
    def deletes(self) -> list[list[int]]:
        return [[message.id for message in batch.deletes] for batch in self.batches]

    @property
    def recounts(self) -> list[list[int]]:
        return [[message.id for message in batch.recounts] for batch in self.batches]


@dataclass
class Bench:
    journal: GroupCommitJournal
    store: Gate
    touched: set[str]
    settled: list[None]
    full: list[bool]
    slept: list[float]


async def turn() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def under_way(waited_for: Awaitable[None]) -> asyncio.Task[None]:
    async def wait() -> None:
        await waited_for

    return asyncio.get_running_loop().create_task(wait())


@asynccontextmanager
async def bench(limits: JournalLimits | None = None, high_water: int = 1 << 60) -> AsyncIterator[Bench]:
    store, touched, settled, full, slept = Gate(), set[str](), list[None](), list[bool](), list[float]()

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    journal = GroupCommitJournal(
        store,  # type: ignore[arg-type]
        high_water=high_water,
        touched_confirms=touched,
        on_settled=lambda: settled.append(None),
        on_full=full.append,
        limits=limits,
        sleep=sleep,
        monotonic=lambda: 100.0,
    )
    running = asyncio.get_running_loop().create_task(journal.run())
    yield Bench(journal, store, touched, settled, full, slept)
    running.cancel()
    await asyncio.wait({running})


def message(message_id: int, size: int = 10, state: int = PENDING, confirms: str | None = None) -> Message:
    made = Message(message_id, QUEUE, b"\0\0", b"", *body_tails(b"x" * size, 4096), state)
    made.confirms = confirms
    return made
