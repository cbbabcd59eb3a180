"""An event store in memory that keeps the rules of its port, and does wrong when told to.

Every call lets others go first, so that nodes which share it meet each other in between.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from broker.errors import Evicted, StoreUnavailable
from broker.ports.cluster_rows import Cursor, EventPage, EventRow, Incarnation
from broker.ports.records import Change, Put, Topology, VirtualHostRecord
from broker.store.memory.topology import Records


class MemoryEvents:
    """Keeps the recorded topology beside its events. `over` are incarnations that may record nothing any more.

    Of the next calls of `record`, those that `failures` says fail before or after they did what was asked.
    """

    def __init__(self, delay: Callable[[], Awaitable[None]] = lambda: asyncio.sleep(0)) -> None:
        self.log: list[EventRow] = []
        self.changes: list[Sequence[Change]] = []
        self.kept_from = 1
        self.over: set[Incarnation] = set()
        self.failures: deque[str] = deque()
        self.is_away = False
        self.records = 0
        self.reads = 0
        self.noted: dict[str, Cursor] = {}
        self._tokens: set[str] = set()
        self._delay = delay
        self._records = Records()
        self._records.record(Put(VirtualHostRecord("/")))

    @property
    def topology(self) -> Topology:
        return self._records.topology()

    async def record(
        self, changes: Sequence[Change], payload: bytes, *, expected: int, token: str, incarnation: Incarnation
    ) -> bool:
        self.records += 1
        failure = self.failures.popleft() if self.failures else ""
        await self._answer()
        if failure == "before":
            raise StoreUnavailable("the connection is gone")
        if incarnation in self.over:
            raise Evicted(f"{incarnation.node_id} is over")
        done = token in self._tokens or self._append(changes, payload, expected, token, incarnation)
        await self._answer()
        if failure == "after":
            raise StoreUnavailable("the connection is gone")
        return done

    def _append(
        self, changes: Sequence[Change], payload: bytes, expected: int, token: str, incarnation: Incarnation
    ) -> bool:
        if expected != len(self.log):
            return False
        self._tokens.add(token)
        self.log.append(EventRow(expected + 1, incarnation, payload))
        self.changes.append(tuple(changes))
        for change in changes:
            self._records.record(change)
        return True

    async def events(self, after: int, limit: int) -> EventPage:
        self.reads += 1
        await self._answer()
        kept = [event for event in self.log if event.event_id >= self.kept_from]
        following = [event for event in kept if event.event_id > after][:limit]
        return EventPage(len(self.log), kept[0].event_id if kept else 0, following)

    async def load(self) -> tuple[Topology, int]:
        await self._answer()
        return self.topology, len(self.log)

    async def note_cursor(self, incarnation: Incarnation, event_id: int, topology_hash: str) -> None:
        await self._answer()
        self.noted[incarnation.node_id] = Cursor(incarnation, event_id, topology_hash)

    async def cursors(self) -> Sequence[Cursor]:
        await self._answer()
        return [cursor for cursor in self.noted.values() if cursor.incarnation not in self.over]

    async def prune(self, keep: int) -> int:
        await self._answer()
        kept_from = max(self.kept_from, len(self.log) - keep + 1)
        deleted, self.kept_from = kept_from - self.kept_from, kept_from
        return deleted

    async def _answer(self) -> None:
        await self._delay()
        if self.is_away:
            raise StoreUnavailable("nobody answers")
