"""SQLite's hot statements that write: inserts, deletes, purges of messages.

Knows `sqlite3` and the layout of the message tables. Every call of `execute` lets go of the interpreter lock and has to
wait for it afterwards, for milliseconds when the event loop is busy. So a call does thousands of rows (`executemany`
would let go for each of them), a batch of one statement is its own transaction, and no statement's text depends on how
many rows there are, because preparing one lets go of the lock as well.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Set
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any, Final

from broker.message import Message
from broker.ports import Batch
from broker.slot import Slot
from broker.store.rows import metadata_of

_ROWS_PER_INSERT: Final = 2048
_LARGE_ROWS_PER_INSERT: Final = 64
_LARGE_BATCH: Final = 8 << 20
_OCTETS_PER_INSERT: Final = 1 << 20

_INLINE_INTO: Final = "MB_METADATA (MESSAGE_ID, QUEUE_ID, REDELIVERED, MESSAGE_METADATA, MESSAGE_CONTENT)"
_SHARED_INTO: Final = "MB_METADATA (MESSAGE_ID, QUEUE_ID, CONTENT_ID, REDELIVERED, MESSAGE_METADATA)"
_CONTENT_INTO: Final = "MB_CONTENT (MESSAGE_ID, CONTENT_OFFSET, MESSAGE_CONTENT)"
_IDS: Final = "(SELECT value FROM json_each(?))"
_DELETE: Final = f"DELETE FROM MB_METADATA WHERE MESSAGE_ID IN {_IDS}"
_DELETE_ORPHANS: Final = (
    f"DELETE FROM MB_CONTENT WHERE MESSAGE_ID IN {_IDS}"
    " AND NOT EXISTS (SELECT 1 FROM MB_METADATA WHERE CONTENT_ID = MB_CONTENT.MESSAGE_ID)"
)
_MARK_REDELIVERED: Final = f"UPDATE MB_METADATA SET REDELIVERED = 1 WHERE MESSAGE_ID IN {_IDS}"
_PRESENT: Final = f"SELECT group_concat(DISTINCT MESSAGE_ID) FROM MB_CONTENT WHERE MESSAGE_ID IN {_IDS}"
_HIGH_WATER: Final = (
    "INSERT INTO MB_NODE_TO_LAST_PUBLISHED_ID (NODE_ID, MESSAGE_ID) VALUES (?, ?) "
    "ON CONFLICT (NODE_ID) DO UPDATE SET MESSAGE_ID = max(MESSAGE_ID, excluded.MESSAGE_ID)"
)
_IN_SLOT: Final = "QUEUE_ID IN (?, ?) AND MESSAGE_ID BETWEEN ? AND ? AND (MESSAGE_ID >> 10) & 255 = ?"


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Commit what the block does, or nothing of it."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
        raise


def write(connection: sqlite3.Connection, node_id: str, batch: Batch, transient: Set[int], high_water: int) -> None:
    """Do `batch` in one transaction. `transient` are the ids that go under the negative queue id.

    `high_water` is 0 when the recorded one needs no change.
    """
    shared = [message for message in batch.inserts if message.content_id]
    inline = [message for message in batch.inserts if not message.content_id] if shared else batch.inserts
    named = {message.content_id for message in batch.deletes if message.content_id}
    is_large = sum([len(message.body) for message in inline]) > _LARGE_BATCH
    step = _LARGE_ROWS_PER_INSERT if is_large else _ROWS_PER_INSERT
    if not (shared or named or batch.purges or high_water):
        if not batch.deletes and len(inline) <= step:
            _insert_inline(connection, inline, transient)
            return
        if not inline:
            connection.execute(_DELETE, _array([message.id for message in batch.deletes]))
            return
    with transaction(connection):
        for start in range(0, len(inline), step):
            _insert_inline(connection, inline[start : start + step], transient)
        if shared:
            _insert_content(connection, {message.content_id: message for message in shared})
            _insert_shared(connection, shared, transient)
        if batch.deletes:
            connection.execute(_DELETE, _array([message.id for message in batch.deletes]))
        for slot in batch.purges:
            named |= _purge(connection, slot)
        if named:
            connection.execute(_DELETE_ORPHANS, _array(named))
        if high_water:
            connection.execute(_HIGH_WATER, (node_id, high_water))


def mark_redelivered(connection: sqlite3.Connection, message_ids: list[int]) -> None:
    """Set the flag of these rows, as far as they are there."""
    connection.execute(_MARK_REDELIVERED, _array(message_ids))


def _insert_inline(connection: sqlite3.Connection, messages: list[Message], transient: Set[int]) -> None:
    values: list[Any] = []
    for message in messages:
        queue_id = message.queue.queue_id
        values += (
            message.id,
            -queue_id if message.id in transient else queue_id,
            1 if message.redelivered else 0,
            message.routing + message.header[4:-1],
            message.body[4:-1] if message.chunks is None else message.payload,
        )
    _insert(connection, _INLINE_INTO, 5, values)


def _insert_shared(connection: sqlite3.Connection, messages: list[Message], transient: Set[int]) -> None:
    for start in range(0, len(messages), _ROWS_PER_INSERT):
        values: list[Any] = []
        for message in messages[start : start + _ROWS_PER_INSERT]:
            queue_id = -message.queue.queue_id if message.id in transient else message.queue.queue_id
            redelivered = 1 if message.redelivered else 0
            values += (message.id, queue_id, message.content_id, redelivered, metadata_of(message))
        _insert(connection, _SHARED_INTO, 5, values)


def _insert_content(connection: sqlite3.Connection, contents: dict[int, Message]) -> None:
    present = _numbers(connection.execute(_PRESENT, _array(contents)).fetchone()[0])
    values: list[Any] = []
    octets = 0
    for content_id, message in contents.items():
        if content_id in present:
            continue
        offset = 0
        for tail in (message.body,) if message.chunks is None else message.chunks:
            chunk = memoryview(tail)[4:-1]  # a chunk is a body frame as it came: nothing is copied to be stored
            values += (content_id, offset, chunk)
            offset += len(chunk)
            octets += len(chunk)
            if octets >= _OCTETS_PER_INSERT or len(values) == 3 * _ROWS_PER_INSERT:
                _insert(connection, _CONTENT_INTO, 3, values)
                values, octets = [], 0
    if values:
        _insert(connection, _CONTENT_INTO, 3, values)


def _purge(connection: sqlite3.Connection, slot: Slot) -> set[int]:
    """Delete the rows of a slot and return the content ids they named."""
    parameters = (slot.queue_id, -slot.queue_id, slot.start, slot.end, slot.lane)
    named = f"SELECT group_concat(DISTINCT CONTENT_ID) FROM MB_METADATA WHERE {_IN_SLOT} AND CONTENT_ID IS NOT NULL"
    content_ids = _numbers(connection.execute(named, parameters).fetchone()[0])
    connection.execute(f"DELETE FROM MB_METADATA WHERE {_IN_SLOT}", parameters)
    return content_ids


def _insert(connection: sqlite3.Connection, into: str, columns: int, values: list[Any]) -> None:
    """Insert rows by a statement for the next power of two of them; what is too many has id 0 and is left out."""
    rows = len(values) // columns
    size = 1 << (rows - 1).bit_length()
    if size > rows:
        values += [0] * (columns * (size - rows))
    connection.execute(_multi_row(into, columns, size), values)


@cache
def _multi_row(into: str, columns: int, rows: int) -> str:
    row = "(" + ",".join("?" * columns) + ")"
    return f"INSERT INTO {into} SELECT * FROM (VALUES {','.join([row] * rows)}) WHERE column1 <> 0"


def _array(ids: Iterable[int]) -> tuple[str]:
    return (f"[{','.join(map(str, ids))}]",)


def _numbers(text: str | int | None) -> set[int]:
    return set() if text is None else set(map(int, str(text).split(",")))
