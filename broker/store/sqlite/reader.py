"""SQLite's hot statements that read: a page of a slot, a page of what expires, and what there is at the start.

The driver releases the interpreter lock for every row that it fetches and must then wait for it: beside a busy event
loop it reads only hundreds of rows a second. So every statement here returns a single row, in which `group_concat` has
joined the values of many.
"""

from __future__ import annotations

import sqlite3
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from operator import add
from typing import Any, Final, TypeAlias

from xxhash import xxh3_64_intdigest

from broker.message import MOST_DELIVERIES, STORED, TRANSIENT, Message, StorageQueue
from broker.ports.slot import ALL_LANES, Slot
from broker.ports.store import DueKey
from broker.store.rows import CHECKSUM_MASK, NO_CHECKSUM, add_to_backlog, count_as_slot_says, damage_of, message_of
from broker.store.sql.messages import SET_ASIDE
from broker.store.sqlite.content_files import ContentLost, Place

# Each sign of the queue id is read by an index range of its own, so that SQLite sorts no more than one page.
_RANGE: Final = (
    "SELECT {columns} FROM MB_METADATA WHERE QUEUE_ID = {sign}:queue_id AND MESSAGE_ID BETWEEN :start AND :end"
    f" AND :lane IN ((MESSAGE_ID >> 10) & 255, {ALL_LANES}) ORDER BY MESSAGE_ID LIMIT :limit"
)
_MERGED: Final = (
    "SELECT * FROM (SELECT * FROM ({stored}) UNION ALL SELECT * FROM ({transient})) ORDER BY 1 LIMIT :limit"
)


def _octets(column: str) -> str:
    """Return the expression for the octets of a value of any type; a blob's are counted without reading it."""
    return f"CASE typeof({column}) WHEN 'blob' THEN length({column}) ELSE ifnull(length(CAST({column} AS BLOB)), 0) END"


# A damaged row can hold any type in any column but the key: none of them may shift what belongs to other rows.
_CONTENT_ID: Final = "CAST(CONTENT_ID AS INTEGER)"
_INDEX_COLUMNS: Final = (
    f"MESSAGE_ID, QUEUE_ID, {_CONTENT_ID} AS CONTENT_ID, REDELIVERED, {_octets('MESSAGE_METADATA')} AS METADATA_SIZE,"
    f" {_octets('MESSAGE_CONTENT')} AS CONTENT_SIZE,"
    f" ifnull(CAST(CHECKSUM AS INTEGER), {NO_CHECKSUM}) AS CHECKSUM"
)
_SIZE_IN_FILE: Final = f"min(max(CAST(C.MESSAGE_CONTENT AS INTEGER), 0), {1 << 30})"
_INDEX: Final = (
    "SELECT group_concat(MESSAGE_ID), group_concat(METADATA_SIZE), group_concat(CASE WHEN CONTENT_ID IS NULL"
    f" THEN CONTENT_SIZE ELSE (SELECT ifnull(sum(CASE WHEN CONTENT_OFFSET < 0 THEN {_SIZE_IN_FILE}"
    f" ELSE {_octets('C.MESSAGE_CONTENT')} END), 0) FROM MB_CONTENT AS C WHERE C.MESSAGE_ID = CONTENT_ID) END),"
    " group_concat(CASE WHEN REDELIVERED THEN MESSAGE_ID || ',' || min(max(CAST(REDELIVERED AS INTEGER), 1),"
    f" {MOST_DELIVERIES}) END),"
    " group_concat(CASE WHEN QUEUE_ID < 0 THEN MESSAGE_ID END),"
    " group_concat(CASE WHEN CONTENT_ID IS NOT NULL THEN MESSAGE_ID || ',' || CONTENT_ID END),"
    " group_concat(CHECKSUM) FROM ({page})"
)
# `group_concat` takes blobs for text and copies their octets unchanged; the cast makes a blob of the result.
_DATA_COLUMNS: Final = (
    "MESSAGE_ID, MESSAGE_METADATA, CASE WHEN CONTENT_ID IS NULL THEN MESSAGE_CONTENT END AS MESSAGE_CONTENT"
)
_DATA: Final = (
    "SELECT CAST(group_concat(MESSAGE_METADATA, '') AS BLOB), CAST(group_concat(MESSAGE_CONTENT, '') AS BLOB)"
    " FROM ({page})"
)
_CONTENT: Final = (
    "SELECT group_concat(MESSAGE_ID), group_concat(CAST(CONTENT_OFFSET AS INTEGER)),"
    f" group_concat({_octets('MESSAGE_CONTENT')}),"
    " CAST(group_concat(MESSAGE_CONTENT, '') AS BLOB) FROM"
    " (SELECT MESSAGE_ID, CONTENT_OFFSET, MESSAGE_CONTENT FROM MB_CONTENT WHERE MESSAGE_ID IN ({ids})"
    " ORDER BY MESSAGE_ID, CONTENT_OFFSET)"
)
ReadFiles: TypeAlias = Callable[[Mapping[int, Place]], dict[int, bytes]]

