"""Who may write: a node while its incarnation lasts, a coordinator until the next one has claimed (reliability.md
§3.4).

Knows the rows that a transaction must have locked before it uses a power, in this order: fence, node, slots, messages.
Knows SQLAlchemy Core; knows no driver. The caller holds the transaction.
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
"""The incarnations of a lane: one that crashed, lasts, left in order; and a lane of which all has been cut into slots.
"""

_ANCHOR: Final = 1


def read_fence(connection: Connection) -> Fence:
    """Return the fence as it is. Raises `StoreError` when its row is gone."""
    row = connection.execute(select(FENCE.c.epoch, FENCE.c.term).where(FENCE.c.anchor == _ANCHOR)).first()
    if row is None:
        raise StoreError(f"the table {FENCE.name} has lost its row: restore it from a backup")
    return Fence(*row)


def check_fence(connection: Connection, fence: Fence) -> None:
    """Raise `Fenced` when there is a newer coordinator already; one may still come before the commit."""
    if read_fence(connection) != fence:
        raise Fenced(f"epoch {fence.epoch} is over: there is a newer coordinator")


def pass_fence(connection: Connection, fence: Fence) -> None:
    """Keep every other coordinator out until the commit, or raise `Fenced`."""
    is_ours = (FENCE.c.anchor == _ANCHOR) & (FENCE.c.epoch == fence.epoch) & (FENCE.c.term == fence.term)
    if connection.execute(update(FENCE).where(is_ours).values(sequence=FENCE.c.sequence + 1)).rowcount != 1:
        raise Fenced(f"epoch {fence.epoch} is over: there is a newer coordinator")


def lane_of(connection: Connection, incarnation: Incarnation, *, alone: bool = False) -> int | None:
    """Return the lane of `incarnation`, which lasts until the commit then; None when it is over.

    With `alone` nothing of this kind is done in this incarnation meanwhile, neither what an earlier try may still be
    doing. It is the row of the node's heartbeat that is locked, which ends with every incarnation: batches need the
    other one.
    """
    heartbeat, node = NODE_HEARTBEAT.c, NODE.c
    lane = select(node.lane).where(node.node_id == heartbeat.node_id, node.incarnation == heartbeat.incarnation)
    is_incarnation = (heartbeat.node_id == incarnation.node_id) & (heartbeat.incarnation == incarnation.id)
    is_up = heartbeat.state == NodeState.UP.value
    wanted = select(lane.scalar_subquery()).select_from(NODE_HEARTBEAT).where(is_incarnation & is_up)
    found: int | None = connection.scalar(wanted.with_for_update(read=not alone))
    return found


def check_incarnation(connection: Connection, incarnation: Incarnation, *, alone: bool = False) -> int:
    """Return the lane of `incarnation`, which lasts until the commit then. Raises `Evicted` when it is over."""
    lane = lane_of(connection, incarnation, alone=alone)
    if lane is None:
        raise evicted(incarnation)
    return lane


def end_incarnation(connection: Connection, incarnation: Incarnation, state: str) -> None:
    """Let `incarnation` write nothing any more, if it did not end before."""
    is_incarnation = (NODE.c.node_id == incarnation.node_id) & (NODE.c.incarnation == incarnation.id)
    connection.execute(update(NODE).where(is_incarnation).values(incarnation="", state=state))


def evicted(incarnation: Incarnation) -> Evicted:
    """Return the error for what is asked in an incarnation that is over."""
    return Evicted(f"the incarnation {incarnation.id} of node {incarnation.node_id!r} is over")
