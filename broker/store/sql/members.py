"""How an incarnation of a node begins to write to a store that the nodes of a cluster share."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

from sqlalchemy import Connection, select, update

from broker.errors import StoreError
from broker.ports.cluster_rows import Incarnation, NodeState
from broker.ports.store import Registration
from broker.store.sql.events import lock_head
from broker.store.sql.fencing import DEAD, RUNNING, STOPPED, disturb_fence, evicted, has_local_locks
from broker.store.sql.messages import delete_transient_messages, take_back
from broker.store.sql.nodes import (
    QUEUE_IDS_PER_REGISTRATION,
    lane_for,
    last_message_id_of_all,
    reserve_queue_ids,
    start,
)
from broker.store.sql.schema import NODE, NODE_HEARTBEAT
from broker.store.sql.slots import recount_transient
from broker.store.sql.topology import TOPOLOGY

_INCARNATION: Final = re.compile(r"[0-9A-Za-z_-]{1,32}")
"""Ids that can stand in the text of a batch's statement and fit into the column."""


def check_incarnation(incarnation: Incarnation) -> None:
    """Raise `StoreError` for an incarnation whose id cannot stand in a batch's statement."""
    if _INCARNATION.fullmatch(incarnation.id) is None:
        raise StoreError(f"the incarnation {incarnation.id!r} is not 1 to 32 letters, digits, '-' or '_'")


def join(connection: Connection, incarnation: Incarnation) -> Registration:
    """Let `incarnation` commit batches from now on; the first node of a cluster deletes what must not survive.

    The head of the events is locked, so joins follow each other and no topology is recorded meanwhile. A repeated join
    of the same incarnation reports that it is not `clean`.
    """
    lock_head(connection)
    up = _incarnations_that_are_up(connection)
    if incarnation not in up:
        raise evicted(incarnation)
    _end_incarnations_outside(connection, up)
    lane = lane_for(connection, incarnation.node_id)
    rows = connection.execute(select(NODE.c.node_id, NODE.c.state, NODE.c.incarnation)).all()
    clean = any(row.node_id == incarnation.node_id and row.state == STOPPED for row in rows)
    has_others = any(
        Incarnation(row.node_id, row.incarnation) in up for row in rows if row.node_id != incarnation.node_id
    )
    start(connection, incarnation.node_id, incarnation.id)
    take_back(connection, lane)
    last_message_id = last_message_id_of_all(connection)
    if not has_others:
        TOPOLOGY.delete_mortal(connection)
        delete_transient_messages(connection)
        recount_transient(connection)
    first, last = reserve_queue_ids(connection, QUEUE_IDS_PER_REGISTRATION)
    # The row is locked now: an eviction waits for this commit, and then ends an incarnation that has joined.
    if incarnation not in _incarnations_that_are_up(connection, locked=incarnation.node_id):
        raise evicted(incarnation)
    return Registration(lane, last_message_id, first, last, clean)


def _incarnations_that_are_up(connection: Connection, *, locked: str | None = None) -> set[Incarnation]:
    """Return the incarnations that last; with `locked` only that of this node, which cannot end before the commit."""
    n = NODE_HEARTBEAT.c
    wanted = select(n.node_id, n.incarnation).where(n.state == NodeState.UP.value)
    if locked is not None:
        is_it = (n.node_id == locked) & (n.state == NodeState.UP.value)
        if has_local_locks(connection):  # an eviction that writes the row at the same time fails, or this does
            connection.execute(update(NODE_HEARTBEAT).where(is_it).values(beat=n.beat + 1))
        else:
            wanted = wanted.with_for_update(read=True)
        wanted = wanted.where(n.node_id == locked)
    return {Incarnation(node_id, incarnation) for node_id, incarnation in connection.execute(wanted)}


def _end_incarnations_outside(connection: Connection, up: Collection[Incarnation]) -> None:
    """End the incarnations of standalone brokers, which cannot run beside a cluster.

    If one of them crashed, it may have delivered messages of every lane.
    """
    rows = connection.execute(select(NODE.c.node_id, NODE.c.state, NODE.c.incarnation)).all()
    ended = [row for row in rows if Incarnation(row.node_id, row.incarnation) not in up]
    has_crashed = any(row.state == RUNNING for row in ended)
    disturb_fence(connection)
    for node_id, state, incarnation in ended:
        new_state = DEAD if has_crashed and state in (RUNNING, STOPPED) else state
        if incarnation or new_state != state:
            is_same = (NODE.c.node_id == node_id) & (NODE.c.state == state) & (NODE.c.incarnation == incarnation)
            connection.execute(update(NODE).where(is_same).values(state=new_state, incarnation=""))
