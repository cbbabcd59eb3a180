"""SQLite's hot statements that read: a page of a slot, and the backlog at the start.

The driver releases the interpreter lock for every row that it fetches and must then wait for it: beside a busy event
loop it reads only hundreds of rows a second. So every statement here returns a single row, in which `group_concat` has
joined the values of many.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Final, TypeAlias

import structlog

from broker.message import STORED, TRANSIENT, Message, StorageQueue
from broker.ports.slot import Slot
from broker.store.rows import add_to_backlog, message_of
from broker.store.sqlite.content_files import ContentLost, Place

_log = structlog.get_logger(__name__)

# Each sign of the queue id is read by an index range of its own, so that SQLite sorts no more than one page.
_RANGE: Final = (
    "SELECT {columns} FROM MB_METADATA WHERE QUEUE_ID = {sign}:queue_id AND MESSAGE_ID BETWEEN :start AND :end"
    " AND (MESSAGE_ID >> 10) & 255 = :lane ORDER BY MESSAGE_ID LIMIT :limit"
)
_MERGED: Final = (
    "SELECT * FROM (SELECT * FROM ({stored}) UNION ALL SELECT * FROM ({transient})) ORDER BY 1 LIMIT :limit"
)

_INDEX_COLUMNS: Final = (
    "MESSAGE_ID, QUEUE_ID, CONTENT_ID, REDELIVERED,"
    " length(MESSAGE_METADATA) AS METADATA_SIZE, length(MESSAGE_CONTENT) AS CONTENT_SIZE"
)
_INDEX: Final = (
    "SELECT group_concat(MESSAGE_ID), group_concat(METADATA_SIZE), group_concat(CASE WHEN CONTENT_ID IS NULL"
    " THEN CONTENT_SIZE ELSE (SELECT ifnull(sum(CASE WHEN CONTENT_OFFSET < 0 THEN CAST(C.MESSAGE_CONTENT AS INTEGER)"
    " ELSE length(C.MESSAGE_CONTENT) END), 0) FROM MB_CONTENT AS C WHERE C.MESSAGE_ID = CONTENT_ID) END),"
    " group_concat(CASE WHEN REDELIVERED THEN MESSAGE_ID END),"
    " group_concat(CASE WHEN QUEUE_ID < 0 THEN MESSAGE_ID END),"
    " group_concat(CASE WHEN CONTENT_ID IS NOT NULL THEN MESSAGE_ID || ',' || CONTENT_ID END) FROM ({page})"
)
# `group_concat` takes blobs for text and copies their octets unchanged; the cast makes a blob of the result.
_DATA_COLUMNS: Final = "MESSAGE_ID, MESSAGE_METADATA, MESSAGE_CONTENT"
_DATA: Final = (
    "SELECT CAST(group_concat(MESSAGE_METADATA, '') AS BLOB), CAST(group_concat(MESSAGE_CONTENT, '') AS BLOB)"
    " FROM ({page})"
)
_CONTENT: Final = (
    "SELECT group_concat(MESSAGE_ID), group_concat(CONTENT_OFFSET), group_concat(length(MESSAGE_CONTENT)),"
    " CAST(group_concat(MESSAGE_CONTENT, '') AS BLOB) FROM"
    " (SELECT MESSAGE_ID, CONTENT_OFFSET, MESSAGE_CONTENT FROM MB_CONTENT WHERE MESSAGE_ID IN ({ids})"
    " ORDER BY MESSAGE_ID, CONTENT_OFFSET)"
)
ReadFiles: TypeAlias = Callable[[Mapping[int, Place]], dict[int, bytes]]

_LANE: Final = "(MESSAGE_ID >> 10) & 255"


def _statements(transient: bool) -> tuple[str, str]:
    def page(columns: str) -> str:
        stored = _RANGE.format(columns=columns, sign="")
        return (
            _MERGED.format(stored=stored, transient=_RANGE.format(columns=columns, sign="-")) if transient else stored
        )

    return _INDEX.format(page=page(_INDEX_COLUMNS)), _DATA.format(page=page(_DATA_COLUMNS))


_STATEMENTS: Final = {transient: _statements(transient) for transient in (False, True)}


@dataclass(slots=True)
class _PageIndex:
    """The result of the first statement of a read: the rows of the page, and the sizes to cut their data by."""

    ids: list[int]
    metadata_sizes: list[int]
    sizes: list[int]
    redelivered: set[int]
    transient: set[int]
    content_ids: dict[int, int]


def read(
    connection: sqlite3.Connection,
    read_files: ReadFiles,
    queue: StorageQueue,
    slot: Slot,
    limit: int,
    limit_bytes: int,
) -> list[Message]:
    """Return the first messages of `slot`, up to `limit` messages or `limit_bytes` octets of body, at least one."""
    missed: set[int] = set()
    start = slot.start
    while True:
        try:
            messages, last = _read(connection, read_files, queue, slot, start, limit, limit_bytes)
        except ContentLost as error:
            # Messages and file may have been deleted after the transaction: only a second miss means a lost body.
            if error.segment in missed:
                read_files = _leaving_out_what_is_lost(read_files)
            missed.add(error.segment)
            continue
        if messages or last is None:
            return messages
        start = last + 1


def _leaving_out_what_is_lost(read_files: ReadFiles) -> ReadFiles:
    def read_each(places: Mapping[int, Place]) -> dict[int, bytes]:
        bodies: dict[int, bytes] = {}
        for message_id, place in places.items():
            try:
                bodies |= read_files({message_id: place})
            except ContentLost as error:
                _log.error("a message is left alone", reason=str(error))
        return bodies

    return read_each


def _read(
    connection: sqlite3.Connection,
    read_files: ReadFiles,
    queue: StorageQueue,
    slot: Slot,
    start: int,
    limit: int,
    limit_bytes: int,
) -> tuple[list[Message], int | None]:
    """Return the messages of one page from `start`, and the last id of its rows; None when there are no rows."""
    index, data = _STATEMENTS[slot.transient]
    parameters = {
        "queue_id": slot.queue_id,
        "start": start,
        "end": slot.end,
        "lane": slot.lane,
        "limit": max(limit, 1),
    }
    connection.execute("BEGIN")
    try:
        page = _page_index(connection.execute(index, parameters).fetchone(), limit_bytes)
        if page is None:
            return [], None
        parameters |= {"end": page.ids[-1], "limit": len(page.ids)}
        metadata, bodies = connection.execute(data, parameters).fetchone()
        contents, places = _contents(connection, page.content_ids)
    finally:
        connection.execute("COMMIT")
    if places:
        contents |= read_files(places)
    return list(_messages(queue, slot, page, metadata, bodies or b"", contents)), page.ids[-1]


def _page_index(row: tuple[Any, ...], limit_bytes: int) -> _PageIndex | None:
    if row[0] is None:
        return None
    ids, metadata_sizes, sizes, redelivered, transient = map(_numbers, row[:5])
    pairs = _numbers(row[5])
    count = sum(before < limit_bytes for before in accumulate(sizes[:-1], initial=0)) or 1
    content_ids = {
        name: content for name, content in zip(pairs[::2], pairs[1::2], strict=True) if name <= ids[count - 1]
    }
    return _PageIndex(ids[:count], metadata_sizes[:count], sizes[:count], set(redelivered), set(transient), content_ids)


def _contents(connection: sqlite3.Connection, content_ids: dict[int, int]) -> tuple[dict[int, bytes], dict[int, Place]]:
    """Return, by message id, the bodies that are in the database, and the places of those in files."""
    if not content_ids:
        return {}, {}
    names = ",".join(map(str, set(content_ids.values())))
    ids, offsets, sizes, joined = connection.execute(_CONTENT.format(ids=names)).fetchone()
    spans: dict[int, slice] = {}
    places: dict[int, Place] = {}
    start = 0
    for content_id, offset, size in zip(_numbers(ids), _numbers(offsets), _numbers(sizes), strict=True):
        end = start + size
        if offset < 0:
            size_in_file, offset_in_file = map(int, joined[start:end].split())
            places[content_id] = Place(-offset, offset_in_file, size_in_file)
        else:
            spans[content_id] = slice(spans[content_id].start if content_id in spans else start, end)
        start = end
    return (
        {name: joined[spans[content_id]] for name, content_id in content_ids.items() if content_id in spans},
        {name: places[content_id] for name, content_id in content_ids.items() if content_id in places},
    )


def _messages(
    queue: StorageQueue, slot: Slot, page: _PageIndex, metadata: bytes, bodies: bytes, contents: dict[int, bytes]
) -> Iterator[Message]:
    metadata_at = body_at = 0
    for message_id, metadata_size, size in zip(page.ids, page.metadata_sizes, page.sizes, strict=True):
        content_id = page.content_ids.get(message_id, 0)
        its_metadata = metadata[metadata_at : metadata_at + metadata_size]
        metadata_at += metadata_size
        if not content_id:
            payload = bodies[body_at : body_at + size]
            body_at += size
        elif message_id in contents:
            payload = contents[message_id]
        else:  # a message without its body is never delivered, and its row is never deleted for that
            _log.error("a message without its body is left alone", message=message_id, content=content_id)
            continue
        state = TRANSIENT if message_id in page.transient else STORED
        message = message_of(message_id, queue, its_metadata, payload, state)
        message.content_id = content_id
        message.redelivered = slot.maybe_delivered or message_id in page.redelivered
        yield message


def backlog(connection: sqlite3.Connection) -> list[Slot]:
    """Return one slot per queue and lane, from the index on QUEUE_ID alone."""
    slots: dict[tuple[int, int], Slot] = {}
    summary = f"QUEUE_ID, min(MESSAGE_ID), max(MESSAGE_ID), count(*), min({_LANE}), max({_LANE})"
    by_queue = connection.execute(f"SELECT {summary} FROM MB_METADATA GROUP BY QUEUE_ID").fetchall()
    for queue_id, start, end, count, lane, last_lane in by_queue:
        if lane == last_lane:
            add_to_backlog(slots, queue_id, lane, start, end, count)
            continue
        by_lane = f"SELECT {_LANE}, min(MESSAGE_ID), max(MESSAGE_ID), count(*) FROM MB_METADATA WHERE QUEUE_ID = ?"
        for row in connection.execute(f"{by_lane} GROUP BY 1", (queue_id,)).fetchall():
            add_to_backlog(slots, queue_id, *row)
    return list(slots.values())


def _numbers(text: str | int | None) -> list[int]:
    return [] if text is None else list(map(int, str(text).split(",")))
