"""Lease, fence, nodes and their timeline in their tables.

Each change is a compare-and-set: the answer is whether its UPDATE has found a row. So the connection must count the
rows found, not the rows changed (ADR 16).
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Select,
    Table,
    delete,
    insert,
    literal_column,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from broker.errors import StoreError
from broker.ports.cluster_rows import (
    Beat,
    ChangeType,
    Claim,
    Incarnation,
    Lease,
    Leave,
    MembershipChange,
    NodeRow,
    NodeState,
    Register,
    Renew,
    Resign,
)
from broker.ports.peer_calls import Fence
from broker.store.sql.fencing import DEAD, STOPPED, end_incarnation, is_passed
from broker.store.sql.schema import FENCE, LEASE, MEMBERSHIP, NODE_HEARTBEAT

_NOW_MS: Final = {
    "sqlite": "CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER)",
    "mysql": "CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED)",
    "postgresql": "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)",
}
_ANCHOR: Final = 1
_TIMELINE: Final = 1000
"""The number of entries to which a claim shortens the timeline."""
_N: Final = NODE_HEARTBEAT.c

# The lease


def read_lease(connection: Connection) -> Lease:
    """Return the lease. Raises `StoreError` when its row is gone."""
    columns = (LEASE.c.epoch, LEASE.c.beat, LEASE.c.term, LEASE.c.node_id)
    row = connection.execute(select(*columns).where(LEASE.c.anchor == _ANCHOR)).first()
    if row is None:
        raise StoreError(
            f"the table {LEASE.name} has lost its row: restore it and {FENCE.name} from one backup, "
            "or begin with an empty database"
        )
    return Lease(*row)


def claim(connection: Connection, claim: Claim, node_id: str, thrift_host: str, thrift_port: int) -> bool:
    """Move lease and fence to the next epoch, for this node; False when the lease is not as it was seen.

    Raises `StoreError` when lease and fence are of different epochs: then an epoch could be given out twice.
    """
    seen = claim.seen
    is_as_seen = (LEASE.c.epoch == seen.epoch) & (LEASE.c.beat == seen.beat) & (LEASE.c.term == seen.term)
    taken = {
        "epoch": seen.epoch + 1,
        "beat": 0,
        "term": claim.term,
        "node_id": node_id,
        "last_heartbeat": now_ms(connection),
        "thrift_host": thrift_host,
        "thrift_port": thrift_port,
    }
    if not _update(connection, LEASE, (LEASE.c.anchor == _ANCHOR) & is_as_seen, taken):
        return False
    raised = {"epoch": seen.epoch + 1, "term": claim.term, "sequence": FENCE.c.sequence + 1}
    if not _update(connection, FENCE, (FENCE.c.anchor == _ANCHOR) & (FENCE.c.epoch == seen.epoch), raised):
        raise StoreError(
            f"{FENCE.name} is not at epoch {seen.epoch} as {LEASE.name} is: restore both tables from one backup"
        )
    note_change(connection, ChangeType.COORDINATOR_CHANGED, node_id, claim.term, node_id)
    _forget_old_changes(connection)
    return True


def renew(connection: Connection, renew: Renew, node_id: str) -> bool:
    """Move the lease's beat on; False when this node does not hold it any more."""
    later = {"beat": LEASE.c.beat + 1, "last_heartbeat": now_ms(connection)}
    return _update(connection, LEASE, _is_held(renew.epoch, renew.term, node_id), later)


def resign(connection: Connection, resign: Resign, node_id: str) -> None:
    """Free the lease, if this node still holds it."""
    nobody = {"beat": LEASE.c.beat + 1, "node_id": None, "thrift_host": None, "thrift_port": None}
    _update(connection, LEASE, _is_held(resign.epoch, resign.term, node_id), nobody)


