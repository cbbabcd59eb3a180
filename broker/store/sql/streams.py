"""Streams in the tables: bounds, places in time, retention and the places of consumers, the same in every SQL engine.

Plain functions over a connection; the caller holds the transaction. How a batch appends is in `store/sqlite/streams`
and `store/server/streams`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, Final

from sqlalchemy import Connection, and_, delete, func, insert, or_, select, update

from broker.ports.streams import ReaderPlace, StreamBounds, StreamPage, TrimRule
from broker.store.sql.schema import QUEUE, STREAM_PLACE, STREAM_SEGMENT
from broker.store.stream_rows import excess, page_of

_S: Final = STREAM_SEGMENT.c
_P: Final = STREAM_PLACE.c
_PLACE: Final = (_S.first_offset, _S.message_count, _S.last_time, _S.position, _S.octets)
_ROW: Final = (_S.first_offset, _S.message_count, _S.octets, _S.checksum, _S.segment_content)
_ROWS_AT_ONCE: Final = 512
"""Rows up to which a page is read: those of small segments are many."""


def stream_bounds(connection: Connection, queue_ids: Sequence[int]) -> dict[int, StreamBounds]:
    """Return what there is of these streams, by two statements; those that are empty are left out."""
    if not queue_ids:
        return {}
    # For min() and max() MariaDB would read whole streams here.
    least, most = (
        select(_S.first_offset).where(_S.queue_id == QUEUE.c.queue_id).order_by(order).limit(1).scalar_subquery()
        for order in (_S.first_offset, _S.first_offset.desc())
    )
    found = connection.execute(select(QUEUE.c.queue_id, least, most).where(QUEUE.c.queue_id.in_(queue_ids)))
    ends = {queue_id: {first, last} for queue_id, first, last in found if first is not None}
    if not ends:
        return {}
    # Written as pairs in a list MariaDB would look them up by no index.
    one_of = or_(*(and_(_S.queue_id == each, _S.first_offset.in_(ends[each])) for each in ends))
    rows: dict[int, list[Any]] = {}
    wanted = select(_S.queue_id, *_PLACE).where(_S.part == 0, one_of).order_by(_S.queue_id, _S.first_offset)
    for row in connection.execute(wanted):
        rows.setdefault(row.queue_id, []).append(row)
    bounds: dict[int, StreamBounds] = {}
    for queue_id, there in rows.items():
        first, last = there[0], there[-1]
        if len(there) < len(ends[queue_id]):  # the first one has been deleted meanwhile
            first = _end_row(connection, queue_id, is_last=False) or last
        octets = last.position + last.octets - first.position
        bounds[queue_id] = StreamBounds(first.first_offset, last.first_offset + last.message_count, octets)
    return bounds


def _end_row(connection: Connection, queue_id: int, *, is_last: bool) -> Any:
    order = _S.first_offset.desc() if is_last else _S.first_offset
    return connection.execute(select(*_PLACE).where(_S.queue_id == queue_id).order_by(order).limit(1)).first()


def read_stream(connection: Connection, queue_id: int, offset: int, limit_octets: int) -> StreamPage:
    """Return the segments from the one on that has the message `offset`, or the next one that is there."""
    before = select(func.max(_S.first_offset)).where(_S.queue_id == queue_id, _S.first_offset <= offset)
    start = connection.scalar(before)
    places = connection.execute(
        select(_S.first_offset, _S.octets)
        .where(_S.queue_id == queue_id, _S.first_offset >= (offset if start is None else start), _S.part == 0)
        .order_by(_S.first_offset)
        .limit(_ROWS_AT_ONCE)
    ).all()
    if not places:
        return StreamPage((), offset)
    # The first one may end before `offset`, if the one behind it is damaged or gone: so there are two at least.
    fitting = sum([1 for octets in accumulate(row.octets for row in places) if octets <= limit_octets])
    last = places[min(max(fitting, 2), len(places)) - 1].first_offset
    rows = connection.execute(
        select(*_ROW)
        .where(_S.queue_id == queue_id, _S.first_offset.between(places[0].first_offset, last))
        .order_by(_S.first_offset, _S.part)
    )
    return page_of(queue_id, offset, [(*row[:4], bytes(row[4])) for row in rows])


def find_in_stream(connection: Connection, queue_id: int, time_ms: int) -> int | None:
    """Return the first offset of the first segment that has a message of this time or later, by halving."""
    first, last = (_end_row(connection, queue_id, is_last=which) for which in (False, True))
    if first is None or last is None or last.last_time < time_ms:
        return None
    low, high = first.first_offset, last.first_offset
    while low < high:
        middle = (low + high) // 2
        upto = select(*_PLACE).where(_S.queue_id == queue_id, _S.first_offset <= middle)
        row = connection.execute(upto.order_by(_S.first_offset.desc()).limit(1)).one()
        if row.last_time >= time_ms:
            high = row.first_offset
        else:
            low = max(row.first_offset + row.message_count, middle + 1)
    return int(high)


def trim_stream(connection: Connection, queue_id: int, retention: TrimRule, limit: int) -> int:
    """Delete the oldest segments, `limit` at most, that retention does not keep; return how many."""
    last = _end_row(connection, queue_id, is_last=True)
    if last is None:
        return 0
    oldest = connection.execute(
        select(*_PLACE)
        .where(_S.queue_id == queue_id, _S.part == 0, _S.first_offset < last.first_offset)
        .order_by(_S.first_offset)
        .limit(limit)
    )
    places = [(row.first_offset, row.last_time, row.position + row.octets) for row in oldest]
    gone = excess(places, last.position + last.octets, retention)
    if gone:
        # Another node may do the same: all conditions hold for good once they hold.
        connection.execute(delete(STREAM_SEGMENT).where(_S.queue_id == queue_id, _S.first_offset <= gone[-1]))
    return len(gone)


def keep_places(connection: Connection, places: Mapping[ReaderPlace, int]) -> None:
    """Keep the offsets that these consumers are to get next, as far as their streams are there."""
    queue_ids = sorted({queue_id for queue_id, _ in places})
    there = set(connection.scalars(select(QUEUE.c.queue_id).where(QUEUE.c.queue_id.in_(queue_ids))))
    for (queue_id, name), offset in sorted(places.items()):
        if queue_id in there:
            is_it = (_P.queue_id == queue_id) & (_P.consumer_name == name)
            known = connection.execute(update(STREAM_PLACE).where(is_it).values(next_offset=offset)).rowcount
            if not known:
                row = {"queue_id": queue_id, "consumer_name": name, "next_offset": offset}
                connection.execute(insert(STREAM_PLACE), row)


def place_in_stream(connection: Connection, place: ReaderPlace) -> int | None:
    """Return the offset that was kept for a consumer."""
    queue_id, name = place
    return connection.scalar(select(_P.next_offset).where(_P.queue_id == queue_id, _P.consumer_name == name))


def places_in_stream(connection: Connection, queue_id: int) -> dict[str, int]:
    """Return the offsets that are kept for a stream, by the names of consumers."""
    rows = connection.execute(
        select(_P.consumer_name, _P.next_offset).where(_P.queue_id == queue_id).order_by(_P.consumer_name)
    )
    return {row.consumer_name: row.next_offset for row in rows}


def forget_place(connection: Connection, place: ReaderPlace) -> bool:
    """Forget the offset of a consumer; return whether there was one."""
    queue_id, name = place
    is_it = (_P.queue_id == queue_id) & (_P.consumer_name == name)
    return connection.execute(delete(STREAM_PLACE).where(is_it)).rowcount > 0


def delete_streams(connection: Connection, queue_ids: Sequence[int]) -> None:
    """Delete all that streams have which are gone."""
    connection.execute(delete(STREAM_SEGMENT).where(_S.queue_id.in_(queue_ids)))
    connection.execute(delete(STREAM_PLACE).where(_P.queue_id.in_(queue_ids)))
