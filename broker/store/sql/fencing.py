"""Fencing: a node may write while its incarnation lasts, a coordinator until the next one has claimed (ADR 16).

A transaction locks the row that gives it the right to write until it ends. All of them lock in one order: fence, node,
slots, messages.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, select, update

from broker.errors import Evicted, Fenced, StoreError
from broker.ports.cluster_rows import Incarnation, NodeState
from broker.ports.peer_calls import Fence
from broker.store.sql.schema import FENCE, NODE, NODE_HEARTBEAT

DEAD: Final = "dead"
RUNNING: Final = "running"
STOPPED: Final = "stopped"
RECOVERED: Final = "recovered"
"""States of a lane. Its last incarnation crashed, still lasts, or ended in order; or all of it has become slots."""

_ANCHOR: Final = 1


def read_fence(connection: Connection) -> Fence:
    """Return the fence. Raises `StoreError` when its row is gone."""
    row = connection.execute(select(FENCE.c.epoch, FENCE.c.term).where(FENCE.c.anchor == _ANCHOR)).first()
    if row is None:
        raise StoreError(f"the table {FENCE.name} has lost its row: restore it from a backup")
    return Fence(*row)


def check_fence(connection: Connection, fence: Fence) -> None:
    """Raise `Fenced` when there is a newer coordinator. Nothing is locked: one may still claim before the commit."""
    if read_fence(connection) != fence:
        raise Fenced(f"epoch {fence.epoch} is over: there is a newer coordinator")


def pass_fence(connection: Connection, fence: Fence) -> None:
    """Lock the fence, so that no other coordinator can claim before the commit. Raises `Fenced` if one has."""
    is_ours = (FENCE.c.anchor == _ANCHOR) & (FENCE.c.epoch == fence.epoch) & (FENCE.c.term == fence.term)
    if connection.execute(update(FENCE).where(is_ours).values(sequence=FENCE.c.sequence + 1)).rowcount != 1:
        raise Fenced(f"epoch {fence.epoch} is over: there is a newer coordinator")


def lane_of(connection: Connection, incarnation: Incarnation, *, exclusive: bool = False) -> int | None:
    """Return the lane of `incarnation`, and let it last until the commit; None when it is over.

    The row in MB_NODE_HEARTBEAT is locked, because whatever ends an incarnation writes it; the row in MB_NODE stays
    free for the node's batches. With `exclusive` no other transaction of this incarnation can hold the lock, in
    particular none of an earlier try that is still under way.
    """
    heartbeat, node = NODE_HEARTBEAT.c, NODE.c
    lane = select(node.lane).where(node.node_id == heartbeat.node_id, node.incarnation == heartbeat.incarnation)
    is_incarnation = (heartbeat.node_id == incarnation.node_id) & (heartbeat.incarnation == incarnation.id)
    is_up = heartbeat.state == NodeState.UP.value
    wanted = select(lane.scalar_subquery()).select_from(NODE_HEARTBEAT).where(is_incarnation & is_up)
    found: int | None = connection.scalar(wanted.with_for_update(read=not exclusive))
    return found


def check_incarnation(connection: Connection, incarnation: Incarnation, *, exclusive: bool = False) -> int:
    """Return the lane of `incarnation`, as `lane_of` does. Raises `Evicted` when the incarnation is over."""
    lane = lane_of(connection, incarnation, exclusive=exclusive)
    if lane is None:
        raise evicted(incarnation)
    return lane


def end_incarnation(connection: Connection, incarnation: Incarnation, state: str) -> None:
    """End `incarnation`, unless it has ended: from now on it cannot commit a batch."""
    is_incarnation = (NODE.c.node_id == incarnation.node_id) & (NODE.c.incarnation == incarnation.id)
    connection.execute(update(NODE).where(is_incarnation).values(incarnation="", state=state))


def evicted(incarnation: Incarnation) -> Evicted:
    """Return the error for a write of an incarnation that is over."""
    return Evicted(f"the incarnation {incarnation.id} of node {incarnation.node_id!r} is over")
