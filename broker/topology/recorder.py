"""How topology changes: decided, recorded, applied, one change at a time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeAlias, TypeVar

from broker.ports.cluster import Cluster, TopologyMoved
from broker.ports.records import Change
from broker.ports.slot import Slot
from broker.queue.queue import Queue

T = TypeVar("T")
Lock: TypeAlias = AbstractAsyncContextManager[Any]


class Recorder:
    """The one way in which the virtual hosts of a node change."""

    def __init__(
        self,
        cluster: Cluster[Queue],
        apply: Callable[[Change], Sequence[Slot]],
        purge: Callable[[Sequence[Slot]], Awaitable[None]],
        *,
        client_lock: Lock,
        maintenance_lock: Lock,
    ) -> None:
        """`apply` alters memory and returns what is then to be purged by `purge`, which is the journal's.

        Both locks are one lock, held while a change is made. Waiting for `client_lock` may end with `StoreUnavailable`;
        waiting for `maintenance_lock` does not, because nobody could be told.
        """
        self._cluster = cluster
        self._apply = apply
        self._purge = purge
        self._client_lock = client_lock
        self._maintenance_lock = maintenance_lock

    async def change(self, decide: Callable[[], Awaitable[T]]) -> T:
        """Let `decide` make a change that a client has asked for."""
        return await self._change(decide, self._client_lock)

    async def maintain(self, decide: Callable[[], Awaitable[T]]) -> T:
        """Let `decide` make a change that nobody has asked for, and that must not fail."""
        return await self._change(decide, self._maintenance_lock)

    async def _change(self, decide: Callable[[], Awaitable[T]], lock: Lock) -> T:
        """Decide under the lock, anew as long as other nodes come first; then let the other nodes apply it."""
        while True:
            try:
                async with lock:
                    before = self._cluster.recorded
                    result = await decide()
                    recorded = self._cluster.recorded
            except TopologyMoved:
                continue
            if recorded > before:
                await self._cluster.announce(recorded)
            return result

    async def record(self, changes: Sequence[Change], is_lasting: Callable[[Change], bool]) -> None:
        """Record `changes`, which `decide` has decided; they are to be applied at once."""
        if changes:
            await self._cluster.record(changes, is_lasting)

    async def apply(self, changes: Sequence[Change]) -> None:
        """Make `changes`, which were recorded, true in memory."""
        slots = [slot for change in changes for slot in self._apply(change)]
        if slots:
            await self._purge(slots)
