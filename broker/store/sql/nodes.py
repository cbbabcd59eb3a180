"""The node's own rows, and numbers that nobody else gets: plain functions over a connection, for every dialect.

Knows SQLAlchemy Core; knows no driver. The caller holds the transaction, and the store: nobody else has it open.
"""

from __future__ import annotations

import time
from typing import Final

from sqlalchemy import Connection, delete, func, insert, select, update

from broker.ports import Registration
from broker.store.sql.messages import delete_transient_messages
from broker.store.sql.schema import LAST_PUBLISHED_ID, METADATA, NODE, SEQUENCE, STORE_STATUS

QUEUE_IDS_PER_REGISTRATION: Final = 1000

_LANES: Final = 256
_RUNNING: Final = "running"
_STOPPED: Final = "stopped"
_QUEUE_IDS: Final = "queue"


def register(connection: Connection, node_id: str, incarnation: str = "") -> Registration:
    """Write `node_id` down as running, its batches counted from 0 under `incarnation`; return what it must know.

    Whoever else is written down as running is not any more: it crashed, and what it left may have been delivered.
    """
    clean = connection.execute(select(NODE.c.node_id).where(NODE.c.state == _RUNNING)).first() is None
    last_message_id = _last_message_id(connection)
    delete_transient_messages(connection)
    connection.execute(update(NODE).values(state=_STOPPED))
    lane = _lane(connection, node_id)
    running = {"state": _RUNNING, "incarnation": incarnation, "batch": 0}
    connection.execute(update(NODE).where(NODE.c.node_id == node_id).values(running))
    first, last = reserve_queue_ids(connection, QUEUE_IDS_PER_REGISTRATION)
    return Registration(lane, last_message_id, first, last, clean)


def resign(connection: Connection, node_id: str) -> None:
    """Write `node_id` down as stopped in order."""
    connection.execute(update(NODE).where(NODE.c.node_id == node_id).values(state=_STOPPED))


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
    """Change one small row."""
    now_ms = time.time_ns() // 1_000_000
    is_ours = STORE_STATUS.c.node_id == node_id
    if not connection.execute(update(STORE_STATUS).where(is_ours).values(time_stamp=now_ms)).rowcount:
        connection.execute(insert(STORE_STATUS).values(node_id=node_id, time_stamp=now_ms))


def _last_message_id(connection: Connection) -> int:
    """Return an upper bound of every id of any lane: so it holds also for a lane that had another node before."""
    recorded: int | None = connection.scalar(select(func.max(LAST_PUBLISHED_ID.c.message_id)))
    stored: int | None = connection.scalar(select(func.max(METADATA.c.message_id)))
    return max(recorded or 0, stored or 0)


def _lane(connection: Connection, node_id: str) -> int:
    """Return the node's lane; a new node gets the lowest free one, or that of a stopped node when none is free."""
    lanes = {str(name): int(lane) for name, lane in connection.execute(select(NODE.c.node_id, NODE.c.lane))}
    if node_id in lanes:
        return lanes[node_id]
    free = set(range(_LANES)) - set(lanes.values())
    if not free:
        lane, heir_of = min((lane, name) for name, lane in lanes.items())
        connection.execute(delete(NODE).where(NODE.c.node_id == heir_of))
        free = {lane}
    connection.execute(insert(NODE).values(node_id=node_id, lane=min(free), state=_STOPPED))
    return min(free)