def coordinator_address(connection: Connection) -> tuple[str, int, Fence] | None:
    """Return host, port and fence of the holder of the lease; None when nobody holds it."""
    columns = (LEASE.c.thrift_host, LEASE.c.thrift_port, LEASE.c.epoch, LEASE.c.term)
    is_held = (LEASE.c.anchor == _ANCHOR) & LEASE.c.node_id.is_not(None)
    row = connection.execute(select(*columns).where(is_held)).first()
    return None if row is None else (row.thrift_host, row.thrift_port, Fence(row.epoch, row.term))


def _is_held(epoch: int, term: str, node_id: str) -> ColumnElement[bool]:
    is_same_term = (LEASE.c.epoch == epoch) & (LEASE.c.term == term)
    return (LEASE.c.anchor == _ANCHOR) & is_same_term & (LEASE.c.node_id == node_id)


# The nodes


def own_row(connection: Connection, node_id: str) -> NodeRow | None:
    """Return the row of `node_id`; None when it has none."""
    row = connection.execute(_rows().where(_N.node_id == node_id)).first()
    return None if row is None else _node_row(*row)


def nodes(connection: Connection) -> list[NodeRow]:
    """Return the rows of all nodes, by id."""
    return [_node_row(*row) for row in connection.execute(_rows().order_by(_N.node_id))]


def register_node(
    connection: Connection, register: Register, node_id: str, host: str, port: int, terms: str = ""
) -> bool:
    """Begin a new incarnation of a node; False when its row is not as it was seen.

    The incarnation before it is ended, unless it has ended already.
    """
    seen = register.seen
    born = {
        "incarnation": register.incarnation,
        "fence": 1 if seen is None else seen.fence + 1,
        "beat": 0,
        "state": NodeState.UP.value,
        "last_heartbeat": now_ms(connection),
        "cluster_agent_host": host,
        "cluster_agent_port": port,
        "terms": terms,
    }
    if seen is None:
        if not _insert_node(connection, {"node_id": node_id} | born):
            return False
    elif not _update(connection, NODE_HEARTBEAT, _is_incarnation(node_id, seen) & (_N.fence == seen.fence), born):
        return False
    if seen is not None:
        end_incarnation(connection, Incarnation(node_id, seen.incarnation), DEAD)
    if seen is not None and seen.state is NodeState.UP:
        note_change(connection, ChangeType.MEMBER_REMOVED, node_id, seen.incarnation, node_id)
    note_change(connection, ChangeType.MEMBER_ADDED, node_id, register.incarnation, node_id)
    return True


def beat(connection: Connection, beat: Beat, node_id: str) -> bool:
    """Move the node's beat on; False when this incarnation is over."""
    later = {"beat": _N.beat + 1, "last_heartbeat": now_ms(connection)}
    return _update(connection, NODE_HEARTBEAT, _is_up(node_id, beat.incarnation), later)


def leave(connection: Connection, leave: Leave, node_id: str) -> None:
    """End this incarnation of the node, unless it is over."""
    stopped = {"state": NodeState.STOPPED.value, "fence": _N.fence + 1}
    if _update(connection, NODE_HEARTBEAT, _is_up(node_id, leave.incarnation), stopped):
        end_incarnation(connection, Incarnation(node_id, leave.incarnation), STOPPED)
        note_change(connection, ChangeType.MEMBER_REMOVED, node_id, leave.incarnation, node_id)


def evict(connection: Connection, row: NodeRow, epoch: int, term: str) -> bool:
    """End the incarnation in `row`, if its beat is still the same; False when the fence is not of this term.

    With False nothing is changed.
    """
    if not is_passed(connection, Fence(epoch, term)):
        return False
    is_silent = _is_up(row.node_id, row.incarnation) & (_N.beat == row.beat)
    dead = {"state": NodeState.DEAD.value, "fence": _N.fence + 1}
    if _update(connection, NODE_HEARTBEAT, is_silent, dead):
        end_incarnation(connection, Incarnation(row.node_id, row.incarnation), DEAD)
        is_of_term = (LEASE.c.anchor == _ANCHOR) & (LEASE.c.term == term)
        coordinator = select(LEASE.c.node_id).where(is_of_term).scalar_subquery()
        note_change(connection, ChangeType.MEMBER_REMOVED, row.node_id, row.incarnation, coordinator)
    return True


