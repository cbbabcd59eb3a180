"""Waiting for a store that is away (ADR 14): for calls that have nothing else to do meanwhile.

It repeats the calls that may be repeated, and bounds how long a client waits for its turn to change the topology.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, Protocol, TypeVar

import structlog

from broker.backoff import Backoff
from broker.errors import StoreUnavailable, StoreWentBack
from broker.message import Message, StorageQueue
from broker.ports.branches import BranchKey, PreparedBranch, Xid
from broker.ports.finding import FoundPage
from broker.ports.groups import GroupPage
from broker.ports.records import Change, Topology
from broker.ports.slot import Slot
from broker.ports.store import Batch, DueKey, KeyPlace, KeySweep, Store
from broker.ports.streams import ReaderPlace, StreamBounds, StreamPage, TrimRule

T = TypeVar("T")

_log = structlog.get_logger(__name__)

_TELL_AGAIN: Final = 30.0
_TURN_TIMEOUT: Final = 30.0


class Retry:
    """Repeats a call until the store answers, and logs the first failure and then one every 30 seconds."""

    def __init__(
        self,
        event: str,
        backoff: Backoff,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`event` is the log line; `backoff` says how long to wait after the first failure of each call."""
        self._event = event
        self._backoff = backoff
        self._sleep = sleep
        self._monotonic = monotonic
        self._tell_at = float("-inf")

    async def until_done(self, call: Callable[[], Awaitable[T]]) -> T:
        """Return what `call` returns, however often it must be repeated.

        Only `StoreUnavailable` leads to another try; any other error is raised.
        """
        backoff = self._backoff
        while True:
            try:
                return await call()
            except StoreUnavailable as error:
                self._tell(error)
            await self._sleep(backoff.delay)
            backoff = backoff.longer()

    def _tell(self, error: StoreUnavailable) -> None:
        now = self._monotonic()
        if now >= self._tell_at:
            self._tell_at = now + _TELL_AGAIN
            _log.warning(self._event, reason=str(error))


