"""Streams in SQLite: how a batch appends to them, and how a page of them is read.

There is one writer, so the end of a stream that it finds is the end. Reading, one statement returns one row, in which
`group_concat` has joined the values of many (`reader`).
"""

from __future__ import annotations

import sqlite3
from itertools import pairwise
from typing import Any, Final

from broker.ports.store import Batch
from broker.ports.streams import NO_STREAM, StreamPage
from broker.store.stream_rows import page_of, parts_of, segment_checksum

_ROWS_PER_PAGE: Final = 512
_END: Final = (
    "SELECT FIRST_OFFSET + MESSAGE_COUNT, LAST_TIME, POSITION + OCTETS FROM MB_STREAM_SEGMENT"
    " WHERE QUEUE_ID = ? ORDER BY FIRST_OFFSET DESC LIMIT 1"
)
_IS_THERE: Final = "SELECT 1 FROM MB_QUEUE WHERE QUEUE_ID = ?"
_INTO: Final = (
    "INSERT INTO MB_STREAM_SEGMENT (QUEUE_ID, FIRST_OFFSET, PART, MESSAGE_COUNT, LAST_TIME, POSITION, OCTETS, CHECKSUM,"
    " SEGMENT_CONTENT) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
# The first segment of a page is the one that has the offset, or ends before it.
_START: Final = (
    "ifnull((SELECT max(FIRST_OFFSET) FROM MB_STREAM_SEGMENT WHERE QUEUE_ID = :queue_id AND FIRST_OFFSET <= :offset),"
    " :offset)"
)
_PAGE: Final = (
    "SELECT FIRST_OFFSET, MESSAGE_COUNT, OCTETS, CHECKSUM, SEGMENT_CONTENT FROM MB_STREAM_SEGMENT WHERE"
    " QUEUE_ID = :queue_id AND FIRST_OFFSET BETWEEN :first AND :last ORDER BY FIRST_OFFSET, PART"
)
_JOINED: Final = (
    "SELECT group_concat(FIRST_OFFSET), group_concat(MESSAGE_COUNT), group_concat(OCTETS), group_concat(CHECKSUM),"
    f" group_concat(length(SEGMENT_CONTENT)), CAST(group_concat(SEGMENT_CONTENT, '') AS BLOB) FROM ({_PAGE})"
)
_PLACES: Final = (
    "SELECT group_concat(FIRST_OFFSET), group_concat(OCTETS) FROM (SELECT FIRST_OFFSET, OCTETS FROM MB_STREAM_SEGMENT"
    f" WHERE QUEUE_ID = :queue_id AND FIRST_OFFSET >= {_START} AND PART = 0"
    f" ORDER BY FIRST_OFFSET LIMIT {_ROWS_PER_PAGE})"
)


def append_segments(connection: sqlite3.Connection, batch: Batch) -> None:
    """Append what a batch has for streams, in the transaction that `connection` is in."""
    for append in batch.appends:
        append.leave_out(batch.duplicates)
        append.first = NO_STREAM
        if connection.execute(_IS_THERE, (append.queue_id,)).fetchone() is None:
            continue
        end, last_ms, position = connection.execute(_END, (append.queue_id,)).fetchone() or (0, 0, 0)
        first = end
        for segment in append.segments():
            last_ms = max(last_ms, segment.last_ms)
            octets, checksum = len(segment.content), segment_checksum(segment.content)
            for part, content in enumerate(parts_of(segment.content)):
                row = (append.queue_id, end, part, segment.count, last_ms, position, octets, checksum, content)
                connection.execute(_INTO, row)
            end += segment.count
            position += octets
        append.first = first


def read_page(connection: sqlite3.Connection, queue_id: int, offset: int, limit_octets: int) -> StreamPage:
    """Return the segments from the one on that has the message `offset`, or the next one that is there."""
    offsets, octets = (
        _numbers(text) for text in connection.execute(_PLACES, {"queue_id": queue_id, "offset": offset}).fetchone()
    )
    if not offsets:
        return StreamPage((), offset)
    taken, total = 1, octets[0]
    # The first one may end before `offset`, if the one behind it is damaged or gone: so there are two at least.
    while taken < len(offsets) and (taken < 2 or total + octets[taken] <= limit_octets):
        total += octets[taken]
        taken += 1
    bounds = {"queue_id": queue_id, "first": offsets[0], "last": offsets[taken - 1]}
    *columns, contents = connection.execute(_JOINED, bounds).fetchone()
    firsts, counts, sizes, checksums, lengths = map(_numbers, columns)
    ends = [0]
    for length in lengths:
        ends.append(ends[-1] + length)
    parts = [contents[start:end] for start, end in pairwise(ends)] if contents else []
    rows: list[Any] = list(zip(firsts, counts, sizes, checksums, parts, strict=True))
    return page_of(queue_id, offset, rows)


def _numbers(text: Any) -> list[int]:
    return [] if text is None else list(map(int, str(text).split(",")))
