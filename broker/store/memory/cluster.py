"""The port `ClusterStore` in memory: lease, fence, nodes and timeline; and the lanes of nodes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

from broker.errors import StoreError
from broker.ports.cluster_rows import (
    Beat,
    ChangeType,
    Claim,
    Lease,
    Leave,
    MembershipChange,
    NodeRow,
    NodeState,
    Register,
    Renew,
    Resign,
)

_LANES: Final = 256
_TIMELINE: Final = 1000


@dataclass(slots=True)
class LaneRow:
    """The lane of a node, and the incarnation that writes in it; empty when none does.

    `state` is that of the last incarnation: `running`, `dead` or `stopped`. It is `recovered` when all of the lane has
    become slots since.
    """

    lane: int
    state: str = "stopped"
    incarnation: str = ""


@dataclass(slots=True)
class ClusterRows:
    """The rows of the cluster's tables; `fence` is the epoch and term that may write, `address` that of the holder."""

    lease: Lease = field(default_factory=lambda: Lease(0, 0, "", None))
    fence: tuple[int, str] = (0, "")
    nodes: dict[str, NodeRow] = field(default_factory=dict)
    timeline: list[MembershipChange] = field(default_factory=list)
    lanes: dict[str, LaneRow] = field(default_factory=dict)
    address: tuple[str, int] = ("", 0)

    def lane_for(self, node_id: str) -> LaneRow:
        """Return the lane of `node_id`. A new node gets the lowest free one, or that of a node that is gone."""
        if node_id not in self.lanes:
            free = set(range(_LANES)).difference(row.lane for row in self.lanes.values())
            self.lanes[node_id] = LaneRow(min(free)) if free else self._inherited(node_id)
        return self.lanes[node_id]

    def end_incarnation(self, node_id: str, incarnation: str, state: str) -> None:
        """End an incarnation, unless it has ended: from now on it cannot write."""
        row = self.lanes.get(node_id)
        if row is not None and row.incarnation == incarnation:
            row.incarnation, row.state = "", state

    def _inherited(self, node_id: str) -> LaneRow:
        gone = {name: row for name, row in self.lanes.items() if not row.incarnation}
        if not gone:
            raise StoreError(f"node {node_id!r} cannot join: each of the {_LANES} lanes is of a node that lives")
        return self.lanes.pop(min(gone, key=lambda name: gone[name].lane))


class MemoryClusterStore:
    """Lease, nodes and timeline in the rows that `opened` returns; it raises when the store is closed."""

    def __init__(self, opened: Callable[[], ClusterRows]) -> None:
        self._opened = opened

    async def read_lease(self) -> Lease:
        return self._opened().lease

    async def claim(self, claim: Claim, node_id: str, thrift_host: str, thrift_port: int) -> bool:
        rows, seen = self._opened(), claim.seen
        if (rows.lease.epoch, rows.lease.beat, rows.lease.term) != (seen.epoch, seen.beat, seen.term):
            return False
        rows.lease = Lease(seen.epoch + 1, 0, claim.term, node_id)
        rows.fence = (seen.epoch + 1, claim.term)
        rows.address = thrift_host, thrift_port
        rows.timeline.append(MembershipChange(ChangeType.COORDINATOR_CHANGED, node_id, claim.term, node_id))
        del rows.timeline[:-_TIMELINE]
        return True

    async def renew(self, renew: Renew, node_id: str) -> bool:
        rows = self._opened()
        if (rows.lease.epoch, rows.lease.term, rows.lease.holder) != (renew.epoch, renew.term, node_id):
            return False
        rows.lease = replace(rows.lease, beat=rows.lease.beat + 1)
        return True

    async def resign(self, resign: Resign, node_id: str) -> None:
        rows = self._opened()
        if (rows.lease.epoch, rows.lease.term, rows.lease.holder) == (resign.epoch, resign.term, node_id):
            rows.lease = replace(rows.lease, beat=rows.lease.beat + 1, holder=None)

    async def own_row(self, node_id: str) -> NodeRow | None:
        return self._opened().nodes.get(node_id)

    async def register_node(self, register: Register, node_id: str, host: str, port: int, terms: str = "") -> bool:
        rows, seen = self._opened(), register.seen
        row = rows.nodes.get(node_id)
        if _version(row) != _version(seen):
            return False
        fence = 1 if seen is None else seen.fence + 1
        rows.nodes[node_id] = NodeRow(node_id, register.incarnation, fence, 0, NodeState.UP, host, port, terms)
        if row is not None:
            rows.end_incarnation(node_id, row.incarnation, "dead")
        if row is not None and row.state is NodeState.UP:
            rows.timeline.append(_removed(row, node_id))
        rows.timeline.append(MembershipChange(ChangeType.MEMBER_ADDED, node_id, register.incarnation, node_id))
        return True

    async def beat(self, beat: Beat, node_id: str) -> bool:
        rows = self._opened()
        row = rows.nodes.get(node_id)
        if row is None or not _is_up(row, beat.incarnation):
            return False
        rows.nodes[node_id] = replace(row, beat=row.beat + 1)
        return True

    async def leave(self, leave: Leave, node_id: str) -> None:
        rows = self._opened()
        row = rows.nodes.get(node_id)
        if row is not None and _is_up(row, leave.incarnation):
            rows.nodes[node_id] = replace(row, state=NodeState.STOPPED, fence=row.fence + 1)
            rows.end_incarnation(node_id, row.incarnation, "stopped")
            rows.timeline.append(_removed(row, node_id))

    async def nodes(self) -> list[NodeRow]:
        rows = self._opened().nodes
        return [rows[node_id] for node_id in sorted(rows)]

    async def evict(self, row: NodeRow, epoch: int, term: str) -> bool:
        rows = self._opened()
        if rows.fence != (epoch, term):
            return False
        now = rows.nodes.get(row.node_id)
        if now is not None and _is_up(now, row.incarnation) and now.beat == row.beat:
            rows.nodes[row.node_id] = replace(now, state=NodeState.DEAD, fence=now.fence + 1)
            rows.end_incarnation(row.node_id, row.incarnation, "dead")
            coordinator = rows.lease.holder if rows.lease.term == term else None
            rows.timeline.append(_removed(now, coordinator))
        return True

    async def timeline(self, limit: int) -> list[MembershipChange]:
        return self._opened().timeline[: -limit - 1 : -1]


def _version(row: NodeRow | None) -> tuple[str, int, int, NodeState] | None:
    return None if row is None else (row.incarnation, row.fence, row.beat, row.state)


def _is_up(row: NodeRow, incarnation: str) -> bool:
    return row.state is NodeState.UP and row.incarnation == incarnation


def _removed(row: NodeRow, node_id: str | None) -> MembershipChange:
    return MembershipChange(ChangeType.MEMBER_REMOVED, row.node_id, row.incarnation, node_id)
