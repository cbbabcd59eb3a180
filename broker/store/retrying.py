"""Waiting for a store that is away: the seam at which everybody but the journal meets the store (ADR 14).

Knows which calls may be repeated, and for how long a client waits for its turn. Knows no SQL, no client, no message.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

import structlog

from broker.errors import StoreUnavailable
from broker.message import Message, StorageQueue
from broker.ports.records import Change, Topology
from broker.ports.slot import Slot
from broker.ports.store import Batch, Store

T = TypeVar("T")

_log = structlog.get_logger(__name__)

_TELL_AGAIN: Final = 30.0
_TURN_PATIENCE: Final = 30.0


class Patience:
    """Repeats a call until the store is there, and says so at the first failure and then every 30 seconds."""

    def __init__(
        self,
        event: str,
        *,
        delay: float,
        delay_max: float,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`event` is what the log says. Between two tries there are `delay` seconds, doubled up to `delay_max`."""
        self._event = event
        self._delay = delay
        self._delay_max = delay_max
        self._sleep = sleep
        self._monotonic = monotonic
        self._tell_at = float("-inf")

    async def until_done(self, call: Callable[[], Awaitable[T]]) -> T:
        """Return what `call` returns; anything it raises but `StoreUnavailable` is raised."""
        delay = self._delay
        while True:
            try:
                return await call()
            except StoreUnavailable as error:
                self._tell(error)
            await self._sleep(delay)
            delay = min(delay * 2, self._delay_max)

    def _tell(self, error: StoreUnavailable) -> None:
        now = self._monotonic()
        if now >= self._tell_at:
            self._tell_at = now + _TELL_AGAIN
            _log.warning(self._event, reason=str(error))


class PatientStore:
    """The node's store with calls that end when they are done, however long that takes.

    A change that was given up could be recorded all the same: its commit may have been under way when the connection
    broke. So a change is never given up, only the client that asked for it. All that is repeated here changes nothing
    the second time. `write` is tried once: the journal knows better what can be done meanwhile.
    """

    def __init__(self, store: Store, patience: Patience | None = None) -> None:
        self.store = store
        self._patience = patience or Patience(
            "the store could not do what was asked for, will retry", delay=0.1, delay_max=1.0
        )
        self.write_failure: StoreUnavailable | None = None
        """Why a write has failed the last time that one did."""

    async def write(self, batch: Batch) -> None:
        try:
            await self.store.write(batch)
        except StoreUnavailable as error:
            self.write_failure = error
            raise

    async def probe(self) -> float:
        return await self.store.probe()

    async def read(self, queue: StorageQueue, slot: Slot, limit: int, limit_bytes: int) -> list[Message]:
        return await self._patience.until_done(lambda: self.store.read(queue, slot, limit, limit_bytes))

    async def backlog(self) -> list[Slot]:
        return await self._patience.until_done(self.store.backlog)

    async def mark_redelivered(self, messages: Sequence[Message]) -> None:
        await self._patience.until_done(lambda: self.store.mark_redelivered(messages))

    async def load(self) -> Topology:
        return await self._patience.until_done(self.store.load)

    async def record(self, changes: Sequence[Change]) -> None:
        await self._patience.until_done(lambda: self.store.record(changes))

    async def reserve_queue_ids(self, count: int) -> tuple[int, int]:
        return await self._patience.until_done(lambda: self.store.reserve_queue_ids(count))


class ClientTurns:
    """The lock under which changes of topology are recorded, as a client's handler takes it.

    Whoever holds it goes on until the store is back; those in line do not wait longer than a client does, so that
    clients who ask again and again during a long outage leave nothing behind.
    """

    def __init__(self, lock: asyncio.Lock, is_store_away: Callable[[], bool], patience: float = _TURN_PATIENCE) -> None:
        self._lock = lock
        self._is_store_away = is_store_away
        self._patience = patience

    async def __aenter__(self) -> None:
        while True:
            try:
                async with asyncio.timeout(self._patience):
                    await self._lock.acquire()
                    return
            except TimeoutError:
                if self._is_store_away():
                    raise StoreUnavailable("a change of topology still waits for the store") from None

    async def __aexit__(self, *_: object) -> None:
        self._lock.release()