_LANE: Final = "(MESSAGE_ID >> 10) & 255"

# Each sign of the queue id is read by an index range of its own here, too. The index ends with MESSAGE_ID.
_DUE: Final = (
    "SELECT EXPIRATION_TIME, MESSAGE_ID FROM MB_EXPIRATION_DATA WHERE QUEUE_ID = {sign}:queue_id"
    " AND (EXPIRATION_TIME, MESSAGE_ID) > (:due, :message_id) AND EXPIRATION_TIME <= :until"
    " ORDER BY EXPIRATION_TIME, MESSAGE_ID LIMIT :limit"
)
_DUE_KEYS: Final = (
    "SELECT group_concat(EXPIRATION_TIME), group_concat(MESSAGE_ID) FROM"
    f" ({_MERGED.format(stored=_DUE.format(sign=''), transient=_DUE.format(sign='-')).replace('BY 1', 'BY 1, 2')})"
)
_EARLIEST_DUE: Final = (
    "SELECT group_concat(QUEUE_ID), group_concat(DUE) FROM (SELECT QUEUE_ID, min(EXPIRATION_TIME) AS DUE"
    f" FROM MB_EXPIRATION_DATA WHERE QUEUE_ID BETWEEN {1 - SET_ASIDE} AND {SET_ASIDE - 1} GROUP BY QUEUE_ID)"
)
# The rows of messages in the order of a list of their ids; CROSS lets SQLite read the list first.
_LISTED: Final = (
    "SELECT {columns} FROM json_each(:ids) AS L CROSS JOIN MB_METADATA WHERE MESSAGE_ID = L.value"
    " AND QUEUE_ID IN (:queue_id, -:queue_id) ORDER BY L.key"
)


def _statements(transient: bool) -> tuple[str, str]:
    def page(columns: str) -> str:
        stored = _RANGE.format(columns=columns, sign="")
        return (
            _MERGED.format(stored=stored, transient=_RANGE.format(columns=columns, sign="-")) if transient else stored
        )

    return _INDEX.format(page=page(_INDEX_COLUMNS)), _DATA.format(page=page(_DATA_COLUMNS))


_STATEMENTS: Final = {transient: _statements(transient) for transient in (False, True)}
_DUE_STATEMENTS: Final = (
    _INDEX.format(page=_LISTED.format(columns=_INDEX_COLUMNS)),
    _DATA.format(page=_LISTED.format(columns=_DATA_COLUMNS)),
)


@dataclass(slots=True)
class _PageIndex:
    """The result of the first statement of a read: the rows of the page, and the sizes to cut their data by."""

    ids: list[int]
    metadata_sizes: list[int]
    sizes: list[int]
    redelivered: dict[int, int]
    transient: set[int]
    content_ids: dict[int, int]
    checksums: list[int]


@dataclass(frozen=True, slots=True)
class Page:
    """The messages of a page, why others are damaged, by id, and the last id of its rows; 0 when there are none."""

    messages: list[Message]
    damaged: dict[int, str]
    last: int


def read(
    connection: sqlite3.Connection,
    read_files: ReadFiles,
    queue: StorageQueue,
    slot: Slot,
    limit: int,
    limit_bytes: int,
) -> Page:
    """Return the first messages of `slot`, up to `limit` messages or `limit_bytes` octets, at least one.

    Damaged ones are left out, and what is wrong with them returned by id.
    """
    parameters = {"queue_id": slot.queue_id, "start": slot.start, "end": slot.end, "lane": slot.lane}

    def next_page(read_files: ReadFiles) -> Page:
        its_own = parameters | {"limit": max(limit, 1)}
        statements = _STATEMENTS[slot.transient]
        page = _read(connection, read_files, queue, statements, its_own, limit_bytes)
        count_as_slot_says(slot, page.messages)
        parameters["start"] = page.last + 1
        return page

    return _first_with_messages(next_page, read_files)


