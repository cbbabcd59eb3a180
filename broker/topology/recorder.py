"""Changes topology in three steps, one change at a time: decide, record, apply."""

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
    """The only way to change the virtual hosts of a node."""

    def __init__(
        self,
        cluster: Cluster[Queue],
        apply: Callable[[Change], Sequence[Slot]],
        purge: Callable[[Sequence[Slot]], Awaitable[None]],
        *,
        client_lock: Lock,
        maintenance_lock: Lock,
    ) -> None:
        """`apply` alters memory and returns the slots that the journal's `purge` then deletes.

        The two locks are one lock with different timeouts, held during a change. Waiting for `client_lock` may raise
        `StoreUnavailable`; waiting for `maintenance_lock` does not, because there is no client to answer.
        """
        self._cluster = cluster
        self._apply = apply
        self._purge = purge
        self._client_lock = client_lock
        self._maintenance_lock = maintenance_lock

    async def change(self, decide: Callable[[], Awaitable[T]]) -> T:
        """Run `decide` under the client lock, for a change that a client asked for: every living node has applied it
        then (invariant I71).
        """
        return await self._change(decide, self._client_lock, is_certain=True)

    async def maintain(self, decide: Callable[[], Awaitable[T]]) -> T:
        """Run `decide` under the maintenance lock, for a change that no client asked for and that must not fail."""
        return await self._change(decide, self._maintenance_lock, is_certain=False)

    async def _change(self, decide: Callable[[], Awaitable[T]], lock: Lock, *, is_certain: bool) -> T:
        """Decide under the lock, again if other nodes recorded first; then let the other nodes apply the change.

        They apply what is recorded even if something failed after that, such as a purge.
        """
        while True:
            before = recorded = 0
            try:
                async with lock:
                    before = self._cluster.recorded
                    try:
                        return await decide()
                    finally:
                        recorded = self._cluster.recorded
            except TopologyMoved:
                continue
            finally:
                if recorded > before:
                    await self._cluster.announce(recorded, is_certain=is_certain)

    async def record(self, changes: Sequence[Change], is_lasting: Callable[[Change], bool]) -> None:
        """Record `changes`; the caller then applies them before anything else happens."""
        if changes:
            await self._cluster.record(changes, is_lasting)

    async def apply(self, changes: Sequence[Change]) -> None:
        """Apply recorded `changes` to memory, and purge the slots that they leave."""
        slots = [slot for change in changes for slot in self._apply(change)]
        if slots:
            await self._purge(slots)
