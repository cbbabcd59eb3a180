"""A store that fails, hangs and recovers when a test says so.

Knows when a call is let through and how it ends; what a call does is the business of the store behind it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from broker.message import Message, StorageQueue
from broker.ports.branches import BranchKey, PreparedBranch, Xid
from broker.ports.finding import FoundPage
from broker.ports.groups import GroupPage
from broker.ports.records import Change, Topology
from broker.ports.slot import Slot
from broker.ports.store import Batch, DueKey, KeyPlace, KeySweep, Registration, Store
from broker.store.memory.store import MemoryStore


class FaultyStore:
    """`store` with faults. `calls` counts what was asked for, `errors` what was answered with an error."""

    connects = 0

    def __init__(self, store: Store | None = None, *, unsafe: Sequence[str] = ()) -> None:
        """`unsafe` is what `check_safety` answers."""
        self.store = store or MemoryStore()
        self.calls: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.is_open = False
        self._unsafe = unsafe
        self._failure: Exception | None = None
        self._failing: frozenset[str] = frozenset()
        self._is_late = False
        self._may_go = asyncio.Event()
        self._may_go.set()
        self._changed = asyncio.Event()

    def fail(self, failure: Exception, *operations: str, after: bool = False) -> None:
        """Answer with `failure`, those `operations` or all: before anything was done, or `after` it was done."""
        self._failure, self._failing, self._is_late = failure, frozenset(operations), after
        self._may_go.set()

    def hang(self) -> None:
        """Answer nothing from now on."""
        self._failure = None
        self._may_go.clear()

    def heal(self) -> None:
        """Do what is asked for; calls that hang go on."""
        self._failure = None
        self._may_go.set()

    async def until(self, operation: str, calls: int = 1, errors: int = 0) -> None:
        """Return when `operation` was called and has failed that often."""
        while self.calls[operation] < calls or self.errors[operation] < errors:
            self._changed.clear()
            await self._changed.wait()

    def describe(self) -> str:
        return "a store with faults"

    async def open(self) -> None:
        await self._call("open")
        self.is_open = True

    async def close(self) -> None:
        self.is_open = False
        await self.store.close()

    async def probe(self) -> float:
        seconds: float = await self._call("probe")
        return seconds

    async def time_ms(self) -> int:
        time: int = await self._call("time_ms")
        return time

    async def check_safety(self) -> Sequence[str]:
        await self._call("check_safety")
        return self._unsafe

    async def distrust(self) -> None:
        await self.store.distrust()

    async def write(self, batch: Batch) -> None:
        await self._call("write", batch)

    async def read(self, queue: StorageQueue, slot: Slot, limit: int, limit_bytes: int) -> list[Message]:
        messages: list[Message] = await self._call("read", queue, slot, limit, limit_bytes)
        return messages

    async def backlog(self) -> list[Slot]:
        slots: list[Slot] = await self._call("backlog")
        return slots

    async def earliest_due(self) -> Mapping[int, int]:
        earliest: Mapping[int, int] = await self._call("earliest_due")
        return earliest

    async def read_due(
        self, queue: StorageQueue, until_ms: int, after: DueKey, limit: int, limit_bytes: int
    ) -> list[Message]:
        messages: list[Message] = await self._call("read_due", queue, until_ms, after, limit, limit_bytes)
        return messages

    async def next_due(self, queue: StorageQueue, after: DueKey) -> int | None:
        due: int | None = await self._call("next_due", queue, after)
        return due

    async def find_messages(self, wanted: bytes, before: int, limit: int) -> FoundPage:
        page: FoundPage = await self._call("find_messages", wanted, before, limit)
        return page

    async def read_groups(self, queue_id: int, after: int, limit: int, depth: int) -> GroupPage:
        page: GroupPage = await self._call("read_groups", queue_id, after, limit, depth)
        return page

    async def read_listed(self, queue: StorageQueue, message_ids: Sequence[int], limit_bytes: int) -> list[Message]:
        messages: list[Message] = await self._call("read_listed", queue, message_ids, limit_bytes)
        return messages

    async def mark_redelivered(self, messages: Sequence[Message]) -> None:
        await self._call("mark_redelivered", messages)

    async def sweep_keys(self, after: KeyPlace, now_ms: int, limit: int) -> KeySweep:
        sweep: KeySweep = await self._call("sweep_keys", after, now_ms, limit)
        return sweep

    async def trim_keys(self, scope: int, keep: int, limit: int) -> int:
        count: int = await self._call("trim_keys", scope, keep, limit)
        return count

    async def prepared_xids(self, vhost: str, limit: int) -> list[Xid]:
        xids: list[Xid] = await self._call("prepared_xids", vhost, limit)
        return xids

    async def read_branch(self, key: BranchKey) -> PreparedBranch | None:
        branch: PreparedBranch | None = await self._call("read_branch", key)
        return branch

    async def load(self) -> Topology:
        topology: Topology = await self._call("load")
        return topology

    async def record(self, changes: Sequence[Change]) -> None:
        await self._call("record", changes)

    async def reserve_queue_ids(self, count: int) -> tuple[int, int]:
        ids: tuple[int, int] = await self._call("reserve_queue_ids", count)
        return ids

    async def register(self, node_id: str) -> Registration:
        registration: Registration = await self._call("register", node_id)
        return registration

    async def resign(self) -> None:
        await self._call("resign")

    async def _call(self, operation: str, *arguments: Any) -> Any:
        self.calls[operation] += 1
        self._changed.set()
        await self._may_go.wait()
        failure = self._failure if not self._failing or operation in self._failing else None
        if failure is None or self._is_late:
            result = await getattr(self.store, operation)(*arguments)
        if failure is not None:
            self.errors[operation] += 1
            self._changed.set()
            raise failure
        return result
