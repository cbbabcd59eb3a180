"""The statements about messages that are rare; each engine has its own hot statements."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import islice

from sqlalchemy import ColumnElement, Connection, delete, func, literal_column, select, update

from broker.ports.cluster_rows import SlotRow
from broker.ports.slot import Slot
from broker.store.rows import add_to_backlog
from broker.store.sql.schema import CONTENT, METADATA

_IDS_PER_STATEMENT = 500
_DISCARDED = "discarded bodies"


def backlog(connection: Connection) -> list[Slot]:
    """Return one slot for each queue and lane with stored messages; it covers all of them, and its count is exact."""
    m = METADATA.c
    lane = lane_of_message().label("lane")
    rows = connection.execute(
        select(m.queue_id, lane, func.min(m.message_id), func.max(m.message_id), func.count()).group_by(
            m.queue_id, lane
        )
    )
    slots: dict[tuple[int, int], Slot] = {}
    for queue_id, its_lane, start, end, count in rows:
        add_to_backlog(slots, queue_id, int(its_lane), start, end, count)
    return list(slots.values())


def mark_redelivered(connection: Connection, message_ids: Sequence[int]) -> None:
    """Set the redelivered flag of these messages, as far as they are stored."""
    ids = iter(sorted(message_ids))
    while part := list(islice(ids, _IDS_PER_STATEMENT)):
        connection.execute(update(METADATA).where(METADATA.c.message_id.in_(part)).values(redelivered=1))


def delete_queue_messages(connection: Connection, queue_id: int) -> None:
    """Delete every message of a queue, transient ones too, and the bodies that no other message uses."""
    _delete_messages(connection, METADATA.c.queue_id.in_((queue_id, -queue_id)))


def delete_transient_messages(connection: Connection) -> None:
    """Delete the transient messages: the rows under negative queue ids."""
    _delete_messages(connection, METADATA.c.queue_id < 0)


def delete_slot_messages(connection: Connection, row: SlotRow) -> int:
    """Delete every message of a slot, and the bodies that no other uses; return how many messages there were."""
    return _delete_messages(connection, in_slot(row, (row.queue_id, -row.queue_id)))


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
    shifted = METADATA.c.message_id.op(">>")(literal_column("10"))
    return shifted.op("&")(literal_column("255"))


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
