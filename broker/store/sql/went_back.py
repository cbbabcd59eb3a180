"""A database that has lost what it had committed: all incarnations of a cluster end, once (ADR 86).

Which of its nodes have noticed, and in which order, does not matter: what one of them remembers of the others may be
lost, too.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, insert, select, update
from sqlalchemy.exc import IntegrityError

from broker.ports.cluster_rows import ChangeType, NodeState
from broker.store.sql.cluster import note_change
from broker.store.sql.fencing import DEAD, lock_fence
from broker.store.sql.schema import NODE, NODE_HEARTBEAT, SEQUENCE, SLOT

_WENT_BACK: Final = "went back"
_N: Final = NODE_HEARTBEAT.c


def times_gone_back(connection: Connection) -> int:
    """Return how often it was decided that the database has lost something."""
    return connection.scalar(select(SEQUENCE.c.next_value).where(SEQUENCE.c.name == _WENT_BACK)) or 0


def end_all(connection: Connection, seen: int, node_id: str) -> bool:
    """End every incarnation; False, with nothing changed, when that was done since `times_gone_back` was `seen`.

    Any message may have been delivered or acknowledged in what is lost.
    """
    lock_fence(connection)  # until the commit no slot is assigned and no other node decides this
    if times_gone_back(connection) != seen:
        return False
    if not _count(connection, seen):
        return False
    up = connection.execute(select(_N.node_id, _N.incarnation).where(_N.state == NodeState.UP.value)).all()
    connection.execute(
        update(NODE_HEARTBEAT)
        .where(_N.state == NodeState.UP.value)
        .values(state=NodeState.DEAD.value, fence=_N.fence + 1)
    )
    connection.execute(update(NODE).where(NODE.c.incarnation != "").values(incarnation="", state=DEAD))
    connection.execute(update(SLOT).values(maybe_delivered=True))
    for name, incarnation in up:
        note_change(connection, ChangeType.MEMBER_REMOVED, name, incarnation, node_id)
    return True


def _count(connection: Connection, seen: int) -> bool:
    is_it = (SEQUENCE.c.name == _WENT_BACK) & (SEQUENCE.c.next_value == seen)
    if seen:
        return connection.execute(update(SEQUENCE).where(is_it).values(next_value=seen + 1)).rowcount == 1
    try:
        with connection.begin_nested():
            connection.execute(insert(SEQUENCE).values(name=_WENT_BACK, next_value=1))
    except IntegrityError:
        return False
    return True
