"""Conversion between messages and rows, the same in every store."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from broker.message import Message, StorageQueue, body_tails, tail
from broker.ports.slot import Slot

# maxContentChunkSize of Andes (andes §2.1): a longer body is stored apart from the message's own row.
MAX_CONTENT_CHUNK_SIZE: Final = 65_500

_INLINE_TAIL: Final = MAX_CONTENT_CHUNK_SIZE + 5
_FRAME_MAX: Final = 131_072
_ROW: Final = 100
"""About what a row takes beside header and body: routing, ids, its entry in the index."""


def name_large_content(messages: Iterable[Message]) -> None:
    """Set the content id of each message whose body is too long for its row, unless it has one: to the message's id.

    Call it on the event loop, before the messages are handed to another thread.
    """
    for message in messages:
        if message.content_id or (message.chunks is None and len(message.body) <= _INLINE_TAIL):
            continue
        if message.size > MAX_CONTENT_CHUNK_SIZE:
            message.content_id = message.id


def octets_in_rows(messages: Sequence[Message]) -> int:
    """Return about how many octets the rows of these messages take, without bodies that lie apart."""
    if not messages:
        return 0
    return sum([len(message.body) + len(message.header) for message in messages]) + _ROW * len(messages)


def metadata_of(message: Message) -> bytes:
    """Return the MESSAGE_METADATA column: exchange, routing key and the content header's payload."""
    return message.routing + message.header[4:-1]


def message_of(message_id: int, queue: StorageQueue, metadata: bytes, payload: bytes, state: int) -> Message:
    """Return the stored message as it was published, its body cut into frames of this broker's size."""
    routing_end = metadata[0] + 1
    routing_end += metadata[routing_end] + 1
    body, chunks = body_tails(payload, _FRAME_MAX)
    return Message(message_id, queue, metadata[:routing_end], tail(metadata[routing_end:]), body, chunks, state)


def add_to_backlog(
    slots: dict[tuple[int, int], Slot], queue_id: int, lane: int, start: int, end: int, count: int
) -> None:
    """Extend the slot of a queue and lane by `count` rows, stored under `queue_id` or its negative."""
    key = abs(queue_id), lane
    slot = slots.get(key)
    if slot is None:
        slots[key] = Slot(*key, start, end, count, transient=queue_id < 0)
    else:
        slot.start, slot.end, slot.count = min(slot.start, start), max(slot.end, end), slot.count + count
        slot.transient |= queue_id < 0
