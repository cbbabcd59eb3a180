"""Reads the messages of WSO2's broker, page by page in the order of their ids (andes §2.3).

A page is bounded in messages, and what is read of bodies at once in octets, but for a message that alone is larger.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import BigInteger, ColumnElement, Connection, cast, or_, select

from broker.store.wso2.encoding import StoredMetadata, Undecodable, decode
from broker.store.wso2.lz4_blocks import decompress
from broker.store.wso2.tables import Tables

PAGE: Final = 200
"""Messages that are read at once. Their headers take 13 MB at most."""
OCTETS: Final = 4 << 20
"""Octets of bodies that are read at once."""
LIVE: Final = -1
"""DLC_QUEUE_ID of a message that is not dead."""


@dataclass(slots=True)
class StoredMessage:
    """A message without its body."""

    message_id: int
    queue_id: int
    is_dead: bool
    metadata: StoredMetadata | None
    """None when it cannot be decoded; `fault` says why."""
    fault: str = ""
    body: bytes = b""
    expires_ms: int = 0
    """When it expires, as the table of expirations says; 0 when it says nothing."""

    @property
    def is_readable(self) -> bool:
        """Is all of it there?"""
        return not self.fault


def queue_names(connection: Connection, tables: Tables) -> dict[int, str]:
    """Return the names of storage queues by their ids."""
    rows = tables["MB_QUEUE_MAPPING"]
    return {int(queue_id): name for queue_id, name in connection.execute(select(rows.c.queue_id, rows.c.queue_name))}


def last_assigned(connection: Connection, tables: Tables) -> dict[str, int]:
    """Return, by queue, the last id that was in a slot: what comes later has never been given to a consumer."""
    if "MB_QUEUE_TO_LAST_ASSIGNED_ID" not in tables:
        return {}
    rows = tables["MB_QUEUE_TO_LAST_ASSIGNED_ID"]
    return {name: int(last) for name, last in connection.execute(select(rows.c.queue_name, rows.c.message_id))}


def page(connection: Connection, tables: Tables, after: tuple[int, int]) -> list[StoredMessage]:
    """Return the first messages behind the one with these ids of message and queue."""
    rows = tables["MB_METADATA"].c
    message_id, queue_id = after
    # PostgreSQL has decimal numbers here: compared with whole ones, and ordered by them, the key serves both.
    statement = (
        select(cast(rows.message_id, BigInteger), rows.queue_id, rows.dlc_queue_id, rows.message_metadata)
        .where(rows.message_id >= message_id, or_(rows.message_id > message_id, rows.queue_id > queue_id))
        .order_by(rows.message_id, rows.queue_id)
        .limit(PAGE)
    )
    return [_row(*each) for each in connection.execute(statement)]


def _row(message_id: int, queue_id: int, dlc_queue_id: int, octets: bytes) -> StoredMessage:
    try:
        return StoredMessage(int(message_id), int(queue_id), dlc_queue_id != LIVE, decode(bytes(octets)))
    except Undecodable as error:
        return StoredMessage(int(message_id), int(queue_id), dlc_queue_id != LIVE, None, str(error))


def parts(rows: Sequence[StoredMessage]) -> Iterator[Sequence[StoredMessage]]:
    """Cut a page so that each part has no more than `OCTETS` of bodies, or one message."""
    start = octets = 0
    for place, row in enumerate(rows):
        size = row.metadata.body_size if row.metadata is not None else 0
        if octets + size > OCTETS and place > start:
            yield rows[start:place]
            start, octets = place, 0
        octets += size
    if rows:
        yield rows[start:]


def read_bodies(connection: Connection, tables: Tables, rows: Sequence[StoredMessage]) -> None:
    """Add body and expiration to those of these messages that can be read, or say what is wrong with them."""
    wanted = [row for row in rows if row.metadata is not None]
    ids = [row.message_id for row in wanted]
    bodies = _chunks(connection, tables, [row.message_id for row in wanted if _body_size(row)])
    expirations = _expirations(connection, tables, ids)
    for row in wanted:
        row.expires_ms = expirations.get(row.message_id, 0)
        try:
            row.body = _body(row, bodies.get(row.message_id, ()))
        except Undecodable as error:
            row.fault = str(error)


def _body_size(row: StoredMessage) -> int:
    return row.metadata.body_size if row.metadata is not None else 0


def _body(row: StoredMessage, chunks: Sequence[tuple[int, bytes]]) -> bytes:
    size, offset = _body_size(row), 0
    for place, chunk in chunks:
        if place != offset:
            raise Undecodable(f"its body has a gap at octet {offset}")
        offset += len(chunk)
    body = b"".join(chunk for _, chunk in chunks)
    if row.metadata is not None and row.metadata.is_compressed and body:
        body = decompress(body, size)
    if len(body) != size:
        raise Undecodable(f"its body has {len(body)} octets, its header says {size}")
    return body


def _chunks(
    connection: Connection, tables: Tables, message_ids: Sequence[int]
) -> Mapping[int, list[tuple[int, bytes]]]:
    found: dict[int, list[tuple[int, bytes]]] = {}
    if message_ids:
        rows = tables["MB_CONTENT"].c
        statement = (
            select(cast(rows.message_id, BigInteger), rows.content_offset, rows.message_content)
            .where(_are(rows.message_id, message_ids))
            .order_by(rows.message_id, rows.content_offset)
        )
        for message_id, offset, chunk in connection.execute(statement):
            found.setdefault(int(message_id), []).append((int(offset), bytes(chunk)))
    return found


def _expirations(connection: Connection, tables: Tables, message_ids: Sequence[int]) -> Mapping[int, int]:
    if not message_ids or "MB_EXPIRATION_DATA" not in tables:
        return {}
    rows = tables["MB_EXPIRATION_DATA"].c
    statement = select(cast(rows.message_id, BigInteger), rows.expiration_time).where(
        _are(rows.message_id, message_ids)
    )
    return {int(message_id): int(time or 0) for message_id, time in connection.execute(statement)}


def _are(column: ColumnElement[int], message_ids: Sequence[int]) -> ColumnElement[bool]:
    """Return the condition for these ids, which ascend. By the range PostgreSQL finds the index, whatever it knows
    of the table.
    """
    return column.between(message_ids[0], message_ids[-1]) & column.in_(message_ids)
