"""SQLite's hot statements that write: inserts, deletes, purges of messages.

Knows `sqlite3` and the layout of the message tables. Every call of `execute` releases the interpreter lock once and
has to wait for it afterwards, so each does hundreds of rows; `executemany` would release it for every row.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence, Set
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import Any, Final

from broker.message import Message
from broker.ports import Batch
from broker.slot import Slot
from broker.store.rows import MAX_CONTENT_CHUNK_SIZE, metadata_of

_ROWS_PER_INSERT: Final = 500
_IDS_PER_DELETE: Final = 5000
_OCTETS_PER_INSERT: Final = 1 << 20

_INLINE_INTO: Final = "INSERT INTO MB_METADATA (MESSAGE_ID, QUEUE_ID, REDELIVERED, MESSAGE_METADATA, MESSAGE_CONTENT) "
_SHARED_INTO: Final = "INSERT INTO MB_METADATA (MESSAGE_ID, QUEUE_ID, CONTENT_ID, REDELIVERED, MESSAGE_METADATA) "
_CONTENT_INTO: Final = "INSERT INTO MB_CONTENT (MESSAGE_ID, CONTENT_OFFSET, MESSAGE_CONTENT) "
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
    with transaction(connection):
        if batch.inserts:
            _insert(connection, batch.inserts, transient)
        orphans = _delete(connection, batch.deletes) if batch.deletes else set()
        for slot in batch.purges:
            orphans |= _purge(connection, slot)
        if orphans:
            _delete_orphans(connection, orphans)
        if high_water:
            connection.execute(_HIGH_WATER, (node_id, high_water))


def mark_redelivered(connection: sqlite3.Connection, message_ids: Sequence[int]) -> None:
    """Set the flag of these rows, as far as they are there."""
    with transaction(connection):
        for ids in _literals(message_ids):
            connection.execute(f"UPDATE MB_METADATA SET REDELIVERED = 1 WHERE MESSAGE_ID IN ({ids})")


def _insert(connection: sqlite3.Connection, messages: list[Message], transient: Set[int]) -> None:
    shared = [message for message in messages if message.content_id]
    inline = [message for message in messages if not message.content_id] if shared else messages
    for start in range(0, len(inline), _ROWS_PER_INSERT):
        part = inline[start : start + _ROWS_PER_INSERT]
        values: list[Any] = []
        for message in part:
            queue_id = message.queue.queue_id
            values += (
                message.id,
                -queue_id if message.id in transient else queue_id,
                1 if message.redelivered else 0,
                message.routing + message.header[4:-1],
                message.body[4:-1] if message.chunks is None else message.payload,
            )
        connection.execute(_multi_row(_INLINE_INTO, 5, len(part)), values)
    if shared:
        _insert_content(connection, {message.content_id: message for message in shared})
        _insert_shared(connection, shared, transient)


def _insert_shared(connection: sqlite3.Connection, messages: list[Message], transient: Set[int]) -> None:
    for start in range(0, len(messages), _ROWS_PER_INSERT):
        part = messages[start : start + _ROWS_PER_INSERT]
        values: list[Any] = []
        for message in part:
            queue_id = -message.queue.queue_id if message.id in transient else message.queue.queue_id
            redelivered = 1 if message.redelivered else 0
            values += (message.id, queue_id, message.content_id, redelivered, metadata_of(message))
        connection.execute(_multi_row(_SHARED_INTO, 5, len(part)), values)


def _insert_content(connection: sqlite3.Connection, contents: dict[int, Message]) -> None:
    present: set[int] = set()
    for ids in _literals(contents):
        found = f"SELECT group_concat(DISTINCT MESSAGE_ID) FROM MB_CONTENT WHERE MESSAGE_ID IN ({ids})"
        present |= _numbers(connection.execute(found).fetchone()[0])
    values: list[Any] = []
    octets = 0
    for content_id, message in contents.items():
        if content_id in present:
            continue
        payload = message.payload
        for offset in range(0, len(payload), MAX_CONTENT_CHUNK_SIZE):
            chunk = payload[offset : offset + MAX_CONTENT_CHUNK_SIZE]
            values += (content_id, offset, chunk)
            octets += len(chunk)
            if octets >= _OCTETS_PER_INSERT or len(values) >= 3 * _ROWS_PER_INSERT:
                connection.execute(_multi_row(_CONTENT_INTO, 3, len(values) // 3), values)
                values, octets = [], 0
    if values:
        connection.execute(_multi_row(_CONTENT_INTO, 3, len(values) // 3), values)


def _delete(connection: sqlite3.Connection, messages: list[Message]) -> set[int]:
    """Delete rows and return the content ids they named."""
    for ids in _literals([message.id for message in messages]):
        connection.execute(f"DELETE FROM MB_METADATA WHERE MESSAGE_ID IN ({ids})")
    return {message.content_id for message in messages if message.content_id}


def _purge(connection: sqlite3.Connection, slot: Slot) -> set[int]:
    """Delete the rows of a slot and return the content ids they named."""
    parameters = (slot.queue_id, -slot.queue_id, slot.start, slot.end, slot.lane)
    named = f"SELECT group_concat(DISTINCT CONTENT_ID) FROM MB_METADATA WHERE {_IN_SLOT} AND CONTENT_ID IS NOT NULL"
    content_ids = _numbers(connection.execute(named, parameters).fetchone()[0])
    connection.execute(f"DELETE FROM MB_METADATA WHERE {_IN_SLOT}", parameters)
    return content_ids


def _delete_orphans(connection: sqlite3.Connection, content_ids: set[int]) -> None:
    is_named = "SELECT 1 FROM MB_METADATA WHERE CONTENT_ID = MB_CONTENT.MESSAGE_ID"
    for ids in _literals(content_ids):
        connection.execute(f"DELETE FROM MB_CONTENT WHERE MESSAGE_ID IN ({ids}) AND NOT EXISTS ({is_named})")


@lru_cache(maxsize=64)
def _multi_row(into: str, columns: int, rows: int) -> str:
    row = "(" + ",".join("?" * columns) + ")"
    return into + "VALUES " + ",".join([row] * rows)


def _literals(ids: Iterable[int]) -> Iterator[str]:
    """Yield the ids as lists for `IN`, not too many at once. They are integers of our own: nothing to quote."""
    texts = list(map(str, map(int, ids)))
    for start in range(0, len(texts), _IDS_PER_DELETE):
        yield ",".join(texts[start : start + _IDS_PER_DELETE])


def _numbers(text: str | None) -> set[int]:
    return set(map(int, text.split(","))) if text else set()
