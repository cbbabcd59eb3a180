"""SQLite's hot statements that write: inserts, deletes and purges of messages.

A body in a file has a row in MB_CONTENT, too: its CONTENT_OFFSET is minus the number of the file, and its content is
size and position in the file, as text.

Every call of `execute` releases the interpreter lock and must wait for it afterwards, for milliseconds when the event
loop is busy. So one call writes thousands of rows (`executemany` would release the lock for each), a batch that is a
single statement needs no BEGIN and COMMIT, and a few fixed texts serve any number of rows, because preparing a
statement releases the lock, too.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager, suppress
from functools import cache
from itertools import accumulate
from operator import attrgetter
from typing import Any, Final

from xxhash import xxh3_64_intdigest

from broker.message import Message
from broker.ports.slot import Slot
from broker.ports.store import Batch
from broker.store.rows import CHECKSUM_MASK, MAX_CONTENT_CHUNK_SIZE, checksum_of, hash_of_body, metadata_of
from broker.store.sqlite.branches import change_branches
from broker.store.sqlite.content_files import ContentFiles
from broker.store.sqlite.keys import claim_keys
from broker.store.sqlite.streams import append_segments

_BODY: Final = attrgetter("body")
_REDELIVERED: Final = attrgetter("redelivered")

_ROWS_PER_INSERT: Final = 2048
_LARGE_ROWS_PER_INSERT: Final = 64
_LARGE_BATCH: Final = 8 << 20
_OCTETS_PER_INSERT: Final = 1 << 20

_INLINE_INTO: Final = "MB_METADATA (MESSAGE_ID, QUEUE_ID, REDELIVERED, MESSAGE_METADATA, MESSAGE_CONTENT, CHECKSUM)"
# Nearly all messages are neither transient nor redelivered; a value less for each pays for a part of the checksum.
_NEW_INTO: Final = "MB_METADATA (REDELIVERED, MESSAGE_ID, QUEUE_ID, MESSAGE_METADATA, MESSAGE_CONTENT, CHECKSUM)"
_SHARED_INTO: Final = "MB_METADATA (MESSAGE_ID, QUEUE_ID, CONTENT_ID, REDELIVERED, MESSAGE_METADATA, CHECKSUM)"
_CONTENT_INTO: Final = "MB_CONTENT (MESSAGE_ID, CONTENT_OFFSET, MESSAGE_CONTENT)"
_IDS: Final = "(SELECT value FROM json_each(?))"
_DELETE: Final = f"DELETE FROM MB_METADATA WHERE MESSAGE_ID IN {_IDS}"
_ORPHANS: Final = (
    f"FROM MB_CONTENT WHERE MESSAGE_ID IN {_IDS}"
    " AND NOT EXISTS (SELECT 1 FROM MB_METADATA WHERE CONTENT_ID = MB_CONTENT.MESSAGE_ID)"
)
_DELETE_ORPHANS: Final = f"DELETE {_ORPHANS}"
_ORPHANS_IN_FILES: Final = f"SELECT group_concat(-CONTENT_OFFSET) {_ORPHANS} AND CONTENT_OFFSET < 0"
_BODIES_IN_FILES: Final = (
    "SELECT group_concat(SEGMENT), group_concat(BODIES) FROM (SELECT -CONTENT_OFFSET AS SEGMENT, count(*) AS BODIES"
    " FROM MB_CONTENT WHERE CONTENT_OFFSET < 0 GROUP BY CONTENT_OFFSET)"
)
# One text for any number of rows, as short as it may be: a list of `id, queue id, time` for each row.
_EXPIRATIONS: Final = (
    "INSERT OR REPLACE INTO MB_EXPIRATION_DATA (MESSAGE_ID, QUEUE_ID, EXPIRATION_TIME)"
    " SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]') FROM json_each(?)"
)
_DELETE_EXPIRATIONS: Final = f"DELETE FROM MB_EXPIRATION_DATA WHERE MESSAGE_ID IN {_IDS}"
_HAS_EXPIRATIONS: Final = "SELECT EXISTS (SELECT 1 FROM MB_EXPIRATION_DATA WHERE QUEUE_ID IN (?, ?))"
_GROUPS: Final = (
    "INSERT OR REPLACE INTO MB_MESSAGE_GROUP (MESSAGE_ID, QUEUE_ID, GROUP_ID)"
    " SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]') FROM json_each(?)"
)
_DELETE_GROUPS: Final = f"DELETE FROM MB_MESSAGE_GROUP WHERE MESSAGE_ID IN {_IDS}"
_RECOUNT: Final = f"UPDATE MB_METADATA SET REDELIVERED = ? WHERE MESSAGE_ID IN {_IDS}"
_PRESENT: Final = f"SELECT group_concat(DISTINCT MESSAGE_ID) FROM MB_CONTENT WHERE MESSAGE_ID IN {_IDS}"
_HIGH_WATER: Final = (
    "INSERT INTO MB_NODE_TO_LAST_PUBLISHED_ID (NODE_ID, MESSAGE_ID) VALUES (?, ?) "
    "ON CONFLICT (NODE_ID) DO UPDATE SET MESSAGE_ID = max(MESSAGE_ID, excluded.MESSAGE_ID)"
)
_SLOT: Final = (
    "INSERT INTO MB_SLOT"
    " (START_MESSAGE_ID,END_MESSAGE_ID,QUEUE_ID,LANE,MESSAGE_COUNT,MAYBE_DELIVERED,HAS_TRANSIENT)"
    " VALUES (?,?,?,?,?,?,?) ON CONFLICT DO NOTHING"
)
_IN_SLOT: Final = "QUEUE_ID IN (?, ?) AND MESSAGE_ID BETWEEN ? AND ? AND (MESSAGE_ID >> 10) & 255 = ?"
_PURGE_GROUPS: Final = (
    "DELETE FROM MB_MESSAGE_GROUP WHERE MESSAGE_ID BETWEEN ? AND ? AND QUEUE_ID = ? AND (MESSAGE_ID >> 10) & 255 = ?"
)
_PURGE_EXPIRATIONS: Final = (
    f"DELETE FROM MB_EXPIRATION_DATA WHERE MESSAGE_ID IN (SELECT MESSAGE_ID FROM MB_METADATA WHERE {_IN_SLOT})"
)


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Commit what the block does, or roll all of it back after an error."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
        raise


def write(
    connection: sqlite3.Connection,
    files: ContentFiles,
    node_id: str,
    batch: Batch,
    shared: list[Message],
    transient: Set[int],
    recounts: Mapping[int, Sequence[int]],
    high_water: int,
) -> None:
    """Write `batch` in one transaction; `transient` are the ids stored under the negative of their queue's id.

    `shared` are its messages with a content id, `recounts` are ids by the number of deliveries that they get.
    `high_water` is 0 when the recorded one needs no change.
    """
    inline = [message for message in batch.inserts if not message.content_id] if shared else batch.inserts
    named = {message.content_id for message in batch.deletes if message.content_id}
    expiring = [message for message in batch.inserts if message.due]
    expired = [message.id for message in batch.deletes if message.due]
    is_large = sum(map(len, map(_BODY, inline))) > _LARGE_BATCH
    step = _LARGE_ROWS_PER_INSERT if is_large else _ROWS_PER_INSERT
    has_branches = bool(batch.prepared or batch.resolved)
    has_others = bool(shared or named or recounts or expiring or expired or batch.keyed or batch.appends)
    has_others = has_others or bool(batch.grouped or batch.ungrouped)
    if not (has_others or has_branches or batch.purges or batch.slots or high_water):
        if not batch.deletes and len(inline) <= step:
            _insert_inline(connection, inline, transient)
            return
        if not inline:
            connection.execute(_DELETE, _array([message.id for message in batch.deletes]))
            return
    with _transaction_with_files(connection, files) as discarded:
        if batch.keyed:
            claim_keys(connection, batch)
            inline, shared, expiring = (_without(part, batch.duplicates) for part in (inline, shared, expiring))
        for start in range(0, len(inline), step):
            _insert_inline(connection, inline[start : start + step], transient)
        if shared:
            contents = {message.content_id: message for message in shared}
            _insert_content(connection, files, contents)
            hashes = {content_id: hash_of_body(message) for content_id, message in contents.items()}
            _insert_shared(connection, shared, hashes, transient)
        if batch.appends:
            append_segments(connection, batch)
        if expiring:
            connection.execute(_EXPIRATIONS, _expirations(expiring, transient))
        if batch.grouped:
            connection.execute(_GROUPS, _group_rows(batch))
        recount(connection, recounts)
        if batch.deletes:
            connection.execute(_DELETE, _array([message.id for message in batch.deletes]))
        if expired:
            connection.execute(_DELETE_EXPIRATIONS, _array(expired))
        if batch.ungrouped:
            connection.execute(_DELETE_GROUPS, _array(batch.ungrouped))
        if has_branches:
            change_branches(connection, batch)
        if batch.purges:
            named |= _purge(connection, batch.purges)
        if named:
            discarded.update(_delete_orphans(connection, files, named))
        if high_water:
            connection.execute(_HIGH_WATER, (node_id, high_water))
        for slot in batch.slots:
            place = (slot.start, slot.end, slot.queue_id, slot.lane, slot.count, slot.maybe_delivered, slot.transient)
            connection.execute(_SLOT, place)


@contextmanager
def _transaction_with_files(connection: sqlite3.Connection, files: ContentFiles) -> Iterator[Counter[int]]:
    """Commit what the block does, and after that discard the bodies that it has counted by file."""
    discarded: Counter[int] = Counter()
    try:
        with transaction(connection):
            yield discarded
    except BaseException as error:
        # After a failed sync a crash may still leave the log complete, and then its rows need their bodies.
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        files.roll_back(is_certain=code != sqlite3.SQLITE_IOERR)
        raise
    files.commit()
    files.discard(discarded)


def bodies_in_files(connection: sqlite3.Connection) -> dict[int, int]:
    """Return by file how many of its bodies are named by rows."""
    segments, bodies = connection.execute(_BODIES_IN_FILES).fetchone()
    return dict(zip(_numbers(segments), _numbers(bodies), strict=True))


def recount(connection: sqlite3.Connection, ids_by_deliveries: Mapping[int, Sequence[int]]) -> None:
    """Set how often these messages were delivered, as far as they are stored."""
    for deliveries, message_ids in ids_by_deliveries.items():
        connection.execute(_RECOUNT, (deliveries, *_array(message_ids)))


def _insert_inline(connection: sqlite3.Connection, messages: list[Message], transient: Set[int]) -> None:
    values: list[Any] = []
    digest, mask = xxh3_64_intdigest, CHECKSUM_MASK
    if transient or any(map(_REDELIVERED, messages)):
        for message in messages:
            queue_id = -message.queue.queue_id if message.id in transient else message.queue.queue_id
            metadata = message.routing + message.header[4:-1]
            payload = message.body[4:-1] if message.chunks is None else message.payload
            checksum = digest(metadata, digest(payload)) & mask
            values += (message.id, queue_id, message.redelivered, metadata, payload, checksum)
        _insert(connection, _INLINE_INTO, 6, values)
        return
    for message in messages:
        metadata = message.routing + message.header[4:-1]
        payload = message.body[4:-1] if message.chunks is None else message.payload
        values += (message.id, message.queue.queue_id, metadata, payload, digest(metadata, digest(payload)) & mask)
    _insert(connection, _NEW_INTO, 5, values)


def _insert_shared(
    connection: sqlite3.Connection, messages: list[Message], hashes: Mapping[int, int], transient: Set[int]
) -> None:
    for start in range(0, len(messages), _ROWS_PER_INSERT):
        values: list[Any] = []
        for message in messages[start : start + _ROWS_PER_INSERT]:
            queue_id = -message.queue.queue_id if message.id in transient else message.queue.queue_id
            metadata = metadata_of(message)
            checksum = checksum_of(metadata, hashes[message.content_id])
            values += (message.id, queue_id, message.content_id, message.redelivered, metadata, checksum)
        _insert(connection, _SHARED_INTO, 6, values)


def _insert_content(connection: sqlite3.Connection, files: ContentFiles, contents: dict[int, Message]) -> None:
    present = set(_numbers(connection.execute(_PRESENT, _array(contents)).fetchone()[0]))
    absent = {content_id: _pieces(message) for content_id, message in contents.items() if content_id not in present}
    large = {
        content_id: pieces for content_id, pieces in absent.items() if sum(map(len, pieces)) > MAX_CONTENT_CHUNK_SIZE
    }
    if large:
        places = zip(large, files.append(large.values()), strict=True)
        rows = [(key, -place.segment, b"%d %d" % (place.size, place.offset)) for key, place in places]
        _insert_content_rows(connection, rows)
    _insert_content_rows(
        connection,
        (
            (content_id, offset, piece)
            for content_id, pieces in absent.items()
            if content_id not in large
            for offset, piece in zip(accumulate(map(len, pieces), initial=0), pieces, strict=False)
        ),
    )


def _pieces(message: Message) -> list[memoryview]:
    """Return the body in pieces, without a copy: each chunk is a body frame as it was received."""
    return [memoryview(tail)[4:-1] for tail in ((message.body,) if message.chunks is None else message.chunks)]


def _insert_content_rows(connection: sqlite3.Connection, rows: Iterable[tuple[int, int, Any]]) -> None:
    values: list[Any] = []
    octets = 0
    for row in rows:
        values += row
        octets += len(row[2])
        if octets >= _OCTETS_PER_INSERT or len(values) == 3 * _ROWS_PER_INSERT:
            _insert(connection, _CONTENT_INTO, 3, values)
            values, octets = [], 0
    if values:
        _insert(connection, _CONTENT_INTO, 3, values)


def _delete_orphans(connection: sqlite3.Connection, files: ContentFiles, content_ids: Set[int]) -> Counter[int]:
    """Delete those of the bodies that no message uses any more; return by file how many there were."""
    ids = _array(content_ids)
    in_files = None if files.is_empty else connection.execute(_ORPHANS_IN_FILES, ids).fetchone()[0]
    connection.execute(_DELETE_ORPHANS, ids)
    return Counter(_numbers(in_files))


def _purge(connection: sqlite3.Connection, slots: Sequence[Slot]) -> set[int]:
    """Delete the messages of slots and return the content ids that they used."""
    named = f"SELECT group_concat(DISTINCT CONTENT_ID) FROM MB_METADATA WHERE {_IN_SLOT} AND CONTENT_ID IS NOT NULL"
    queue_ids = {slot.queue_id for slot in slots}
    expiring = {each for each in queue_ids if connection.execute(_HAS_EXPIRATIONS, (each, -each)).fetchone()[0]}
    content_ids: set[int] = set()
    for slot in slots:
        parameters = (slot.queue_id, -slot.queue_id, slot.start, slot.end, slot.lane)
        content_ids.update(_numbers(connection.execute(named, parameters).fetchone()[0]))
        if slot.queue_id in expiring:
            connection.execute(_PURGE_EXPIRATIONS, parameters)
        connection.execute(f"DELETE FROM MB_METADATA WHERE {_IN_SLOT}", parameters)
        connection.execute(_PURGE_GROUPS, (slot.start, slot.end, slot.queue_id, slot.lane))
    return content_ids


def _without(messages: list[Message], duplicates: Set[int]) -> list[Message]:
    return [message for message in messages if message.id not in duplicates] if duplicates else messages


def _expirations(messages: list[Message], transient: Set[int]) -> tuple[str]:
    signs = [(-1 if message.id in transient else 1) for message in messages]
    rows = [f"[{one.id},{sign * one.queue.queue_id},{one.due}]" for one, sign in zip(messages, signs, strict=True)]
    return (f"[{','.join(rows)}]",)


def _group_rows(batch: Batch) -> tuple[str]:
    rows = [f"[{row[0]},{row[1]},{row[2]}]" for row in batch.grouped if row.message_id not in batch.duplicates]
    return (f"[{','.join(rows)}]",)


def _insert(connection: sqlite3.Connection, into: str, columns: int, values: list[Any]) -> None:
    """Insert rows by the statement for the next power of two; it skips the rows with id 0 that fill it up."""
    rows = len(values) // columns
    size = 1 << (rows - 1).bit_length()
    if size > rows:
        values += [0] * (columns * (size - rows))
    connection.execute(_multi_row(into, columns, size), values)


@cache
def _multi_row(into: str, columns: int, rows: int) -> str:
    row = "(" + ",".join("?" * columns) + ")"
    selected = "0, *" if into is _NEW_INTO else "*"
    return f"INSERT INTO {into} SELECT {selected} FROM (VALUES {','.join([row] * rows)}) WHERE column1 <> 0"


def _array(ids: Iterable[int]) -> tuple[str]:
    return (f"[{','.join(map(str, ids))}]",)


def _numbers(text: str | int | None) -> list[int]:
    return [] if text is None else list(map(int, str(text).split(",")))
