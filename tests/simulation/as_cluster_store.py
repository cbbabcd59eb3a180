"""The simulated store behind the port of the real ones, so that one contract holds them equal.

Knows `ClusterStore`; has no timeline, and every node at one address.
"""

from __future__ import annotations

from collections.abc import Sequence

from broker.ports.cluster_rows import Beat, Claim, Lease, Leave, MembershipChange, NodeRow, Register, Renew, Resign
from tests.simulation.members import NodeTable
from tests.simulation.store import SimulatedStore


class SimulatedClusterStore:
    """A lease, a fence and a table of nodes as the simulated world has them."""

    def __init__(self) -> None:
        self._store = SimulatedStore()
        self._table = NodeTable(self._store, lambda _: None)

    async def read_lease(self) -> Lease:
        return self._store.read_lease()

    async def claim(self, claim: Claim, node_id: str, thrift_host: str, thrift_port: int) -> bool:
        return self._store.claim(node_id, claim.seen, claim.term)

    async def renew(self, renew: Renew, node_id: str) -> bool:
        return self._store.renew(renew.epoch, renew.term)

    async def resign(self, resign: Resign, node_id: str) -> None:
        self._store.resign(resign.epoch, resign.term)

    async def own_row(self, node_id: str) -> NodeRow | None:
        return self._table.rows.get(node_id)

    async def register_node(self, register: Register, node_id: str, host: str, port: int, terms: str = "") -> bool:
        return self._table.register(node_id, register.seen, register.incarnation, terms)

    async def beat(self, beat: Beat, node_id: str) -> bool:
        return node_id in self._table.rows and self._table.beat(node_id, beat.incarnation)

    async def leave(self, leave: Leave, node_id: str) -> None:
        if node_id in self._table.rows:
            self._table.leave(node_id, leave.incarnation)

    async def nodes(self) -> list[NodeRow]:
        return sorted(self._table.read_all(), key=lambda row: row.node_id)

    async def evict(self, row: NodeRow, epoch: int, term: str) -> bool:
        if row.node_id not in self._table.rows:
            return (epoch, term) == self._store.fence
        return self._table.evict("", epoch, term, row)

    async def timeline(self, limit: int) -> Sequence[MembershipChange]:
        raise NotImplementedError("the simulated world keeps no timeline")