def read_due(
    connection: sqlite3.Connection,
    read_files: ReadFiles,
    queue: StorageQueue,
    until_ms: int,
    after: DueKey,
    limit: int,
    limit_bytes: int,
) -> Page:
    """Return the first messages of `queue` that expire up to `until_ms`, behind `after`; bounds are as in `read`."""

    def next_page(read_files: ReadFiles) -> Page:
        nonlocal after
        keys = due_keys(connection, queue.queue_id, until_ms, after, limit)
        if not keys:
            return Page([], {}, 0)
        parameters: dict[str, Any] = {"queue_id": queue.queue_id, "ids": _listed(message_id for _, message_id in keys)}
        page = _read(connection, read_files, queue, _DUE_STATEMENTS, parameters, limit_bytes)
        # Without a row all of these messages are gone.
        after = next((key for key in keys if key[1] == page.last), keys[-1])
        return page if page.last else replace(page, last=keys[-1][1])

    return _first_with_messages(next_page, read_files)


def read_listed(
    connection: sqlite3.Connection,
    read_files: ReadFiles,
    queue: StorageQueue,
    message_ids: Sequence[int],
    limit_bytes: int,
) -> Page:
    """Return the first of these messages, which are ascending, as far as they are in `queue`."""
    ids = list(message_ids)

    def next_page(read_files: ReadFiles) -> Page:
        parameters: dict[str, Any] = {"queue_id": queue.queue_id, "ids": _listed(ids)}
        page = _read(connection, read_files, queue, _DUE_STATEMENTS, parameters, limit_bytes)
        del ids[: bisect_right(ids, page.last)]
        return page

    return _first_with_messages(next_page, read_files)


def due_keys(connection: sqlite3.Connection, queue_id: int, until_ms: int, after: DueKey, limit: int) -> list[DueKey]:
    """Return the places of the first messages of a queue that expire up to `until_ms`, behind `after`."""
    due, message_id = after
    parameters = {"queue_id": queue_id, "due": due, "message_id": message_id, "until": until_ms, "limit": max(limit, 1)}
    times, ids = connection.execute(_DUE_KEYS, parameters).fetchone()
    return list(zip(_numbers(times), _numbers(ids), strict=True))


def earliest_due(connection: sqlite3.Connection) -> dict[int, int]:
    """Return the earliest time of expiration of each queue that has any."""
    queue_ids, times = map(_numbers, connection.execute(_EARLIEST_DUE).fetchone())
    earliest: dict[int, int] = {}
    for queue_id, due in zip(map(abs, queue_ids), times, strict=True):
        earliest[queue_id] = min(due, earliest.get(queue_id, due))
    return earliest


def _first_with_messages(next_page: Callable[[ReadFiles], Page], read_files: ReadFiles) -> Page:
    """Return the first page that has messages, and in it what is damaged before them, too."""
    missed: set[int] = set()
    damaged: dict[int, str] = {}
    lost: dict[int, str] = {}
    while True:
        try:
            page = next_page(read_files)
        except ContentLost as error:
            # Messages and file may have been deleted after the transaction: only a second miss means a lost body.
            if error.segment in missed:
                read_files = _leaving_out_what_is_lost(read_files, lost)
            missed.add(error.segment)
            continue
        damaged |= {message_id: lost.get(message_id, reason) for message_id, reason in page.damaged.items()}
        if page.messages or not page.last:
            return Page(page.messages, damaged, page.last)


def _leaving_out_what_is_lost(read_files: ReadFiles, lost: dict[int, str]) -> ReadFiles:
    def read_each(places: Mapping[int, Place]) -> dict[int, bytes]:
        bodies: dict[int, bytes] = {}
        for message_id, place in places.items():
            try:
                bodies |= read_files({message_id: place})
            except ContentLost as error:
                lost[message_id] = str(error)
        return bodies

    return read_each


def _read(
    connection: sqlite3.Connection,
    read_files: ReadFiles,
    queue: StorageQueue,
    statements: tuple[str, str],
    parameters: dict[str, Any],
    limit_bytes: int,
) -> Page:
    """Return one page: its rows are read first, then the data of as many as there is room for."""
    index, data = statements
    connection.execute("BEGIN")
    try:
        page = _page_index(connection.execute(index, parameters).fetchone(), limit_bytes)
        if page is None:
            return Page([], {}, 0)
        parameters |= {"end": page.ids[-1], "limit": len(page.ids)}
        if "ids" in parameters:
            parameters["ids"] = _listed(page.ids)
        metadata, bodies = connection.execute(data, parameters).fetchone()
        contents, places = _contents(connection, page.content_ids)
    finally:
        connection.execute("COMMIT")
    if places:
        contents |= read_files(places)
    damaged: dict[int, str] = {}
    messages = list(_messages(queue, page, metadata or b"", bodies or b"", contents, damaged))
    return Page(messages, damaged, page.ids[-1])


