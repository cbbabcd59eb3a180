"""Conversion between messages and rows, the same in every store."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from xxhash import xxh3_64, xxh3_64_intdigest

from broker.codec.expiration import note_due
from broker.codec.properties import walk_properties
from broker.errors import AmqpError
from broker.message import Message, StorageQueue, body_tails, tail
from broker.ports.slot import Slot

# maxContentChunkSize of Andes (andes §2.1): a longer body is stored apart from the message's own row.
MAX_CONTENT_CHUNK_SIZE: Final = 65_500

CHECKSUM_MASK: Final = (1 << 31) - 1
"""The bits of a hash that the column CHECKSUM keeps: it is a signed integer of 32 bits (ADR 35)."""
NO_CHECKSUM: Final = -1
"""In the place of the checksum of a row that an older program wrote."""
_HEADER_START: Final = b"\x00\x3c\x00\x00"
_FIXED_HEADER: Final = 12

_INLINE_TAIL: Final = MAX_CONTENT_CHUNK_SIZE + 5
_FRAME_MAX: Final = 131_072
_BODY_MAX: Final = _FRAME_MAX - 8
_ROW: Final = 100
"""About what a row takes beside header and body: routing, ids, its entry in the index. A time of expiration takes less.
"""


def name_large_content(messages: Iterable[Message]) -> list[Message]:
    """Set the content id of each message whose body is too long for its row, unless it has one: to the message's id.

    Returns the messages that have a content id. Call it on the event loop, before the messages are handed to another
    thread.
    """
    apart = [
        message
        for message in messages
        if message.content_id or message.chunks is not None or len(message.body) > _INLINE_TAIL
    ]
    for message in apart:
        if not message.content_id and message.size > MAX_CONTENT_CHUNK_SIZE:
            message.content_id = message.id
    return [message for message in apart if message.content_id]


def octets_in_rows(messages: Sequence[Message]) -> int:
    """Return about how many octets the rows of these messages take, without bodies that lie apart."""
    if not messages:
        return 0
    rows = len(messages) + sum([1 for message in messages if message.due])
    return sum([len(message.body) + len(message.header) for message in messages]) + _ROW * rows


def ids_by_deliveries(messages: Iterable[Message]) -> Mapping[int, list[int]]:
    """Return by number of deliveries, which is 1 at least, the ascending ids of the messages that have it.

    Call it on the event loop, before the messages are handed to another thread.
    """
    ids: defaultdict[int, list[int]] = defaultdict(list)
    for message in messages:
        ids[max(message.redelivered, 1)].append(message.id)
    for each in ids.values():
        each.sort()
    return ids


def count_as_slot_says(slot: Slot, messages: Iterable[Message]) -> None:
    """Correct how often messages that were read from a slot were delivered, by what the slot says of all of them."""
    if not slot.is_exact:
        for message in messages:
            message.redelivered = slot.deliveries(message.redelivered)


def metadata_of(message: Message) -> bytes:
    """Return the MESSAGE_METADATA column: exchange, routing key and the content header's payload."""
    return message.routing + message.header[4:-1]


def checksum_of(metadata: bytes, body_hash: int) -> int:
    """Return the CHECKSUM column: XXH3 of the metadata, with that of the body as its seed.

    Hot code has the same expression in place of a call.
    """
    return xxh3_64_intdigest(metadata, body_hash) & CHECKSUM_MASK


def hash_of_body(message: Message) -> int:
    """Return XXH3 of the body, without a copy of it."""
    if message.chunks is None:
        return xxh3_64_intdigest(memoryview(message.body)[4:-1])
    state = xxh3_64()
    for chunk in message.chunks:
        state.update(memoryview(chunk)[4:-1])
    return state.intdigest()


def damage_of(metadata: bytes, payload: bytes | None, checksum: int) -> str:
    """Return what is wrong with a stored message, as the end of a sentence; empty when nothing is.

    A row without a checksum was written by an older program: its header must be one, and fit the body.
    """
    if payload is None:
        return "its body is missing"
    if checksum == NO_CHECKSUM:
        return _misfit(metadata, payload)
    if checksum_of(metadata, xxh3_64_intdigest(payload)) == checksum:
        return ""
    size = stated_size(metadata)
    if size == len(payload):
        return "its octets do not fit its checksum"
    return f"its body has {len(payload)} octets, its header says {size}"


def stated_size(metadata: bytes) -> int:
    """Return the size of the body that the content header states (0-9-1 §4.2.6.1); 0 when it states none."""
    header = _header_in(metadata)
    return int.from_bytes(header[4:_FIXED_HEADER], "big") if len(header) >= _FIXED_HEADER else 0


def _header_in(metadata: bytes) -> bytes:
    """Return what follows the two short strings of exchange and routing key; empty when they have no end."""
    start = 0
    for _ in range(2):
        start += 1 + metadata[start] if start < len(metadata) else 1
    return metadata[start:]


def _misfit(metadata: bytes, payload: bytes) -> str:
    header = _header_in(metadata)
    try:
        metadata[: len(metadata) - len(header)].decode()
        if not header.startswith(_HEADER_START):
            return "its content header is missing"
        walk_properties(header[_FIXED_HEADER:], len(header) - _FIXED_HEADER)
    except (UnicodeDecodeError, AmqpError) as error:
        return f"its metadata cannot be read ({error})"
    size = stated_size(metadata)
    return "" if size == len(payload) else f"its body has {len(payload)} octets, its header says {size}"


def message_of(message_id: int, queue: StorageQueue, metadata: bytes, payload: bytes, state: int) -> Message:
    """Return the stored message as it was published, its body cut into frames of this broker's size."""
    routing_end = metadata[0] + 1
    routing_end += metadata[routing_end] + 1
    routing, header = metadata[:routing_end], tail(metadata[routing_end:])
    if payload and len(payload) <= _BODY_MAX:
        message = Message(message_id, queue, routing, header, tail(payload), None, state)
    else:
        message = Message(message_id, queue, routing, header, *body_tails(payload, _FRAME_MAX), state)
    note_due(message)
    return message


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
