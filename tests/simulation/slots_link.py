"""The way to the store of a simulated cluster: what is asked there may fail, be done unsaid, or be done late."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from broker.errors import BrokerError, StoreUnavailable
from broker.ports.cluster_rows import Incarnation, SlotRow
from broker.ports.peer_calls import Fence
from broker.ports.slot import Slot
from tests.support.memory_slots import Violation

if TYPE_CHECKING:
    from tests.simulation.slots_world import SlotWorld

T = TypeVar("T")

_FOREVER: Final = 1000.0


class StoreLink:
    """The way of one incarnation, or one coordinator, to the store: what it asks may fail, or be done although
    it has.
    """

    def __init__(self, world: SlotWorld, incarnation: Incarnation | None = None) -> None:
        self._world = world
        self._incarnation = incarnation
        self._late: Callable[[], object] | None = None

    async def slots(self) -> Sequence[SlotRow]:
        return await self._do(self._world.table.slots)

    async def owned(self, incarnation: Incarnation) -> Sequence[SlotRow]:
        return await self._do(partial(self._world.table.owned, incarnation))

    async def assign(self, rows: Sequence[SlotRow], incarnation: Incarnation, fence: Fence) -> Sequence[SlotRow]:
        return await self._do(partial(self._world.table.assign, list(rows), incarnation, fence))

    async def cut(
        self, removed: Sequence[int], kept: Sequence[Slot], given: Sequence[Slot], incarnation: Incarnation
    ) -> Sequence[SlotRow]:
        return await self._do(partial(self._world.table.cut, removed, kept, given, incarnation))

    async def finish(self, starts: Sequence[int], incarnation: Incarnation) -> Sequence[int]:
        return await self._do(partial(self._world.table.finish, starts, incarnation))

    async def reclaim(self, fence: Fence, size: int) -> int:
        return await self._do(partial(self._world.table.reclaim, fence, size))

    async def read(self, slot: Slot, limit: int) -> list[int]:
        return await self._do(partial(self._world.table.read, slot, limit))

    async def write(self, batch: int, inserts: Mapping[int, int], deletes: Iterable[int]) -> None:
        assert self._incarnation is not None
        await self._do(partial(self._world.table.write, self._incarnation, batch, dict(inserts), list(deletes)))

    async def _do(self, operation: Callable[[], T]) -> T:
        """Do it in the order in which it was asked for: a transaction that is late holds locks that others wait for."""
        world, random = self._world, self._world.random
        if world.is_store_down:
            await asyncio.sleep(0.1)
            raise StoreUnavailable("the store is away")
        fate = random.random() if world.is_doubtful else 1.0
        self._do_late()
        if fate < 0.15:
            self._late = operation
            world.loop.call_later(random.uniform(0.1, 2.0), self._do_late, operation)
        elif fate < 0.3:
            self._try(operation)
        if fate < 0.4:
            await asyncio.sleep(0.05)
            raise StoreUnavailable("no answer came")
        if random.random() < 0.2:
            await asyncio.sleep(random.uniform(0.0, 0.02))
        try:
            result = operation()
        except Violation as violation:
            world.end(violation)
            await asyncio.sleep(_FOREVER)
            raise
        if random.random() < 0.2:
            await asyncio.sleep(random.uniform(0.0, 0.02))
        return result

    def _do_late(self, operation: Callable[[], object] | None = None) -> None:
        late = self._late
        if late is not None and operation in (None, late):
            self._late = None
            self._try(late)

    def _try(self, operation: Callable[[], object]) -> None:
        try:
            operation()
        except BrokerError:
            pass
        except Violation as violation:
            self._world.end(violation)
