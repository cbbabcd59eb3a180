"""The statements about messages that are rare; each engine has its own hot statements."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Table,
    case,
    delete,
    func,
    insert,
    literal_column,
    select,
    true,
    update,
)

from broker.ports.cluster_rows import SlotRow
from broker.ports.slot import Slot
from broker.store.rows import add_to_backlog
from broker.store.sql.schema import CONTENT, DAMAGED_MESSAGE, EXPIRATION, MESSAGE_GROUP, METADATA

_IDS_PER_STATEMENT = 500
_DISCARDED = "discarded bodies"

SET_ASIDE: Final = 1 << 62
"""How much further from zero the QUEUE_ID of a damaged message is: its row is in no slot, and counts nowhere."""


def backlog(connection: Connection) -> list[Slot]:
    """Return one slot for each queue and lane with stored messages; it covers all of them, and its count is exact."""
    m = METADATA.c
    lane = lane_of_message().label("lane")
    rows = connection.execute(
        select(m.queue_id, lane, func.min(m.message_id), func.max(m.message_id), func.count())
        .where(is_in_queue())
        .group_by(m.queue_id, lane)
    )
    slots: dict[tuple[int, int], Slot] = {}
    for queue_id, its_lane, start, end, count in rows:
        add_to_backlog(slots, queue_id, int(its_lane), start, end, count)
    return list(slots.values())


def mark_redelivered(connection: Connection, ids_by_deliveries: Mapping[int, Sequence[int]]) -> None:
    """Set how often these messages were delivered, as far as they are stored."""
    for deliveries, message_ids in ids_by_deliveries.items():
        ids = iter(message_ids)
        while part := list(islice(ids, _IDS_PER_STATEMENT)):
            connection.execute(update(METADATA).where(METADATA.c.message_id.in_(part)).values(redelivered=deliveries))


def count_queue_messages(connection: Connection, queue_id: int) -> int:
    """Return how many messages of a queue are stored, transient ones too."""
    is_its = METADATA.c.queue_id.in_((queue_id, -queue_id))
    return connection.scalar(select(func.count()).select_from(METADATA).where(is_its)) or 0


def delete_queue_messages(connection: Connection, queue_ids: Sequence[int]) -> None:
    """Delete every message of these queues, transient ones too, and the bodies that no other message uses."""
    stored_under = [stored for each in queue_ids for stored in (each, -each, each + SET_ASIDE)]
    _delete_messages(connection, METADATA.c.queue_id.in_(stored_under))
    connection.execute(delete(EXPIRATION).where(EXPIRATION.c.queue_id.in_(stored_under)))
    connection.execute(delete(DAMAGED_MESSAGE).where(DAMAGED_MESSAGE.c.queue_id.in_(queue_ids)))
    connection.execute(delete(MESSAGE_GROUP).where(MESSAGE_GROUP.c.queue_id.in_(queue_ids)))


def delete_transient_messages(connection: Connection) -> None:
    """Delete the transient messages: the rows under negative queue ids."""
    _delete_messages(connection, METADATA.c.queue_id < 0)
    connection.execute(delete(EXPIRATION).where(EXPIRATION.c.queue_id < 0))


def set_aside(connection: Connection, damaged: Mapping[int, str]) -> None:
    """Take damaged messages out of their slots, and note what is wrong with each; the reasons are given by id.

    What is not stored any more, or set aside already, is left out.
    """
    m, now_ms = METADATA.c, time.time_ns() // 1_000_000
    ids = iter(sorted(damaged))
    while part := list(islice(ids, _IDS_PER_STATEMENT)):
        is_one = m.message_id.in_(part) & is_in_queue()
        found = connection.execute(select(m.message_id, m.queue_id).where(is_one).with_for_update()).all()
        if not found:
            continue
        there = [message_id for message_id, _ in found]
        for rows in (METADATA, EXPIRATION):
            further = case((rows.c.queue_id > 0, rows.c.queue_id + SET_ASIDE), else_=rows.c.queue_id - SET_ASIDE)
            connection.execute(update(rows).where(rows.c.message_id.in_(there)).values(queue_id=further))
        connection.execute(delete(DAMAGED_MESSAGE).where(DAMAGED_MESSAGE.c.message_id.in_(there)))
        listed = [
            {"message_id": name, "queue_id": abs(queue_id), "reason": damaged[name][:200], "time_stamp": now_ms}
            for name, queue_id in found
        ]
        connection.execute(insert(DAMAGED_MESSAGE), listed)


def take_back(connection: Connection, lane: int | None = None) -> None:
    """Put what was set aside back into its queues: all of it, or that of a lane. What is still damaged is met again."""
    for rows in (METADATA, EXPIRATION):
        is_aside = rows.c.queue_id.between(SET_ASIDE, (1 << 63) - 1) & _is_of(rows, lane)
        connection.execute(update(rows).where(is_aside).values(queue_id=rows.c.queue_id - SET_ASIDE))
    connection.execute(delete(DAMAGED_MESSAGE).where(_is_of(DAMAGED_MESSAGE, lane)))


def is_in_queue() -> ColumnElement[bool]:
    """Return the condition for messages that are not set aside."""
    return METADATA.c.queue_id.between(1 - SET_ASIDE, SET_ASIDE - 1)


def delete_slot_messages(connection: Connection, row: SlotRow) -> int:
    """Delete every message of a slot, and the bodies that no other uses; return how many messages there were."""
    is_in_slot = in_slot(row, (row.queue_id, -row.queue_id))
    expiring: Sequence[int] = ()
    if has_expirations(connection, row.queue_id):
        expiring = connection.scalars(select(METADATA.c.message_id).where(is_in_slot)).all()
    count = _delete_messages(connection, is_in_slot)
    ids = iter(sorted(expiring))
    while part := list(islice(ids, _IDS_PER_STATEMENT)):
        connection.execute(delete(EXPIRATION).where(EXPIRATION.c.message_id.in_(part)))
    return count


def has_expirations(connection: Connection, queue_id: int) -> bool:
    """Return whether a queue has stored messages that expire by their own property, transient ones too."""
    is_its = EXPIRATION.c.queue_id.in_((queue_id, -queue_id))
    return connection.execute(select(EXPIRATION.c.message_id).where(is_its).limit(1)).first() is not None


def earliest_due(connection: Connection) -> dict[int, int]:
    """Return the earliest time of expiration of each queue that has any."""
    e = EXPIRATION.c
    is_in_queue = e.queue_id.between(1 - SET_ASIDE, SET_ASIDE - 1)
    earliest: dict[int, int] = {}
    rows = connection.execute(select(e.queue_id, func.min(e.expiration_time)).where(is_in_queue).group_by(e.queue_id))
    for queue_id, due in rows:
        earliest[abs(queue_id)] = min(due, earliest.get(abs(queue_id), due))
    return earliest


def count_slot_messages(connection: Connection, row: SlotRow) -> int:
    """Return how many messages of a slot are stored under the queue's own id: those that are not transient."""
    return connection.scalar(select(func.count()).where(in_slot(row, (row.queue_id,)))) or 0


