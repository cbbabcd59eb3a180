"""The octets of a stream's messages in the store: records, one after the other, of which several make a segment.

A record is the message's id, which tells when it was published, the lengths of its parts, and the parts: exchange and
routing key as two short strings, the content header's payload, and the body as the tail of one frame.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from broker.codec.field_table import FieldTable, Int64
from broker.codec.properties import FLAG_HEADERS, decode_properties, join_header, split_header
from broker.errors import AmqpError
from broker.message import MESSAGE_OVERHEAD, Message, body_tails, published_ms, tail, weight_of

OFFSET: Final = "x-stream-offset"
"""The header in which each delivery tells its offset."""
FILTER_VALUE: Final = "x-stream-filter-value"
"""The header by which a publisher says to which consumers with a filter its message goes."""

SEGMENT_OCTETS: Final = 60_000
"""Octets up to which messages are put into one segment: so much lies in one row."""
_FRAME_MAX: Final = 131_072
_BODY_TAIL: Final = _FRAME_MAX - 8 + 5
_HEAD: Final = struct.Struct(">QHII")
_OFFSET: Final = struct.Struct(">q").pack
_MARK: Final = 0x5EED_0FF5_E75E_ED00
"""A number that stands where the offset will be, while the header around it is made."""
_MARKED: Final = _OFFSET(_MARK)
_FIXED_HEADER: Final = 12
_REMEMBERED: Final = 256
"""Headers that are remembered, of up to so many octets each."""
_SMALL: Final = 1024


@dataclass(frozen=True, slots=True)
class NewSegment:
    """A segment without a place yet: how many messages it has, when the last of them was published, and its octets."""

    count: int
    last_ms: int
    content: bytes


class StreamRecord(NamedTuple):
    """A message of a stream as it is delivered, to any number of consumers: `header` tells its offset."""

    offset: int
    id: int
    routing: bytes
    header: bytes
    body: bytes
    chunks: list[bytes] | None
    weight: int
    """Octets of memory that it occupies."""

    @property
    def published_ms(self) -> int:
        """When it was published, in milliseconds since 1970."""
        return published_ms(self.id)


def encode_segments(messages: Sequence[Message]) -> list[NewSegment]:
    """Return segments of these messages, in their order. A message that is larger than a segment has one alone."""
    segments: list[NewSegment] = []
    parts: list[bytes] = []
    count = octets = last = 0
    pack, size = _HEAD.pack, _HEAD.size
    for message in messages:
        routing, header, body = message.routing, message.header[4:-1], message.body
        if message.chunks is not None:
            body = tail(message.payload)
        record = size + len(routing) + len(header) + len(body)
        if count and octets + record > SEGMENT_OCTETS:
            segments.append(NewSegment(count, published_ms(last), b"".join(parts)))
            parts, count, octets, last = [], 0, 0, 0
        parts += (pack(message.id, len(routing), len(header), len(body)), routing, header, body)
        count += 1
        octets += record
        last = max(last, message.id)
    if count:
        segments.append(NewSegment(count, published_ms(last), b"".join(parts)))
    return segments


class RecordReader:
    """Makes records as they are delivered. Headers that differ in nothing but the offset are put together once."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[bytes, tuple[bytes, bytes]] = {}

    def decode(self, content: bytes, first: int, count: int) -> list[StreamRecord]:
        """Return the `count` records of a segment, whose first message has the offset `first`.

        Raises `ValueError` for what is no segment of so many. Hot.
        """
        records: list[StreamRecord] = []
        unpack, size, known, number = _HEAD.unpack_from, _HEAD.size, self._known, _OFFSET
        new, add = tuple.__new__, records.append  # half of what StreamRecord(…) takes
        place = 0
        try:
            for offset in range(first, first + count):
                message_id, routing_size, header_size, body_size = unpack(content, place)
                start = place + size
                middle = start + routing_size
                end = middle + header_size
                place = end + body_size
                payload, body = content[middle:end], content[end:place]
                parts = known.get(payload) or self._parts_around(payload)
                header = parts[0] + number(offset) + parts[1]
                chunks = None
                if body_size > _BODY_TAIL:
                    body, chunks = body_tails(body[4:-1], _FRAME_MAX)
                weight = MESSAGE_OVERHEAD + routing_size + len(header) + body_size
                routing = content[start:middle]
                add(new(StreamRecord, (offset, message_id, routing, header, body, chunks, weight)))
        except struct.error as error:
            raise ValueError(str(error)) from None
        if place != len(content):
            raise ValueError(f"{len(content)} octets for {count} records that end at {place}")
        return records

    def of_messages(self, messages: Iterable[Message], first: int) -> list[StreamRecord]:
        """Return the records of messages that were appended from the offset `first` on."""
        records: list[StreamRecord] = []
        known = self._known
        for offset, message in enumerate(messages, first):
            payload = message.header[4:-1]
            parts = known.get(payload) or self._parts_around(payload)
            header, chunks = parts[0] + _OFFSET(offset) + parts[1], message.chunks
            weight = weight_of(message.routing, header, message.body, chunks)
            records.append(StreamRecord(offset, message.id, message.routing, header, message.body, chunks, weight))
        return records

    def _parts_around(self, payload: bytes) -> tuple[bytes, bytes]:
        """Return what stands before and after the offset in the header frame's tail of a delivery.

        Of a header that cannot be read the properties are left out: nobody has checked it.
        """
        entry = FieldTable.of({OFFSET: Int64(_MARK)}).raw
        entries: list[bytes] = []
        try:
            start, values = split_header(payload)
            entries = FieldTable(values.get(FLAG_HEADERS, b"")[4:]).entries
        except AmqpError:
            start, values = payload[:_FIXED_HEADER] + bytes(2), {}
        name = entry[: 1 + entry[0]]
        raw = b"".join([entry, *(each for each in entries if not each.startswith(name))])
        values[FLAG_HEADERS] = len(raw).to_bytes(4, "big") + raw
        frame = tail(join_header(start, values))
        at = frame.index(entry) + len(entry) - len(_MARKED)
        parts = frame[:at], frame[at + len(_MARKED) :]
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        if len(payload) <= _SMALL:
            self._known[payload] = parts
        return parts


def filter_value(header: bytes) -> str | None:
    """Return what the header of a record (a frame's tail) says to filters; None if it says nothing."""
    if FILTER_VALUE.encode() not in header:
        return None
    try:
        headers = decode_properties(header[4:-1]).headers
        value = None if headers is None else headers.values.get(FILTER_VALUE)
    except AmqpError:
        return None
    return value if isinstance(value, str) else None