def young_member(connection: Connection, age_ms: int) -> str | None:
    """Return a node that is UP and whose last beat is younger than `age_ms`, by the database's clock."""
    is_young = _N.last_heartbeat > now_ms(connection) - age_ms
    is_up = _N.state == NodeState.UP.value
    name: str | None = connection.scalar(select(_N.node_id).where(is_up, is_young).order_by(_N.node_id).limit(1))
    return name


def _rows() -> Select[Any]:
    address = (_N.cluster_agent_host, _N.cluster_agent_port)
    return select(_N.node_id, _N.incarnation, _N.fence, _N.beat, _N.state, *address, _N.terms)


def _node_row(
    node_id: str, incarnation: str, fence: int, beat: int, state: str, host: str, port: int, terms: str
) -> NodeRow:
    return NodeRow(node_id, incarnation, fence, beat, NodeState(state), host, port, terms)


def _insert_node(connection: Connection, values: dict[str, Any]) -> bool:
    try:
        # After an error PostgreSQL goes on only from a savepoint.
        with connection.begin_nested():
            connection.execute(insert(NODE_HEARTBEAT).values(values))
    except IntegrityError:
        return False
    return True


def _is_incarnation(node_id: str, seen: NodeRow) -> ColumnElement[bool]:
    is_same = (_N.incarnation == seen.incarnation) & (_N.beat == seen.beat) & (_N.state == seen.state.value)
    return (_N.node_id == node_id) & is_same


def _is_up(node_id: str, incarnation: str) -> ColumnElement[bool]:
    return (_N.node_id == node_id) & (_N.incarnation == incarnation) & (_N.state == NodeState.UP.value)


# The timeline


def timeline(connection: Connection, limit: int) -> list[MembershipChange]:
    """Return the last `limit` changes, newest first."""
    m = MEMBERSHIP.c
    columns = m.change_type, m.changed_member_id, m.incarnation, m.node_id, m.time_stamp
    rows = connection.execute(select(*columns).order_by(m.event_id.desc()).limit(limit))
    return [
        MembershipChange(ChangeType(number), member, incarnation, node, happened_ms)
        for number, member, incarnation, node, happened_ms in rows
    ]


def note_contact(connection: Connection, member: Incarnation, is_reached: bool, node_id: str) -> None:
    """Note that `node_id` reaches a member, or does not."""
    kind = ChangeType.MEMBER_REACHABLE if is_reached else ChangeType.MEMBER_UNREACHABLE
    note_change(connection, kind, member.node_id, member.id, node_id)


def note_change(connection: Connection, change: ChangeType, member_id: str, incarnation: str, node_id: Any) -> None:
    """Add an entry to the timeline; `node_id` is who made the change."""
    entry = {
        "change_type": change.value,
        "changed_member_id": member_id,
        "incarnation": incarnation,
        "node_id": node_id,
        "time_stamp": now_ms(connection),
    }
    connection.execute(insert(MEMBERSHIP).values(entry))


def _forget_old_changes(connection: Connection) -> None:
    m = MEMBERSHIP.c
    oldest = connection.scalar(select(m.event_id).order_by(m.event_id.desc()).offset(_TIMELINE - 1).limit(1))
    if oldest is not None:
        connection.execute(delete(MEMBERSHIP).where(m.event_id < oldest))


def _update(connection: Connection, target: Table, where: ColumnElement[bool], values: dict[str, Any]) -> bool:
    """Update, and return whether a row was found."""
    return connection.execute(update(target).where(where).values(values)).rowcount == 1


def now_ms(connection: Connection) -> ColumnElement[int]:
    return literal_column(_NOW_MS[connection.dialect.name], BigInteger)
