"""Fencing: a node may write while its incarnation lasts, a coordinator until the next one has claimed (ADR 16).

A transaction locks the row that gives it the right to write until it ends. All of them lock in one order: fence, node,
slots, messages. None of them locks a row of MB_NODE_HEARTBEAT or MB_COORDINATOR_HEARTBEAT, which beats write: a node
that hangs inside a transaction keeps no other node from beating (ADR 31).

Where a lock holds on one server only (`has_local_locks`), the rows are written instead: the servers let one of two
transactions fail that write the same row (ADR 87).
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import ColumnElement, Connection, select, update

from broker.errors import Evicted, Fenced, StoreError
from broker.ports.cluster_rows import Incarnation
from broker.ports.peer_calls import Fence
from broker.store.sql.schema import FENCE, NODE, NODE_BATCH

DEAD: Final = "dead"
RUNNING: Final = "running"
STOPPED: Final = "stopped"
RECOVERED: Final = "recovered"
"""States of a lane. Its last incarnation crashed, still lasts, or ended in order; or all of it has become slots."""

_ANCHOR: Final = 1
HAS_LOCAL_LOCKS: Final = "has_local_locks"
"""The key in `Connection.info` for whether another server that takes writes does not know of a connection's locks."""


def has_local_locks(connection: Connection) -> bool:
    """Return whether a lock of this connection does not hold on all servers that take writes."""
    return bool(connection.info.get(HAS_LOCAL_LOCKS))


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
    if not is_passed(connection, fence):
        raise Fenced(f"epoch {fence.epoch} is over: there is a newer coordinator")


def is_passed(connection: Connection, fence: Fence) -> bool:
    """Lock the fence as `pass_fence` does; return False if there is a newer coordinator."""
    is_ours = (FENCE.c.anchor == _ANCHOR) & (FENCE.c.epoch == fence.epoch) & (FENCE.c.term == fence.term)
    if has_local_locks(connection):
        return connection.execute(update(FENCE).where(is_ours).values(sequence=FENCE.c.sequence + 1)).rowcount == 1
    return connection.scalar(select(FENCE.c.epoch).where(is_ours).with_for_update()) is not None


def lock_fence(connection: Connection) -> None:
    """Lock the fence, whatever its epoch is: nothing is done under it before the commit."""
    disturb_fence(connection)
    connection.execute(select(FENCE.c.epoch).where(FENCE.c.anchor == _ANCHOR).with_for_update())


def lane_of(connection: Connection, incarnation: Incarnation, *, exclusive: bool = False) -> int | None:
    """Return the lane of `incarnation`, and let it last until the commit; None when it is over.

    The row in MB_NODE is locked, because whatever ends an incarnation writes it; batches share the lock. With
    `exclusive` no other transaction of this incarnation can be `exclusive`, in particular none of an earlier try that
    is still under way.
    """
    its_lane = select(NODE.c.lane).where(_is_joined(incarnation))
    if has_local_locks(connection):
        connection.execute(update(NODE).where(_is_joined(incarnation)).values(batch=NODE.c.batch + 1))
        return connection.scalar(its_lane)  # its row is locked, so no other one can be `exclusive` either
    found: int | None = connection.scalar(its_lane.with_for_update(read=True))
    if found is not None and exclusive:
        first = (NODE_BATCH.c.lane == found) & (NODE_BATCH.c.batch == 0)
        connection.execute(select(NODE_BATCH.c.batch).where(first).with_for_update())
    return found


def check_incarnation(connection: Connection, incarnation: Incarnation, *, exclusive: bool = False) -> int:
    """Return the lane of `incarnation`, as `lane_of` does. Raises `Evicted` when the incarnation is over."""
    lane = lane_of(connection, incarnation, exclusive=exclusive)
    if lane is None:
        raise evicted(incarnation)
    return lane


def end_incarnation(connection: Connection, incarnation: Incarnation, state: str) -> None:
    """End `incarnation`, unless it has ended: from now on it cannot commit a batch."""
    disturb_fence(connection)
    connection.execute(update(NODE).where(_is_joined(incarnation)).values(incarnation="", state=state))


def disturb_fence(connection: Connection) -> None:
    """Let no slot be assigned meanwhile on another server, where that does not know of locks."""
    if has_local_locks(connection):
        is_fence = FENCE.c.anchor == _ANCHOR
        connection.execute(update(FENCE).where(is_fence).values(sequence=FENCE.c.sequence + 1))


def _is_joined(incarnation: Incarnation) -> ColumnElement[bool]:
    return (NODE.c.node_id == incarnation.node_id) & (NODE.c.incarnation == incarnation.id)


def evicted(incarnation: Incarnation) -> Evicted:
    """Return the error for a write of an incarnation that is over."""
    return Evicted(f"the incarnation {incarnation.id} of node {incarnation.node_id!r} is over")
