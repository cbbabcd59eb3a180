"""How a batch appends to streams, in PostgreSQL and in MariaDB or MySQL (ADR 81).

Whoever appends holds the row of the stream's queue until its commit: so offsets are in the order of commits, whichever
node appends. The end is looked for after that, by a statement that sees what is committed by then. Nothing is written
to that row: one that every commit changed would leave a version each time (ADR 31).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, Final, TypeAlias

from broker.ports.streams import NO_STREAM, StreamAppend
from broker.store.stream_rows import parts_of, segment_checksum

NewRow: TypeAlias = tuple[int, int, int, int, int, int, int, int, bytes]
"""The columns of MB_STREAM_SEGMENT, in their order."""

_COLUMNS: Final = (
    "QUEUE_ID",
    "FIRST_OFFSET",
    "PART",
    "MESSAGE_COUNT",
    "LAST_TIME",
    "POSITION",
    "OCTETS",
    "CHECKSUM",
    "SEGMENT_CONTENT",
)
_LOCK: Final = (
    'SELECT "QUEUE_ID" FROM "MB_QUEUE" WHERE "QUEUE_ID"=ANY($1::bigint[]) ORDER BY "QUEUE_ID" FOR NO KEY UPDATE'
)
_END: Final = (
    'SELECT "FIRST_OFFSET"+"MESSAGE_COUNT","LAST_TIME","POSITION"+"OCTETS" FROM "MB_STREAM_SEGMENT"'
    ' WHERE "QUEUE_ID"=$1 ORDER BY "FIRST_OFFSET" DESC LIMIT 1'
)
_OCTETS_PER_STATEMENT: Final = 1 << 20


async def append_in_postgresql(raw: Any, appends: Sequence[StreamAppend], duplicates: set[int]) -> None:
    """Append what a batch has for streams in the transaction of the connection `raw`."""
    ordered = _in_order(appends, duplicates)
    there = {row[0] for row in await raw.fetch(_LOCK, [append.queue_id for append in ordered])}
    rows: list[NewRow] = []
    for append in ordered:
        if append.queue_id in there:
            end = await raw.fetchrow(_END, append.queue_id)
            rows += _placed(append, (0, 0, 0) if end is None else tuple(end))
    if rows:
        await raw.copy_records_to_table("MB_STREAM_SEGMENT", records=rows, columns=_COLUMNS)


Execute: TypeAlias = Callable[[str], Awaitable[list[int]]]
"""Runs statements joined by semicolons; returns how many rows each of them has found."""
Select: TypeAlias = Callable[[str], Awaitable[list[Any]]]


async def append_in_mysql(
    execute: Execute, select: Select, appends: Sequence[StreamAppend], duplicates: set[int]
) -> None:
    """Append what a batch has for streams in the transaction of a connection."""
    ordered = _in_order(appends, duplicates)
    ids = ",".join(str(append.queue_id) for append in ordered)
    locked = await select(f"SELECT QUEUE_ID FROM MB_QUEUE WHERE QUEUE_ID IN ({ids}) ORDER BY QUEUE_ID FOR UPDATE")
    there = {queue_id for (queue_id,) in locked}
    rows: list[NewRow] = []
    for append in ordered:
        if append.queue_id in there:
            found = await select(
                "SELECT FIRST_OFFSET+MESSAGE_COUNT,LAST_TIME,POSITION+OCTETS FROM MB_STREAM_SEGMENT"
                f" WHERE QUEUE_ID={append.queue_id} ORDER BY FIRST_OFFSET DESC LIMIT 1"
            )
            rows += _placed(append, found[0] if found else (0, 0, 0))
    for statement in _inserts(rows):
        await execute(statement)


def _inserts(rows: Sequence[NewRow]) -> Iterator[str]:
    values: list[str] = []
    octets = 0
    for *numbers, content in rows:
        values.append(f"({','.join(map(str, numbers))},x'{content.hex()}')")
        octets += len(values[-1])
        if octets > _OCTETS_PER_STATEMENT // 2:
            yield f"INSERT INTO MB_STREAM_SEGMENT ({','.join(_COLUMNS)}) VALUES {','.join(values)}"
            values, octets = [], 0
    if values:
        yield f"INSERT INTO MB_STREAM_SEGMENT ({','.join(_COLUMNS)}) VALUES {','.join(values)}"


def _in_order(appends: Sequence[StreamAppend], duplicates: set[int]) -> list[StreamAppend]:
    """Return the appends in the order in which everybody locks streams."""
    for append in appends:
        append.first = NO_STREAM
        append.leave_out(duplicates)
    return sorted(appends, key=lambda append: append.queue_id)


def _placed(append: StreamAppend, end: tuple[int, ...]) -> list[NewRow]:
    """Give an append its place behind the end of its stream; return its rows."""
    offset, last_ms, position = end
    append.first = offset
    rows: list[NewRow] = []
    for segment in append.segments():
        last_ms = max(last_ms, segment.last_ms)
        octets, checksum = len(segment.content), segment_checksum(segment.content)
        for part, content in enumerate(parts_of(segment.content)):
            rows.append((append.queue_id, offset, part, segment.count, last_ms, position, octets, checksum, content))
        offset += segment.count
        position += octets
    return rows
