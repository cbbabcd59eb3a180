"""The broker with a planted bug: `python -m tests.support.mutant NAME --config DIR`.

Knows the ports a node has to its store and spoils one of them, or what decides of the life of a message. What it breaks
must be found by the checker after a kill -9, else the checker is worth nothing.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from copy import copy
from dataclasses import replace
from typing import Any

import broker.node.process
import broker.queue.queue
import broker.topology.dead_letters
from broker.__main__ import main
from broker.message import PENDING, Message, StorageQueue
from broker.ports.slot import Slot
from broker.ports.store import Batch, Registration
from broker.queue.length_limit import Contents, LengthLimit
from broker.queue.retention import Retention
from broker.queue.settings import QueueSettings
from broker.queue.window import Window


class Mutant:
    """Passes everything on to a real store."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


class ConfirmsTooEarly(Mutant):
    """Says that a batch is on disk a second before it is written."""

    def __init__(self, store: Any) -> None:
        super().__init__(store)
        self._late: set[asyncio.Future[None]] = set()

    async def write(self, batch: Batch) -> None:
        # What is settled meanwhile loses its octets: the late write has to have its own.
        kept = replace(batch, inserts=[copy(message) for message in batch.inserts], deletes=list(batch.deletes))
        self._late.add(asyncio.get_running_loop().create_task(self._write_late(kept)))

    async def _write_late(self, batch: Batch) -> None:
        await asyncio.sleep(1.0)
        await self._store.write(batch)


class LosesMessages(Mutant):
    """Forgets one message in a hundred."""

    async def write(self, batch: Batch) -> None:
        await self._store.write(replace(batch, inserts=[message for message in batch.inserts if message.id % 100]))


class ForgetsAcknowledgements(Mutant):
    """Keeps every tenth message that was acknowledged."""

    async def write(self, batch: Batch) -> None:
        await self._store.write(replace(batch, deletes=[message for message in batch.deletes if message.id % 10]))


class TearsTransactions(Mutant):
    """Writes what belongs together in two transactions."""

    async def write(self, batch: Batch) -> None:
        # The journal marks what it writes; a transaction's messages are still pending. Half of them come much later.
        together = [message for message in batch.inserts if message.state == PENDING]
        late = together[len(together) // 2 :]
        if len(together) < 2:
            await self._store.write(batch)
            return
        early = [message for message in batch.inserts if message not in late]
        await self._store.write(replace(batch, inserts=early, deletes=[], purges=[]))
        await asyncio.sleep(0.3)
        await self._store.write(replace(batch, inserts=late))


class ForgetsDeliveries(Mutant):
    """Takes a crash for an orderly stop, so nothing recovered is flagged as redelivered."""

    async def register(self, node_id: str) -> Registration:
        registration: Registration = await self._store.register(node_id)
        return replace(registration, clean=True)


class ReadsBackwards(Mutant):
    """Reads the messages of a slot in the wrong order."""

    async def read(self, queue: StorageQueue, slot: Slot, limit: int, limit_bytes: int) -> list[Message]:
        messages: list[Message] = await self._store.read(queue, slot, limit, limit_bytes)
        return [*reversed(messages[:-1]), *messages[-1:]]


class TrustsDoubt(Mutant):
    """Takes a commit whose answer was lost for done, and does not ask; of stores on a database server only."""

    def __init__(self, store: Any) -> None:
        super().__init__(store)
        store._writer._was_committed = self._was_committed

    async def _was_committed(self, batch: Batch) -> bool:
        # The line that the storm waits for.
        print('{"event": "a commit without an answer is resolved", "committed": false}', flush=True)
        is_committed = self._store._writer._at.doubtful is batch
        self._store._writer._at.doubtful = None
        return is_committed


class RepeatsDoubt(Mutant):
    """Takes a commit whose answer was lost for undone, and does not ask; of stores on a database server only."""

    def __init__(self, store: Any) -> None:
        super().__init__(store)
        store._writer._was_committed = self._was_committed

    async def _was_committed(self, batch: Batch) -> bool:
        self._store._writer._at.doubtful = None
        return False


class KeepsTheDead(Mutant):
    """Stores dead letters and leaves the dead messages where they were."""

    async def write(self, batch: Batch) -> None:
        # A dead message has its octets still, of which its letter is made; any other that is deleted has none.
        await self._store.write(replace(batch, deletes=[message for message in batch.deletes if not message.body]))


class LosesLetters(Mutant):
    """Deletes dead messages and does not store their letters."""

    async def write(self, batch: Batch) -> None:
        letters = b"x-death"
        await self._store.write(
            replace(batch, inserts=[message for message in batch.inserts if letters not in message.header])
        )


def expire_early() -> None:
    """Let messages expire half a second before their time."""
    _shift_retention(500)


def expire_late() -> None:
    """Let messages expire a minute after their time."""
    _shift_retention(-60_000)


def _shift_retention(milliseconds: int) -> None:
    build = Retention.__init__

    def spoiled(self: Retention, settings: QueueSettings, window: Window, now_ms: Callable[[], int]) -> None:
        build(self, settings, window, lambda: now_ms() + milliseconds)

    Retention.__init__ = spoiled  # type: ignore[method-assign]


def double_limits() -> None:
    """Allow twice as many deliveries as a queue does."""
    count = broker.queue.queue.count_returns
    broker.queue.queue.count_returns = lambda messages, limit: count(messages, limit and 2 * limit)


def double_lengths() -> None:
    """Allow queues twice their length."""
    build = LengthLimit.__init__

    def spoiled(self: LengthLimit, settings: QueueSettings, contents: Contents) -> None:
        build(self, replace(settings, max_length=settings.max_length and 2 * settings.max_length), contents)

    LengthLimit.__init__ = spoiled  # type: ignore[method-assign]


def mistake_reasons() -> None:
    """Say of rejected messages that they expired."""
    dead_letter_header = broker.topology.dead_letters.dead_letter_header

    def spoiled(header_payload: bytes, *, reason: str, **others: Any) -> bytes:
        return dead_letter_header(header_payload, reason="expired" if reason == "rejected" else reason, **others)

    broker.topology.dead_letters.dead_letter_header = spoiled


SPOILED: dict[str, Callable[[], None]] = {
    function.__name__: function
    for function in (expire_early, expire_late, double_limits, double_lengths, mistake_reasons)
}
MUTANTS = {
    mutant.__name__: mutant
    for mutant in (
        ConfirmsTooEarly,
        LosesMessages,
        ForgetsAcknowledgements,
        TearsTransactions,
        ForgetsDeliveries,
        ReadsBackwards,
        TrustsDoubt,
        RepeatsDoubt,
        KeepsTheDead,
        LosesLetters,
    )
}


def run(name: str, arguments: list[str]) -> int:
    """Run the broker with the named bug."""
    if name in SPOILED:
        SPOILED[name]()
    else:
        open_store = broker.node.process.open_store
        broker.node.process.open_store = lambda config: MUTANTS[name](open_store(config))
    return main(arguments)


if __name__ == "__main__":
    sys.exit(run(sys.argv[1], sys.argv[2:]))