def _page_index(row: tuple[Any, ...], limit_bytes: int) -> _PageIndex | None:
    if row[0] is None:
        return None
    ids, metadata_sizes, sizes, redelivered, transient = map(_numbers, row[:5])
    pairs, checksums = _numbers(row[5]), _numbers(row[6])
    octets = accumulate(map(add, metadata_sizes[:-1], sizes), initial=0)
    count = sum(before < limit_bytes for before in octets) or 1
    del ids[count:]
    named = dict(zip(pairs[::2], pairs[1::2], strict=True))
    content_ids = {name: named[name] for name in ids if name in named} if named else {}
    return _PageIndex(
        ids,
        metadata_sizes[:count],
        sizes[:count],
        dict(zip(redelivered[::2], redelivered[1::2], strict=True)),
        set(transient),
        content_ids,
        checksums[:count],
    )


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
            place = joined[start:end].split()
            if len(place) == 2 and all(map(bytes.isdigit, place)):
                places[content_id] = Place(-offset, int(place[1]), int(place[0]))
        else:
            spans[content_id] = slice(spans[content_id].start if content_id in spans else start, end)
        start = end
    return (
        {name: joined[spans[content_id]] for name, content_id in content_ids.items() if content_id in spans},
        {name: places[content_id] for name, content_id in content_ids.items() if content_id in places},
    )


def _messages(
    queue: StorageQueue,
    page: _PageIndex,
    metadata: bytes,
    bodies: bytes,
    contents: dict[int, bytes],
    damaged: dict[int, str],
) -> Iterator[Message]:
    """Yield the messages of a page that are whole; note in `damaged` what is wrong with the others."""
    metadata_at = body_at = 0
    digest, mask = xxh3_64_intdigest, CHECKSUM_MASK
    rows = zip(page.ids, page.metadata_sizes, page.sizes, page.checksums, strict=True)
    for message_id, metadata_size, size, checksum in rows:
        content_id = page.content_ids.get(message_id)
        its_metadata = metadata[metadata_at : metadata_at + metadata_size]
        metadata_at += metadata_size
        payload: bytes | None
        if content_id is None:
            payload = bodies[body_at : body_at + size]
            body_at += size
        else:
            payload = contents.get(message_id)
        # Nearly all are whole: `damage_of` is called for the others alone.
        if payload is None or digest(its_metadata, digest(payload)) & mask != checksum:
            damage = damage_of(its_metadata, payload, checksum)
            if damage or payload is None:
                damaged[message_id] = damage
                continue
        state = TRANSIENT if message_id in page.transient else STORED
        message = message_of(message_id, queue, its_metadata, payload, state)
        message.content_id = content_id or 0
        message.redelivered = page.redelivered.get(message_id, 0)
        yield message


def backlog(connection: sqlite3.Connection) -> list[Slot]:
    """Return one slot per queue and lane, from the index on QUEUE_ID alone."""
    slots: dict[tuple[int, int], Slot] = {}
    summary = f"QUEUE_ID, min(MESSAGE_ID), max(MESSAGE_ID), count(*), min({_LANE}), max({_LANE})"
    # What is set aside, and values that are no number, are greater than every id of a queue.
    by_queue = connection.execute(
        f"SELECT {summary} FROM MB_METADATA WHERE QUEUE_ID < {SET_ASIDE} GROUP BY QUEUE_ID"
    ).fetchall()
    for queue_id, start, end, count, lane, last_lane in by_queue:
        if lane == last_lane:
            add_to_backlog(slots, queue_id, lane, start, end, count)
            continue
        by_lane = f"SELECT {_LANE}, min(MESSAGE_ID), max(MESSAGE_ID), count(*) FROM MB_METADATA WHERE QUEUE_ID = ?"
        for row in connection.execute(f"{by_lane} GROUP BY 1", (queue_id,)).fetchall():
            add_to_backlog(slots, queue_id, *row)
    return list(slots.values())


def _listed(ids: Iterable[int]) -> str:
    return f"[{','.join(map(str, ids))}]"


def _numbers(text: str | int | None) -> list[int]:
    return [] if text is None else list(map(int, str(text).split(",")))