def in_slot(row: SlotRow, queue_ids: Sequence[int]) -> ColumnElement[bool]:
    """Return the condition for the messages of a slot that are stored under one of `queue_ids`."""
    is_between = METADATA.c.message_id.between(row.start, row.end)
    return METADATA.c.queue_id.in_(queue_ids) & is_between & in_lane(row.lane)


def in_lane(lane: int) -> ColumnElement[bool]:
    """Return the condition for the messages of a lane."""
    return lane_of_message() == lane


def lane_of_message() -> ColumnElement[int]:
    """Return the lane inside a message's id."""
    return _lane_in(METADATA)


def _lane_in(rows: Table) -> ColumnElement[int]:
    shifted = rows.c.message_id.op(">>")(literal_column("10"))
    return shifted.op("&")(literal_column("255"))


def _is_of(rows: Table, lane: int | None) -> ColumnElement[bool]:
    """Return the condition for rows about messages of a lane, or of all lanes."""
    return true() if lane is None else _lane_in(rows) == lane


def _delete_messages(connection: Connection, condition: ColumnElement[bool]) -> int:
    named = select(METADATA.c.content_id).where(condition, METADATA.c.content_id.is_not(None)).distinct()
    content_ids = iter(connection.scalars(named).all())
    count = connection.execute(delete(METADATA).where(condition)).rowcount
    # Written as NOT EXISTS it is a join for PostgreSQL, which may then read all of the index.
    name = select(METADATA.c.content_id).where(METADATA.c.content_id == CONTENT.c.message_id).limit(1)
    while part := list(islice(content_ids, _IDS_PER_STATEMENT)):
        is_orphan = CONTENT.c.message_id.in_(part) & name.scalar_subquery().is_(None)
        if connection.dialect.name == "sqlite":
            _note_files(connection, is_orphan)
        connection.execute(delete(CONTENT).where(is_orphan))
    return count


def discarded_bodies(connection: Connection) -> Counter[int]:
    """Return by file how many bodies the transaction has deleted rows of, and count anew."""
    counted: Counter[int] = connection.info.pop(_DISCARDED, Counter())
    return counted


def _note_files(connection: Connection, condition: ColumnElement[bool]) -> None:
    """Count the bodies in files whose rows are about to be deleted; the negative of its file is their offset."""
    offsets = connection.scalars(select(CONTENT.c.content_offset).where(condition, CONTENT.c.content_offset < 0))
    connection.info.setdefault(_DISCARDED, Counter()).update(-offset for offset in offsets)
