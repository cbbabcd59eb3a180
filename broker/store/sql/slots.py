"""The slots of all nodes in their table: assigned, cut, finished, purged."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Select, delete, insert, select, tuple_, update

from broker.ports.cluster_rows import Incarnation, SlotRow, row_of
from broker.ports.peer_calls import Fence
from broker.ports.slot import Slot
from broker.store.slot_ranges import check_apart, check_lane, is_within, new_pieces
from broker.store.sql.fencing import check_incarnation, lane_of, pass_fence
from broker.store.sql.messages import count_slot_messages, delete_slot_messages
from broker.store.sql.schema import METADATA, SLOT

_ROWS_PER_STATEMENT: Final = 200
_S: Final = SLOT.c


def slots(connection: Connection) -> list[SlotRow]:
    """Return all slots, by queue, lane and start."""
    return _rows(connection, _select().order_by(_S.queue_id, _S.lane, _S.start_message_id))


def owned(connection: Connection, incarnation: Incarnation) -> list[SlotRow]:
    """Return the slots of `incarnation`, by start."""
    return _rows(connection, _select().where(_is_owned(incarnation)).order_by(_S.start_message_id))


def assign(connection: Connection, rows: Sequence[SlotRow], incarnation: Incarnation, fence: Fence) -> list[SlotRow]:
    """Make `incarnation` the owner of those of `rows` that are free and unchanged; return those it owns now.

    Slots that it owned before are among them, so a repeated call returns the same.
    """
    pass_fence(connection, fence)
    if lane_of(connection, incarnation) is None:
        return []
    free = [row for row in rows if row.owner is None]
    # The starts are named by themselves, too, because MariaDB does not look up pairs by an index.
    places = _S.start_message_id.in_([row.start for row in free]) & tuple_(_S.start_message_id, _S.end_message_id).in_(
        [(row.start, row.end) for row in free]
    )
    owner = {"node_id": incarnation.node_id, "incarnation": incarnation.id}
    taken = connection.execute(update(SLOT).where(places & _S.node_id.is_(None)).values(owner)).rowcount
    if taken == len(rows):
        return [replace(row, owner=incarnation) for row in rows]
    ends = {row.start: row.end for row in rows}
    found = _locked(connection, ends)
    return [row for row in found if row.end == ends[row.start] and row.owner == incarnation]


def cut(
    connection: Connection,
    removed: Sequence[int],
    kept: Sequence[Slot],
    given: Sequence[Slot],
    incarnation: Incarnation,
) -> list[SlotRow]:
    """Replace slots of `incarnation` by the slots `kept`, which it owns, and `given`, which are free.

    Without `removed` the pieces are made of messages of the node's lane that are in no slot. A piece whose place is
    taken or gone is left out: an earlier try has made it, or its queue was deleted. Returns the free ones.
    """
    lane = check_incarnation(connection, incarnation, exclusive=True)
    pieces = (*kept, *given)
    check_apart(pieces)
    taken = [row for row in _locked(connection, removed) if row.owner == incarnation]
    for starts in _parts(row.start for row in taken):
        connection.execute(delete(SLOT).where(_S.start_message_id.in_(starts)))
    own = [slot for slot in pieces if not is_within(slot, taken)]
    if not removed:
        check_lane(own, lane, incarnation)
    new = new_pieces(pieces, taken, lane, list(_neighbours(connection, own)))
    freed = {slot.start for slot in given}
    _insert(connection, [slot for slot in new if slot.start not in freed], incarnation)
    _insert(connection, [slot for slot in new if slot.start in freed], None)
    if len(new) == len(pieces):
        return sorted(map(row_of, given), key=lambda row: row.start)
    ends = {slot.start: slot.end for slot in given}
    return [row for row in _found(connection, ends) if row.owner is None and row.end == ends[row.start]]


def finish(connection: Connection, starts: Sequence[int], incarnation: Incarnation) -> list[int]:
    """Delete those slots of `incarnation` that have no messages left; return their starts.

    The starts of slots that are gone already are among them.
    """
    found = list(_found(connection, starts))
    own = [row for row in found if row.owner == incarnation]
    full = {
        start
        for part in _parts(own)
        for start in connection.exec_driver_sql(_with_messages(connection, part)).scalars()
    }
    empty = [row.start for row in own if row.start not in full]
    if empty:
        check_incarnation(connection, incarnation)
    for part in _parts(empty):
        connection.execute(delete(SLOT).where(_S.start_message_id.in_(part), _is_owned(incarnation)))
    kept = {row.start for row in found}.difference(empty)
    return [start for start in starts if start not in kept]


def purge(connection: Connection, queue_id: int) -> int:
    """Delete every free slot of the queue, with its messages; return how many messages there were."""
    is_free = (_S.queue_id == queue_id) & _S.node_id.is_(None)
    free = _rows(connection, _select().where(is_free).order_by(_S.start_message_id).with_for_update())
    count = sum(delete_slot_messages(connection, row) for row in free)
    for starts in _parts(row.start for row in free):
        connection.execute(delete(SLOT).where(_S.start_message_id.in_(starts)))
    return count


def recount_transient(connection: Connection) -> None:
    """Correct or delete the slots that had transient messages, after all of those have been deleted."""
    for row in _rows(connection, _select().where(_S.has_transient.is_(True))):
        is_row = _S.start_message_id == row.start
        count = count_slot_messages(connection, row)
        if count:
            connection.execute(update(SLOT).where(is_row).values(message_count=count, has_transient=False))
        else:
            connection.execute(delete(SLOT).where(is_row))


def insert_free(connection: Connection, pieces: Sequence[Slot]) -> None:
    """Insert `pieces` as free slots; none of them may overlap a slot."""
    _insert(connection, pieces, None)


def _with_messages(connection: Connection, rows: Sequence[SlotRow]) -> str:
    """Return the statement for the starts of those of `rows` that still have a message, transient or not.

    Each range is written as constants: with a join MariaDB reads the whole queue for each slot, and SQLAlchemy takes
    longer to compile 200 ranges than the database to look them up. Only numbers go into the text.
    """
    quote = connection.dialect.identifier_preparer.quote
    table, queue_id, message_id = quote(METADATA.name), quote("QUEUE_ID"), quote("MESSAGE_ID")
    origin = " FROM DUAL" if connection.dialect.name in ("mysql", "mariadb") else ""
    return " UNION ALL ".join(
        f"SELECT {row.start}{origin} WHERE EXISTS (SELECT 1 FROM {table}"
        f" WHERE {queue_id} IN ({row.queue_id},{-row.queue_id}) AND {message_id} BETWEEN {row.start} AND {row.end}"
        f" AND ({message_id} >> 10) & 255 = {row.lane})"
        for row in rows
    )


def _neighbours(connection: Connection, pieces: Sequence[Slot]) -> Iterator[SlotRow]:
    """Return the slots that may overlap with `pieces`."""
    spans: dict[tuple[int, int], tuple[int, int]] = {}
    for slot in pieces:
        place = slot.queue_id, slot.lane
        start, end = spans.get(place, (slot.start, slot.end))
        spans[place] = min(start, slot.start), max(end, slot.end)
    for (queue_id, lane), (start, end) in spans.items():
        is_near = (_S.start_message_id <= end) & (_S.end_message_id >= start)
        yield from _rows(connection, _select().where(_S.queue_id == queue_id, _S.lane == lane, is_near))


def _insert(connection: Connection, pieces: Iterable[Slot], owner: Incarnation | None) -> None:
    for part in _parts(pieces):
        connection.execute(insert(SLOT), [_values(slot, owner) for slot in part])


def _values(slot: Slot, owner: Incarnation | None) -> dict[str, Any]:
    return {
        "start_message_id": slot.start,
        "end_message_id": slot.end,
        "queue_id": slot.queue_id,
        "lane": slot.lane,
        "message_count": slot.count,
        "maybe_delivered": slot.maybe_delivered,
        "has_transient": slot.transient,
        "node_id": None if owner is None else owner.node_id,
        "incarnation": None if owner is None else owner.id,
    }


def _is_owned(incarnation: Incarnation) -> ColumnElement[bool]:
    return (_S.node_id == incarnation.node_id) & (_S.incarnation == incarnation.id)


def _found(connection: Connection, starts: Iterable[int]) -> Iterator[SlotRow]:
    for part in _parts(sorted(starts)):
        wanted = _select().where(_S.start_message_id.in_(part)).order_by(_S.start_message_id)
        yield from _rows(connection, wanted)


def _locked(connection: Connection, starts: Iterable[int]) -> Iterator[SlotRow]:
    for part in _parts(sorted(starts)):
        wanted = _select().where(_S.start_message_id.in_(part)).order_by(_S.start_message_id)
        yield from _rows(connection, wanted.with_for_update())


def _select() -> Select[Any]:
    flags = (_S.message_count, _S.maybe_delivered, _S.has_transient, _S.node_id, _S.incarnation)
    return select(_S.queue_id, _S.lane, _S.start_message_id, _S.end_message_id, *flags)


def _rows(connection: Connection, statement: Select[Any]) -> list[SlotRow]:
    return [_row(*row) for row in connection.execute(statement)]


def _row(*values: Any) -> SlotRow:
    *place, maybe_delivered, transient, node_id, incarnation = values
    queue_id, lane, start, end, count = map(int, place)
    owner = None if node_id is None else Incarnation(node_id, incarnation)
    return SlotRow(queue_id, lane, start, end, count, bool(maybe_delivered), bool(transient), owner)


def _parts(items: Iterable[Any]) -> Iterator[list[Any]]:
    rest = iter(items)
    while part := list(islice(rest, _ROWS_PER_STATEMENT)):
        yield part