class RetryingStore:
    """The node's store, whose calls do not fail while the store is away: they wait and are repeated.

    A commit that was under way when the connection broke may have been done. So a change is repeated until the store
    confirms it; the client that asked for it may be given up before. Every call that is repeated here may be done
    twice: the second time it changes nothing. `write` is tried once, because the journal repeats it and can cancel
    inserts in between; `probe` and `time_ms` are, because they measure;
    so is what forgets keys, trims streams and keeps places in them, which comes again.
    """

    def __init__(self, store: Store, retry: Retry | None = None) -> None:
        self.store = store
        self._retry = retry or Retry("the store could not do what was asked for, will retry", Backoff(0.1, 1.0))
        self.write_failure: StoreUnavailable | None = None
        """The error of the last `write` that failed; a later success does not clear it."""
        self.end_reason = ""
        """What clients are told of the end of this incarnation, if the store is the reason."""

    async def write(self, batch: Batch) -> None:
        try:
            await self.store.write(batch)
        except StoreUnavailable as error:
            self.write_failure = error
            raise
        except StoreWentBack as error:
            self.end_reason = str(error)
            raise

    async def probe(self) -> float:
        try:
            return await self.store.probe()
        except StoreWentBack as error:
            self.end_reason = str(error)
            raise

    async def time_ms(self) -> int:
        return await self.store.time_ms()

    async def read(self, queue: StorageQueue, slot: Slot, limit: int, limit_bytes: int) -> list[Message]:
        return await self._retry.until_done(lambda: self.store.read(queue, slot, limit, limit_bytes))

    async def backlog(self) -> list[Slot]:
        return await self._retry.until_done(self.store.backlog)

    async def earliest_due(self) -> Mapping[int, int]:
        return await self._retry.until_done(self.store.earliest_due)

    async def read_due(
        self, queue: StorageQueue, until_ms: int, after: DueKey, limit: int, limit_bytes: int
    ) -> list[Message]:
        return await self._retry.until_done(lambda: self.store.read_due(queue, until_ms, after, limit, limit_bytes))

    async def next_due(self, queue: StorageQueue, after: DueKey) -> int | None:
        return await self._retry.until_done(lambda: self.store.next_due(queue, after))

    async def find_messages(self, wanted: bytes, before: int, limit: int) -> FoundPage:
        return await self._retry.until_done(lambda: self.store.find_messages(wanted, before, limit))

    async def read_groups(self, queue_id: int, after: int, limit: int, depth: int) -> GroupPage:
        return await self._retry.until_done(lambda: self.store.read_groups(queue_id, after, limit, depth))

    async def read_listed(self, queue: StorageQueue, message_ids: Sequence[int], limit_bytes: int) -> list[Message]:
        return await self._retry.until_done(lambda: self.store.read_listed(queue, message_ids, limit_bytes))

    async def mark_redelivered(self, messages: Sequence[Message]) -> None:
        await self._retry.until_done(lambda: self.store.mark_redelivered(messages))

    async def sweep_keys(self, after: KeyPlace, now_ms: int, limit: int) -> KeySweep:
        return await self.store.sweep_keys(after, now_ms, limit)

    async def trim_keys(self, scope: int, keep: int, limit: int) -> int:
        return await self.store.trim_keys(scope, keep, limit)

    async def prepared_xids(self, vhost: str, limit: int) -> list[Xid]:
        return await self._retry.until_done(lambda: self.store.prepared_xids(vhost, limit))

    async def read_branch(self, key: BranchKey) -> PreparedBranch | None:
        return await self._retry.until_done(lambda: self.store.read_branch(key))

    async def stream_bounds(self, queue_ids: Sequence[int]) -> Mapping[int, StreamBounds]:
        return await self._retry.until_done(lambda: self.store.stream_bounds(queue_ids))

    async def read_stream(self, queue_id: int, offset: int, limit_octets: int) -> StreamPage:
        return await self._retry.until_done(lambda: self.store.read_stream(queue_id, offset, limit_octets))

    async def find_in_stream(self, queue_id: int, time_ms: int) -> int | None:
        return await self._retry.until_done(lambda: self.store.find_in_stream(queue_id, time_ms))

    async def trim_stream(self, queue_id: int, retention: TrimRule, limit: int) -> int:
        return await self.store.trim_stream(queue_id, retention, limit)

    async def keep_places(self, places: Mapping[ReaderPlace, int]) -> None:
        await self.store.keep_places(places)

    async def place_in_stream(self, place: ReaderPlace) -> int | None:
        return await self._retry.until_done(lambda: self.store.place_in_stream(place))

    async def places_in_stream(self, queue_id: int) -> Mapping[str, int]:
        return await self._retry.until_done(lambda: self.store.places_in_stream(queue_id))

    async def forget_place(self, place: ReaderPlace) -> bool:
        return await self._retry.until_done(lambda: self.store.forget_place(place))

    async def load(self) -> Topology:
        return await self._retry.until_done(self.store.load)

    async def record(self, changes: Sequence[Change]) -> None:
        await self._retry.until_done(lambda: self.store.record(changes))

    async def reserve_queue_ids(self, count: int) -> tuple[int, int]:
        return await self._retry.until_done(lambda: self.store.reserve_queue_ids(count))


class ClientTimeout:
    """How a client's handler waits for its turn to change the topology; the wait may end with `StoreUnavailable`.

    A change that is being recorded waits however long the store is away. Others give up after `timeout` seconds of
    waiting if the store is away then: clients that retry all through a long outage would otherwise leave more and more
    waiting handlers behind. While the store is up they wait without a limit.
    """

    def __init__(self, is_store_away: Callable[[], bool], timeout: float = _TURN_TIMEOUT) -> None:
        self._is_store_away = is_store_away
        self._timeout = timeout

    async def __call__(self, turn: Turn) -> None:
        """Return when it is this handler's turn."""
        while True:
            try:
                async with asyncio.timeout(self._timeout):
                    await turn.wait()
                    return
            except TimeoutError:
                if self._is_store_away():
                    raise StoreUnavailable("a change of topology still waits for the store") from None


class Turn(Protocol):
    """What is waited for: an event."""

    async def wait(self) -> object: ...
