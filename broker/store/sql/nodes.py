"""The rows of nodes: states, lanes, the ranges of queue ids; and how a standalone broker registers."""

from __future__ import annotations

import time
from typing import Final

from sqlalchemy import Connection, delete, func, insert, select, update

from broker.errors import StoreError
from broker.ports.store import Registration
from broker.store.sql.fencing import DEAD, RUNNING, STOPPED, disturb_fence
from broker.store.sql.messages import delete_transient_messages, take_back
from broker.store.sql.schema import LAST_PUBLISHED_ID, METADATA, NODE, NODE_BATCH, SEQUENCE, SLOT, STORE_STATUS
from broker.store.sql.topology import TOPOLOGY

QUEUE_IDS_PER_REGISTRATION: Final = 1000

_LANES: Final = 256
_QUEUE_IDS: Final = "queue"


def register(connection: Connection, node_id: str, incarnation: str = "") -> Registration:
    """Register `node_id` as the only broker on this store; its batches are counted from 0 under `incarnation`.

    Any node that is still recorded as running has crashed, and what it left may have been delivered. All messages of a
    cluster that ran here before are this broker's: slots are dissolved, and what was to end with its nodes is deleted.
    """
    disturb_fence(connection)
    clean = not _has_crashed(connection)
    last_message_id = last_message_id_of_all(connection)
    connection.execute(delete(SLOT))
    TOPOLOGY.delete_mortal(connection)
    delete_transient_messages(connection)
    take_back(connection)
    connection.execute(update(NODE).values(state=STOPPED, incarnation=""))
    lane = lane_for(connection, node_id)
    start(connection, node_id, incarnation)
    first, last = reserve_queue_ids(connection, QUEUE_IDS_PER_REGISTRATION)
    return Registration(lane, last_message_id, first, last, clean)


def incarnations(connection: Connection) -> frozenset[str]:
    """Return the incarnations that are recorded, of all nodes."""
    return frozenset(connection.scalars(select(NODE.c.incarnation)))


def start(connection: Connection, node_id: str, incarnation: str) -> None:
    """Record as running a node that has a lane. No batch of an earlier incarnation of that lane counts any more."""
    running = {"state": RUNNING, "incarnation": incarnation, "batch": 0}
    # The row of the node comes first: it waits for a batch that is still under way.
    connection.execute(update(NODE).where(NODE.c.node_id == node_id).values(running))
    lane = connection.scalar(select(NODE.c.lane).where(NODE.c.node_id == node_id))
    connection.execute(delete(NODE_BATCH).where(NODE_BATCH.c.lane == lane))
    connection.execute(insert(NODE_BATCH).values(lane=lane, batch=0))


def resign(connection: Connection, node_id: str) -> None:
    """Record that `node_id` has stopped in order."""
    connection.execute(update(NODE).where(NODE.c.node_id == node_id).values(state=STOPPED))


def reserve_queue_ids(connection: Connection, count: int) -> tuple[int, int]:
    """Return the first and last of `count` queue ids that were never handed out."""
    is_queue = SEQUENCE.c.name == _QUEUE_IDS
    first: int | None = connection.scalar(select(SEQUENCE.c.next_value).where(is_queue).with_for_update())
    if first is None:
        first = 1
        connection.execute(insert(SEQUENCE).values(name=_QUEUE_IDS, next_value=first + count))
    else:
        connection.execute(update(SEQUENCE).where(is_queue).values(next_value=first + count))
    return first, first + count - 1


def probe(connection: Connection, node_id: str) -> None:
    """Write one small row, to prove that the store takes writes."""
    now_ms = time.time_ns() // 1_000_000
    is_ours = STORE_STATUS.c.node_id == node_id
    if not connection.execute(update(STORE_STATUS).where(is_ours).values(time_stamp=now_ms)).rowcount:
        connection.execute(insert(STORE_STATUS).values(node_id=node_id, time_stamp=now_ms))


def last_message_id_of_all(connection: Connection) -> int:
    """Return an upper bound of the message ids of all lanes, and so of a lane that another node had before."""
    columns = (LAST_PUBLISHED_ID.c.message_id, METADATA.c.message_id, SLOT.c.end_message_id)
    return max(connection.scalar(select(func.max(column))) or 0 for column in columns)


def _has_crashed(connection: Connection) -> bool:
    """Return whether a node has ended without recording what it had delivered."""
    is_crashed = select(NODE.c.node_id).where(NODE.c.state.in_((RUNNING, DEAD)))
    is_uncertain = select(SLOT.c.start_message_id).where(SLOT.c.node_id.is_not(None) | SLOT.c.maybe_delivered.is_(True))
    return any(connection.execute(found.limit(1)).first() is not None for found in (is_crashed, is_uncertain))


def lane_for(connection: Connection, node_id: str) -> int:
    """Return the node's lane. A new node gets the lowest free one, or takes over that of a node that is not alive.

    Raises `StoreError` when all lanes belong to nodes that are alive.
    """
    columns = (NODE.c.node_id, NODE.c.lane, NODE.c.state, NODE.c.incarnation)
    rows = {row.node_id: row for row in connection.execute(select(*columns))}
    if node_id in rows:
        return int(rows[node_id].lane)
    free = set(range(_LANES)).difference(row.lane for row in rows.values())
    lane, state = min(free, default=-1), STOPPED
    if not free:
        lane, predecessor, state = min(
            ((row.lane, row.node_id, row.state) for row in rows.values() if not row.incarnation), default=(-1, "", "")
        )
        if lane < 0:
            raise StoreError(f"node {node_id!r} cannot join: each of the {_LANES} lanes is of a node that lives")
        connection.execute(delete(NODE).where(NODE.c.node_id == predecessor))
    connection.execute(insert(NODE).values(node_id=node_id, lane=lane, state=state))
    return lane
