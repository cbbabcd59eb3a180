"""Changes of topology as numbered events in their table (ADR 20).

A change writes the row of the head last. Since every change must write it, events become visible in the order of their
numbers and without a gap.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection, delete, func, insert, select, true, update
from sqlalchemy.exc import IntegrityError

from broker.errors import StoreError
from broker.ports.cluster_rows import Cursor, EventPage, EventRow, Incarnation
from broker.ports.records import Change, Topology
from broker.store.sql.cluster import now_ms
from broker.store.sql.fencing import check_incarnation, has_local_locks
from broker.store.sql.schema import EVENT, EVENT_CURSOR, EVENT_HEAD, NODE
from broker.store.sql.topology import TOPOLOGY

_ANCHOR: Final = 1
_E: Final = EVENT.c
_H: Final = EVENT_HEAD.c


def record(
    connection: Connection,
    changes: Sequence[Change],
    payload: bytes,
    *,
    expected: int,
    token: str,
    incarnation: Incarnation,
) -> bool:
    """Record `changes` as the event number `expected` + 1; False, with nothing changed, when that event is another's.

    An event with this `token` that was recorded before counts as this one.
    """
    if _last_event(connection) != expected:
        check_incarnation(connection, incarnation)
        return _is_recorded(connection, expected + 1, token)
    # Not as a context manager: a deadlock destroys the savepoint, and the whole transaction is done again then.
    savepoint = connection.begin_nested()
    try:
        TOPOLOGY.record(connection, changes)
        # Checked late: the node's batches wait from here on, and deleting a large queue takes long.
        check_incarnation(connection, incarnation)
        _insert_event(connection, expected + 1, payload, token, incarnation)
        is_first = _move_head(connection, expected, token)
    except IntegrityError:
        # Another node has committed the same row after this transaction began; its event is there now.
        savepoint.rollback()
        if _last_event(connection) == expected:
            raise
        is_first = False
    else:
        if is_first:
            savepoint.commit()
        else:
            savepoint.rollback()
    return is_first or _is_recorded(connection, expected + 1, token)


def events(connection: Connection, after: int, limit: int) -> EventPage:
    """Return up to `limit` events after `after`, with the head and the oldest event of the same moment."""
    page = (
        select(_E.event_id, _E.node_id, _E.incarnation, _E.payload)
        .where(_E.event_id > after)
        .order_by(_E.event_id)
        .limit(limit)
        .subquery()
    )
    oldest = select(func.min(_E.event_id)).scalar_subquery()
    rows = connection.execute(
        select(_H.event_id, oldest, page)
        .select_from(EVENT_HEAD.outerjoin(page, true()))
        .where(_H.anchor == _ANCHOR)
        .order_by(page.c.event_id)
    ).all()
    if not rows:
        raise _headless()
    last, first = rows[0][:2]
    found = [
        EventRow(event_id, Incarnation(node_id, incarnation), payload)
        for _, _, event_id, node_id, incarnation, payload in rows
        if event_id is not None
    ]
    if first is None:
        first = last + 1 if last else 0
    return EventPage(last, first, found)


def load(connection: Connection) -> tuple[Topology, int]:
    """Return the topology and the number of its last event, in a transaction that sees one moment, so that both fit.

    Nothing is locked: reading a large topology takes long, and others change it meanwhile.
    """
    last = _last_event(connection)
    return TOPOLOGY.load(connection), last


def note_cursor(connection: Connection, incarnation: Incarnation, event_id: int, topology_hash: str) -> None:
    """Record the last event that `incarnation` has applied, unless the incarnation is over."""
    is_incarnation = (NODE.c.node_id == incarnation.node_id) & (NODE.c.incarnation == incarnation.id)
    if connection.scalar(select(NODE.c.lane).where(is_incarnation)) is None:
        return
    cursor = {"incarnation": incarnation.id, "event_id": event_id, "topology_hash": topology_hash}
    is_own = EVENT_CURSOR.c.node_id == incarnation.node_id
    if not connection.execute(update(EVENT_CURSOR).where(is_own).values(cursor)).rowcount:
        connection.execute(insert(EVENT_CURSOR).values(node_id=incarnation.node_id, **cursor))


def cursors(connection: Connection) -> list[Cursor]:
    """Return the cursors of the incarnations that last, by node."""
    alive = {
        (name, incarnation) for name, incarnation in connection.execute(select(NODE.c.node_id, NODE.c.incarnation))
    }
    c = EVENT_CURSOR.c
    rows = connection.execute(select(c.node_id, c.incarnation, c.event_id, c.topology_hash).order_by(c.node_id))
    return [
        Cursor(Incarnation(node_id, incarnation), event_id, topology_hash)
        for node_id, incarnation, event_id, topology_hash in rows
        if (node_id, incarnation) in alive
    ]


def prune(connection: Connection, keep: int) -> int:
    """Delete all but the last `keep` events; return how many were deleted."""
    return connection.execute(delete(EVENT).where(_E.event_id <= _last_event(connection) - keep)).rowcount


def lock_head(connection: Connection) -> None:
    """Lock the head: no event can be recorded until this transaction ends."""
    if has_local_locks(connection):
        mark = {"token": uuid.uuid4().hex}
        if connection.execute(update(EVENT_HEAD).where(_H.anchor == _ANCHOR).values(mark)).rowcount != 1:
            raise _headless()
        return
    if connection.scalar(select(_H.event_id).where(_H.anchor == _ANCHOR).with_for_update()) is None:
        raise _headless()


def _insert_event(connection: Connection, event_id: int, payload: bytes, token: str, incarnation: Incarnation) -> None:
    event = {
        "event_id": event_id,
        "node_id": incarnation.node_id,
        "incarnation": incarnation.id,
        "token": token,
        "payload": payload,
        "time_stamp": now_ms(connection),
    }
    connection.execute(insert(EVENT).values(event))


def _move_head(connection: Connection, expected: int, token: str) -> bool:
    is_expected = (_H.anchor == _ANCHOR) & (_H.event_id == expected)
    moved = {"event_id": expected + 1, "token": token}
    return connection.execute(update(EVENT_HEAD).where(is_expected).values(moved)).rowcount == 1


def _last_event(connection: Connection) -> int:
    last: int | None = connection.scalar(select(_H.event_id).where(_H.anchor == _ANCHOR))
    if last is None:
        raise _headless()
    return last


def _is_recorded(connection: Connection, event_id: int, token: str) -> bool:
    """Return whether the event `event_id` has this `token`."""
    return connection.scalar(select(_E.token).where(_E.event_id == event_id)) == token


def _headless() -> StoreError:
    return StoreError(f"the table {EVENT_HEAD.name} has lost its row: restore it and {EVENT.name} from one backup")
