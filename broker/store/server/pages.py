"""How messages are read from a database server: a page of a slot, or a page of what expires.

Each page is read in one snapshot: first its index rows, then the bodies that there is room for.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from broker.codec.expiration import LATEST
from broker.message import STORED, TRANSIENT, Message, StorageQueue
from broker.ports.slot import Slot
from broker.ports.store import DueKey
from broker.store.rows import count_as_slot_says, damage_of, message_of, stated_size
from broker.store.server.dialect import Dialect, IndexRow

K = TypeVar("K")


@dataclass(frozen=True, slots=True)
class ReadPage(Generic[K]):
    """The messages of a page, why others are damaged, by id, and where the next one begins; None: there was nothing."""

    messages: list[Message]
    damaged: dict[int, str]
    next: K | None


async def slot_page(
    dialect: Dialect, raw: Any, queue: StorageQueue, slot: Slot, limit: int, limit_bytes: int
) -> ReadPage[int]:
    """Read the first page of `slot`."""
    await dialect.begin_read(raw)
    rows = _within(await dialect.read_slot(raw, slot, max(limit, 1)), limit_bytes)
    messages, damaged = await _read(dialect, raw, queue, rows)
    count_as_slot_says(slot, messages)
    return ReadPage(messages, damaged, rows[-1].message_id + 1 if rows else None)


async def due_page(
    dialect: Dialect, raw: Any, queue: StorageQueue, until_ms: int, after: DueKey, limit: int, limit_bytes: int
) -> ReadPage[DueKey]:
    """Read the first page of the messages that expire up to `until_ms`, behind `after`."""
    await dialect.begin_read(raw)
    keys = await dialect.read_due_keys(raw, queue.queue_id, until_ms, after, max(limit, 1))
    ids = [message_id for _, message_id in keys]
    found = {row.message_id: row for row in await dialect.read_rows(raw, queue.queue_id, ids)} if ids else {}
    rows = _within([found[message_id] for message_id in ids if message_id in found], limit_bytes)
    messages, damaged = await _read(dialect, raw, queue, rows)
    if not keys:
        return ReadPage(messages, damaged, None)
    # Without a row all of these messages are gone.
    return ReadPage(messages, damaged, keys[ids.index(rows[-1].message_id)] if rows else keys[-1])


async def listed_page(
    dialect: Dialect, raw: Any, queue: StorageQueue, message_ids: Sequence[int], limit_bytes: int
) -> ReadPage[int]:
    """Read the first page of these messages, which are ascending; the next one begins behind an id."""
    await dialect.begin_read(raw)
    found = await dialect.read_rows(raw, queue.queue_id, message_ids) if message_ids else []
    rows = _within(sorted(found), limit_bytes)
    messages, damaged = await _read(dialect, raw, queue, rows)
    return ReadPage(messages, damaged, rows[-1].message_id if rows else None)


async def next_due(dialect: Dialect, raw: Any, queue: StorageQueue, after: DueKey) -> int | None:
    """Return when the first message behind `after` expires; None when there is none."""
    await dialect.begin_read(raw)
    keys = await dialect.read_due_keys(raw, queue.queue_id, LATEST, after, 1)
    await dialect.end_read(raw)
    return keys[0][0] if keys else None


async def _read(
    dialect: Dialect, raw: Any, queue: StorageQueue, index: list[IndexRow]
) -> tuple[list[Message], dict[int, str]]:
    """Return the messages of these rows, and what is wrong with the damaged ones, by id; end the transaction."""
    inline = [row.message_id for row in index if row.body is None and not row.content_id]
    shared = sorted({row.content_id for row in index if row.content_id})
    bodies = await dialect.read_bodies(raw, inline) if inline else {}
    contents = await dialect.read_contents(raw, shared) if shared else {}
    cut = [row.message_id for row in index if row.metadata_size > len(row.metadata)]
    whole = await dialect.read_metadata(raw, cut) if cut else {}
    await dialect.end_read(raw)
    index = [row._replace(metadata=whole.get(row.message_id, row.metadata)) for row in index] if cut else index
    damaged: dict[int, str] = {}
    return list(_messages(queue, index, bodies, contents, damaged)), damaged


def _within(rows: list[IndexRow], limit_bytes: int) -> list[IndexRow]:
    """Return the first of `rows`, up to the one whose header and body reach `limit_bytes`; at least one."""
    octets = 0
    for number, row in enumerate(rows, 1):
        octets += row.metadata_size + stated_size(row.metadata)
        if octets >= limit_bytes:
            return rows[:number]
    return rows


def _messages(
    queue: StorageQueue,
    index: list[IndexRow],
    bodies: dict[int, bytes],
    contents: dict[int, bytes],
    damaged: dict[int, str],
) -> Iterable[Message]:
    """Yield the messages of a page that are whole; note in `damaged` what is wrong with the others."""
    for row in index:
        payload = row.body
        if payload is None:
            payload = contents.get(row.content_id) if row.content_id else bodies.get(row.message_id)
        damage = damage_of(row.metadata, payload, row.checksum)
        if damage or payload is None:
            damaged[row.message_id] = damage
            continue
        message = message_of(row.message_id, queue, row.metadata, payload, TRANSIENT if row.is_transient else STORED)
        message.content_id = row.content_id
        message.redelivered = row.redelivered
        yield message
