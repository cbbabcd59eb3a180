"""A cluster's tables in memory, as its nodes come and go: the real store in memory, and a way to it that fails.

Knows who lives in which incarnation and who has the power; who decides that is the business of a test.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from broker.errors import StoreUnavailable
from broker.message import lane_of
from broker.ports.cluster_rows import Incarnation, NodeRow, NodeState, SlotRow
from broker.ports.peer_calls import Fence
from broker.ports.slot import Slot
from broker.ports.store import Registration
from broker.store.memory.slots import MemorySlotStore
from broker.store.memory.state import MemoryState, Row
from broker.store.memory.store import MemoryStore
from tests.support.stage import drive


class MemoryCluster:
    """The tables of one store; `slots` is the port over the table of slots."""

    def __init__(self, state: MemoryState | None = None, slots: type[MemorySlotStore] = MemorySlotStore) -> None:
        self.state = state or MemoryState()
        self.slots = slots(lambda: self.state)

    # Who counts

    @property
    def power(self) -> Fence:
        """Whose writes as a coordinator pass."""
        return Fence(*self.state.cluster.fence)

    def claim(self, fence: Fence) -> None:
        """Somebody is the coordinator from now on."""
        self.state.cluster.fence = fence.epoch, fence.term

    def join(self, incarnation: Incarnation) -> tuple[MemoryStore, Registration]:
        """Begin an incarnation, and end the one that its node had before; return its store, which is open."""
        rows = self.state.cluster
        before = rows.nodes.get(incarnation.node_id)
        if before is not None:
            rows.end_incarnation(before.node_id, before.incarnation, "dead")
        rows.nodes[incarnation.node_id] = NodeRow(incarnation.node_id, incarnation.id, 1, 0, NodeState.UP, "", 0)
        store = MemoryStore(self.state, is_shared=True)
        drive(store.open())
        return store, drive(store.members.join(incarnation))

    def end(self, incarnation: Incarnation, *, in_order: bool = False) -> None:
        """Evict an incarnation, or let it leave `in_order`."""
        rows = self.state.cluster
        row = rows.nodes[incarnation.node_id]
        if row.incarnation == incarnation.id:
            state = NodeState.STOPPED if in_order else NodeState.DEAD
            rows.nodes[row.node_id] = NodeRow(row.node_id, row.incarnation, row.fence + 1, 0, state, "", 0)
            rows.end_incarnation(row.node_id, row.incarnation, "stopped" if in_order else "dead")

    def living(self) -> list[Incarnation]:
        """Return the incarnations that are not over."""
        return sorted(self.state.incarnations_up(), key=lambda incarnation: incarnation.node_id)

    # What is there

    def put(self, queue_id: int, *ids: int) -> None:
        """Store messages of a queue."""
        self.state.rows.update((each, Row(queue_id, 0, 0, b"", b"", 0)) for each in ids)

    def owned(self, incarnation: Incarnation) -> list[SlotRow]:
        return drive(self.slots.owned(incarnation))

    def owner_of(self, queue_id: int, message_id: int) -> Incarnation | None:
        """Return whose a message is: its slot's owner's, or else its lane's."""
        lane = lane_of(message_id)
        for row in self.state.slots.values():
            if row.start <= message_id <= row.end and (row.queue_id, row.lane) == (queue_id, lane):
                return row.owner
        for node_id, node in self.state.cluster.lanes.items():
            if node.lane == lane and node.incarnation:
                return Incarnation(node_id, node.incarnation)
        return None


class FailingSlots:
    """A `SlotStore` whose calls fail when a test says so."""

    def __init__(self, slots: MemorySlotStore) -> None:
        self.calls: list[str] = []
        self._slots = slots
        self._failures: list[tuple[str, bool]] = []

    def fail(self, operation: str, times: int = 1, *, after: bool = False) -> None:
        """Let the next calls fail: before anything was done, or `after` it was done."""
        self._failures += [(operation, after)] * times

    async def slots(self) -> Sequence[SlotRow]:
        rows: Sequence[SlotRow] = await self._do("slots")
        return rows

    async def owned(self, incarnation: Incarnation) -> Sequence[SlotRow]:
        rows: Sequence[SlotRow] = await self._do("owned", incarnation)
        return rows

    async def fence(self) -> Fence:
        fence: Fence = await self._do("fence")
        return fence

    async def assign(self, rows: Sequence[SlotRow], incarnation: Incarnation, fence: Fence) -> Sequence[SlotRow]:
        owned: Sequence[SlotRow] = await self._do("assign", rows, incarnation, fence)
        return owned

    async def cut(
        self, removed: Sequence[int], kept: Sequence[Slot], given: Sequence[Slot], incarnation: Incarnation
    ) -> Sequence[SlotRow]:
        rows: Sequence[SlotRow] = await self._do("cut", removed, kept, given, incarnation)
        return rows

    async def finish(self, starts: Sequence[int], incarnation: Incarnation) -> Sequence[int]:
        gone: Sequence[int] = await self._do("finish", starts, incarnation)
        return gone

    async def purge(self, queue_id: int) -> int:
        count: int = await self._do("purge", queue_id)
        return count

    async def window(self, lane: int, size: int) -> Sequence[Slot]:
        slots: Sequence[Slot] = await self._do("window", lane, size)
        return slots

    async def reclaim(self, fence: Fence, size: int) -> int:
        count: int = await self._do("reclaim", fence, size)
        return count

    async def _do(self, operation: str, *arguments: Any) -> Any:
        self.calls.append(operation)
        failure = next((failure for failure in self._failures if failure[0] == operation), None)
        if failure is None:
            return await getattr(self._slots, operation)(*arguments)
        self._failures.remove(failure)
        if failure[1]:
            await getattr(self._slots, operation)(*arguments)
        raise StoreUnavailable("the store is away")


def overlaps(rows: Iterable[SlotRow]) -> tuple[SlotRow, SlotRow] | None:
    """Return two slots that have a message in common, if there are any (invariant I52)."""
    last: SlotRow | None = None
    for row in sorted(rows, key=lambda row: (row.queue_id, row.lane, row.start)):
        if last is not None and (last.queue_id, last.lane) == (row.queue_id, row.lane) and last.end >= row.start:
            return last, row
        last = row
    return None
