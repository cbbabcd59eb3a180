"""How far messages of WSO2's broker have been moved: a row for each source, written with the messages themselves.

So a message and the fact that it has been moved are committed together, and whoever goes on after a crash begins behind
the last one. The table is made by the first import, and is no part of the schema.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import BigInteger, Boolean, Column, Connection, MetaData, insert, select, update

from broker.errors import StoreError
from broker.store.server.batch import Rows
from broker.store.sql.schema import CONTENT, EXPIRATION, METADATA, Name, Table
from broker.store.wso2.tables import PROGRESS

HERE: Final = "this database"
"""The source, when WSO2's tables lie in the database that the messages move into."""

_METADATA: Final = MetaData()
_TABLE: Final = Table(
    PROGRESS,
    _METADATA,
    Column("SOURCE", Name(), key="source", primary_key=True),
    Column("IS_DONE", Boolean, key="is_done", nullable=False),
    Column("LAST_MESSAGE_ID", BigInteger, key="message_id", nullable=False),
    Column("LAST_QUEUE_ID", BigInteger, key="queue_id", nullable=False),
    Column("LAST_ID", BigInteger, key="last_id", nullable=False),
    Column("MOVED", BigInteger, key="moved", nullable=False),
    Column("DEAD", BigInteger, key="dead", nullable=False),
    Column("PASSED_OVER", BigInteger, key="passed_over", nullable=False),
    Column("UNREADABLE", BigInteger, key="unreadable", nullable=False),
)


@dataclass(frozen=True, slots=True)
class Progress:
    """The place of the last message that is done with, in the order of the source's ids, and what has become of all."""

    message_id: int = -1
    queue_id: int = -1
    last_id: int = 0
    """The id that the last message got here."""
    moved: int = 0
    """Messages, without dead ones."""
    dead: int = 0
    passed_over: int = 0
    """Messages of queues that do not last."""
    unreadable: int = 0
    is_done: bool = False


def begin(connection: Connection, source: str) -> Progress:
    """Return how far the messages of `source` have been moved; the first time, record that it begins."""
    _METADATA.create_all(connection)
    found = read(connection, source)
    if found is None:
        found = Progress()
        connection.execute(insert(_TABLE).values(source=source, **_values(found)))
    return found


def read(connection: Connection, source: str) -> Progress | None:
    """Return how far the messages of `source` have been moved; None when nobody has begun."""
    row = connection.execute(select(_TABLE).where(_TABLE.c.source == source)).first()
    if row is None:
        return None
    values = row._mapping
    return Progress(**{each: values[_TABLE.c[each]] for each in _values(Progress())})


def _values(progress: Progress) -> dict[str, Any]:
    return {column.key: getattr(progress, column.key) for column in _TABLE.c if column.key != "source"}


def unfinished(connection: Connection) -> list[str]:
    """Return the sources whose messages have been moved in part."""
    return list(connection.scalars(select(_TABLE.c.source).where(_TABLE.c.is_done.is_(False))))


def is_done(connection: Connection, source: str) -> bool:
    """Have all messages of `source` been moved?"""
    found = read(connection, source)
    return found is not None and found.is_done


def advance(connection: Connection, source: str, before: Progress, after: Progress) -> bool:
    """Record `after` in the place of `before`; False when it is recorded already.

    Raises `StoreError` when another import is under way.
    """
    is_before = (_TABLE.c.source == source) & (_TABLE.c.message_id == before.message_id)
    is_before &= (_TABLE.c.queue_id == before.queue_id) & (_TABLE.c.is_done == before.is_done)
    if connection.execute(update(_TABLE).where(is_before).values(_values(after))).rowcount:
        return True
    if read(connection, source) == after:
        return False
    raise StoreError("another import from the same source has gone on meanwhile; start this one again")


def taken_ids(connection: Connection, message_ids: Sequence[int]) -> set[int]:
    """Return those of these ids that messages of this broker have."""
    return set(connection.scalars(select(METADATA.c.message_id).where(METADATA.c.message_id.in_(message_ids))))


def write(connection: Connection, rows: Rows) -> None:
    """Insert messages that are not there."""
    inline = ("message_id", "queue_id", "redelivered", "checksum", "message_metadata", "message_content")
    shared = ("message_id", "queue_id", "content_id", "redelivered", "checksum", "message_metadata")
    contents = ("message_id", "content_offset", "message_content")
    expirations = ("message_id", "queue_id", "expiration_time")
    for table, names, values in (
        (METADATA, inline, rows.inline),
        (METADATA, shared, rows.shared),
        (CONTENT, contents, rows.contents),
        (EXPIRATION, expirations, rows.expirations),
    ):
        if values:
            connection.execute(insert(table), [dict(zip(names, each, strict=True)) for each in values])
