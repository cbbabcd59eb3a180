"""Looking for messages by what they say of themselves, in all queues: in pages along the primary key.

A page is bounded by the rows that are looked at, and not by those that are found.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, LargeBinary, bindparam, func, select

from broker.ports.finding import MOST_FOUND, FoundPage, FoundRow
from broker.store.sql.messages import SET_ASIDE
from broker.store.sql.schema import METADATA

_M: Final = METADATA.c


def find_messages(connection: Connection, wanted: bytes, before: int, limit: int) -> FoundPage:
    """Look at the newest messages below an id (`SearchStore.find_messages`)."""
    part = select(_M.message_id).where(_M.message_id < before).order_by(_M.message_id.desc()).limit(limit).subquery()
    seen, first = connection.execute(select(func.count(), func.min(part.c.message_id)).select_from(part)).one()
    if not seen:
        return FoundPage([], 0, None)
    rows = connection.execute(
        select(_M.message_id, _M.queue_id, _M.redelivered, _M.message_metadata)
        .where(_M.message_id >= first, _M.message_id < before, _has(connection.dialect.name, wanted))
        .order_by(_M.message_id.desc())
        .limit(MOST_FOUND)
    )
    return page_of(rows.all(), seen, first if seen >= limit else None)


def _has(dialect: str, wanted: bytes) -> ColumnElement[bool]:
    octets = bindparam("wanted", wanted, LargeBinary)
    find = func.pg_catalog.position if dialect == "postgresql" else func.instr
    return find(_M.message_metadata, octets) > 0


def page_of(rows: Sequence[Any], seen: int, last: int | None) -> FoundPage:
    """Return a page of rows with id, queue, deliveries and metadata. One that is full ends with its last row."""
    found = list(_found(rows))
    return FoundPage(found, seen, found[-1].message_id if len(found) >= MOST_FOUND else last)


def _found(rows: Iterable[Any]) -> Iterable[FoundRow]:
    for message_id, stored_under, redelivered, metadata in rows:
        queue_id = abs(stored_under)
        is_damaged = queue_id >= SET_ASIDE
        queue_id -= SET_ASIDE if is_damaged else 0
        yield FoundRow(message_id, queue_id, redelivered, bytes(metadata), stored_under < 0, is_damaged)
