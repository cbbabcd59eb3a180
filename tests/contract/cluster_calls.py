"""The calls of a cluster's store with what does not matter left out."""

from __future__ import annotations

from broker.ports.cluster import ClusterStore
from broker.ports.cluster_rows import Beat, Claim, Lease, NodeRow, NodeState, Register, Renew

NEVER_HELD = Lease(0, 0, "", None)
HOST = "127.0.0.1"
PORT = 5672


async def claim(cluster: ClusterStore, seen: Lease, term: str, node_id: str = "a") -> bool:
    return await cluster.claim(Claim(seen, term, 0.0, 0.0), node_id, HOST, 7611)


async def renew(cluster: ClusterStore, epoch: int, term: str, node_id: str = "a") -> bool:
    return await cluster.renew(Renew(epoch, term, 0.0, 0.0), node_id)


async def register(cluster: ClusterStore, node_id: str, incarnation: str, seen: NodeRow | None = None) -> bool:
    return await cluster.register_node(Register(seen, incarnation, 0.0, 0.0), node_id, HOST, PORT)


async def beat(cluster: ClusterStore, node_id: str, incarnation: str) -> bool:
    return await cluster.beat(Beat(incarnation, 0.0, 0.0), node_id)


def up(node_id: str, incarnation: str, fence: int = 1, beat: int = 0) -> NodeRow:
    return NodeRow(node_id, incarnation, fence, beat, NodeState.UP, HOST, PORT)
