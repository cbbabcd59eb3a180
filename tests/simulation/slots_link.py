"""The ways of a simulated node to the store and to the coordinator: what is asked may fail, be done unsaid, or late.

What the store has done is held against invariants I51, I52 and I54 here, whoever has let it happen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from broker.errors import BrokerError, CoordinationError, StoreUnavailable
from broker.message import Message, StorageQueue
from broker.ports.cluster import SlotService
from broker.ports.cluster_rows import Incarnation, SlotRow
from broker.ports.groups import GroupPage
from broker.ports.peer_calls import Caller, Demand, Fence, Grant, PeerUnreachable, QueueName, Supply
from broker.ports.slot import Slot
from broker.ports.store import Batch, DueKey
from broker.store.memory.store import MemoryStore
from tests.simulation.slots_history import Violation
from tests.support.memory_slots import overlaps
from tests.support.stage import drive

if TYPE_CHECKING:
    from tests.simulation.slots_world import Node, SlotWorld

T = TypeVar("T")

_FOREVER: Final = 1000.0


class StoreLink:
    """The way of one coordinator to the table of slots."""

    def __init__(self, world: SlotWorld) -> None:
        self._world = world
        self._slots = world.cluster.slots
        self._late: Callable[[], object] | None = None

    async def slots(self) -> Sequence[SlotRow]:
        return await self._do(lambda: drive(self._slots.slots()))

    async def owned(self, incarnation: Incarnation) -> Sequence[SlotRow]:
        return await self._do(lambda: drive(self._slots.owned(incarnation)))

    async def fence(self) -> Fence:
        return await self._do(lambda: drive(self._slots.fence()))

    async def assign(self, rows: Sequence[SlotRow], incarnation: Incarnation, fence: Fence) -> Sequence[SlotRow]:
        return await self._do(partial(self._assign, list(rows), incarnation, fence))

    async def cut(
        self, removed: Sequence[int], kept: Sequence[Slot], given: Sequence[Slot], incarnation: Incarnation
    ) -> Sequence[SlotRow]:
        return await self._do(partial(self._cut, removed, kept, given, incarnation))

    async def finish(self, starts: Sequence[int], incarnation: Incarnation) -> Sequence[int]:
        return await self._do(partial(self._finish, starts, incarnation))

    async def reclaim(self, fence: Fence, size: int) -> int:
        return await self._do(partial(self._reclaim, fence, size))

    async def purge(self, queue_id: int) -> int:
        raise NotImplementedError("nobody purges")

    async def window(self, lane: int, size: int) -> Sequence[Slot]:
        return await self._do(lambda: drive(self._slots.window(lane, size)))

    # What is done in the store, and what must be so then

    def _assign(self, rows: Sequence[SlotRow], incarnation: Incarnation, fence: Fence) -> Sequence[SlotRow]:
        owned = drive(self._slots.assign(rows, incarnation, fence))
        if owned:
            self._check(fence=fence, incarnation=incarnation)
        return owned

    def _cut(
        self, removed: Sequence[int], kept: Sequence[Slot], given: Sequence[Slot], incarnation: Incarnation
    ) -> Sequence[SlotRow]:
        rows = drive(self._slots.cut(removed, kept, given, incarnation))
        self._check(incarnation=incarnation)
        return rows

    def _finish(self, starts: Sequence[int], incarnation: Incarnation) -> Sequence[int]:
        finished = drive(self._slots.finish(starts, incarnation))
        self._check(incarnation=incarnation)
        return finished

    def _reclaim(self, fence: Fence, size: int) -> int:
        count = drive(self._slots.reclaim(fence, size))
        self._check(fence=fence)
        return count

    def _check(self, *, fence: Fence | None = None, incarnation: Incarnation | None = None) -> None:
        cluster = self._world.cluster
        if fence not in (None, cluster.power):
            raise Violation(f"I51: {fence} has committed after {cluster.power} had begun")
        if incarnation is not None and incarnation not in cluster.living():
            raise Violation(f"I54: {incarnation} has committed after it was over")
        if (both := overlaps(cluster.state.slots.values())) is not None:
            raise Violation(f"I52: {both[0]} and {both[1]} overlap")

    # How it is done

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


class MemberLink(StoreLink):
    """The way of one incarnation to its messages too."""

    def __init__(self, world: SlotWorld, store: MemoryStore, incarnation: Incarnation) -> None:
        super().__init__(world)
        self._store = store
        self._incarnation = incarnation
        self._written: Batch | None = None

    async def write(self, batch: Batch) -> None:
        if self._world.is_slow:
            await asyncio.sleep(self._world.random.uniform(0.2, 1.0))
        await self._do(partial(self._write, batch))

    async def read(self, queue: StorageQueue, slot: Slot, limit: int, limit_bytes: int) -> list[Message]:
        return await self._do(lambda: drive(self._store.read(queue, slot, limit, limit_bytes)))

    async def read_due(
        self, queue: StorageQueue, until_ms: int, after: DueKey, limit: int, limit_bytes: int
    ) -> list[Message]:
        return await self._do(lambda: drive(self._store.read_due(queue, until_ms, after, limit, limit_bytes)))

    async def next_due(self, queue: StorageQueue, after: DueKey) -> int | None:
        return await self._do(lambda: drive(self._store.next_due(queue, after)))

    async def read_groups(self, queue_id: int, after: int, limit: int, depth: int) -> GroupPage:
        return await self._do(lambda: drive(self._store.read_groups(queue_id, after, limit, depth)))

    async def read_listed(self, queue: StorageQueue, message_ids: Sequence[int], limit_bytes: int) -> list[Message]:
        return await self._do(lambda: drive(self._store.read_listed(queue, message_ids, limit_bytes)))

    async def mark_redelivered(self, messages: Sequence[Message]) -> None:
        await self._do(lambda: drive(self._store.mark_redelivered(messages)))

    def _write(self, batch: Batch) -> None:
        if batch is self._written:
            return  # the stores of servers know by its number that it was done
        drive(self._store.write(batch))
        self._written = batch
        self._world.history.stored.update(message.id for message in batch.inserts)
        self._check(incarnation=self._incarnation)


class CoordinatorLink:
    """The way of a node to the one that it takes for the coordinator. A call without an answer is repeated once."""

    def __init__(self, world: SlotWorld, coordinator: Node) -> None:
        self._world = world
        self._coordinator = coordinator

    async def await_slots(self, demands: Sequence[Demand], wait_ms: int, caller: Caller) -> Supply:
        return await self._call(lambda service, caller: service.await_slots(demands, wait_ms, caller), caller)

    async def get_slot(self, queue: QueueName, caller: Caller) -> Grant | None:
        return await self._call(lambda service, caller: service.get_slot(queue, caller), caller)

    async def submit_slot(self, queue: QueueName, slot: Slot, caller: Caller) -> None:
        await self._call(lambda service, caller: service.submit_slot(queue, slot, caller), caller)

    async def _call(self, call: Callable[[SlotService, Caller], Awaitable[T]], caller: Caller) -> T:
        if not caller.request_id:
            caller = self._world.numbered(caller)
        try:
            return await self._call_once(call, caller)
        except PeerUnreachable:
            return await self._call_once(call, caller)

    async def _call_once(self, call: Callable[[SlotService, Caller], Awaitable[T]], caller: Caller) -> T:
        world = self._world
        if caller.node_id != self._coordinator.name:
            await world.pass_cut()
            if world.is_late and world.random.random() < 0.5:
                world.spawn(self._call_late(call, caller))
                await asyncio.sleep(0.2)
                raise PeerUnreachable("no answer has come in time")
        is_answer_lost = await world.travel()
        answer = await call(self._coordinator.service, caller)
        if is_answer_lost:
            await asyncio.sleep(0.2)
            raise PeerUnreachable("no answer came")
        if world.random.random() < 0.3:
            await asyncio.sleep(world.random.uniform(0.0, 0.05))  # on its own connection: others may overtake it
        return answer

    async def _call_late(self, call: Callable[[SlotService, Caller], Awaitable[T]], caller: Caller) -> None:
        """The other node was suspended when the call came: it is done all the same, and nobody hears the answer."""
        await asyncio.sleep(self._world.random.uniform(0.2, 3.0))
        with suppress(CoordinationError):
            await call(self._coordinator.service, caller)
