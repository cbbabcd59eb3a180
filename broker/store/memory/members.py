"""The port `MemberStore` in memory: how an incarnation of a node begins to write."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from broker.errors import Evicted
from broker.ports.cluster_rows import ChangeType, Incarnation, MembershipChange
from broker.ports.peer_calls import Fence
from broker.ports.store import Registration
from broker.store.memory.state import QUEUE_IDS_PER_REGISTRATION, MemoryState


class MemoryMemberStore:
    """Incarnations in the rows that `opened` returns; `on_joined` is called with each that begins to write."""

    def __init__(self, opened: Callable[[], MemoryState], on_joined: Callable[[Incarnation], None]) -> None:
        self._opened = opened
        self._on_joined = on_joined

    async def join(self, incarnation: Incarnation) -> Registration:
        state = self._opened()
        up = state.incarnations_up()
        if incarnation not in up:
            raise Evicted(f"the incarnation {incarnation.id} of node {incarnation.node_id!r} is over")
        _end_incarnations_outside(state, up)
        lane = state.cluster.lane_for(incarnation.node_id)
        clean = lane.state == "stopped"
        lanes = state.cluster.lanes.items()
        has_others = any(Incarnation(name, row.incarnation) in up for name, row in lanes if name != incarnation.node_id)
        lane.state, lane.incarnation = "running", incarnation.id
        last_message_id = state.last_message_id()
        if not has_others:
            state.delete_mortal()
            _recount_transient(state)
        self._on_joined(incarnation)
        first, last = state.reserve_queue_ids(QUEUE_IDS_PER_REGISTRATION)
        return Registration(lane.lane, last_message_id, first, last, clean)

    async def note_contact(self, member: Incarnation, is_reached: bool, node_id: str) -> None:
        kind = ChangeType.MEMBER_REACHABLE if is_reached else ChangeType.MEMBER_UNREACHABLE
        self._opened().cluster.timeline.append(MembershipChange(kind, member.node_id, member.id, node_id))

    async def coordinator_address(self) -> tuple[str, int, Fence] | None:
        cluster = self._opened().cluster
        if cluster.lease.holder is None:
            return None
        return *cluster.address, Fence(cluster.lease.epoch, cluster.lease.term)


def _end_incarnations_outside(state: MemoryState, up: set[Incarnation]) -> None:
    """End the incarnations of standalone brokers; one that crashed may have delivered messages of every lane."""
    ended = [lane for name, lane in state.cluster.lanes.items() if Incarnation(name, lane.incarnation) not in up]
    has_crashed = any(lane.state == "running" for lane in ended)
    for lane in ended:
        lane.incarnation = ""
        if has_crashed and lane.state in ("running", "stopped"):
            lane.state = "dead"


def _recount_transient(state: MemoryState) -> None:
    """Correct or delete the slots that had transient messages, after all of those have been deleted."""
    for row in [row for row in state.slots.values() if row.transient]:
        count = len(state.in_slot(row))
        if count:
            state.slots[row.start] = replace(row, count=count, transient=False)
        else:
            del state.slots[row.start]
