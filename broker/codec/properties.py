"""The content header: body size and the fourteen properties of a message (0-9-1 §4.2.6.1).

A message keeps the payload of its header frame as received, and these functions read properties from it on demand. The
path from publish to deliver must not decode all properties: that is too slow for every message.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from broker.codec.constants import BASIC_CLASS
from broker.codec.field_table import FieldTable
from broker.errors import FrameFault, SyntaxFault

FLAG_CONTENT_TYPE: Final = 1 << 15
FLAG_CONTENT_ENCODING: Final = 1 << 14
FLAG_HEADERS: Final = 1 << 13
FLAG_DELIVERY_MODE: Final = 1 << 12
FLAG_PRIORITY: Final = 1 << 11
FLAG_CORRELATION_ID: Final = 1 << 10
FLAG_REPLY_TO: Final = 1 << 9
FLAG_EXPIRATION: Final = 1 << 8
FLAG_MESSAGE_ID: Final = 1 << 7
FLAG_TIMESTAMP: Final = 1 << 6
FLAG_TYPE: Final = 1 << 5
FLAG_USER_ID: Final = 1 << 4
FLAG_APP_ID: Final = 1 << 3
FLAG_CLUSTER_ID: Final = 1 << 2
FLAG_CONTINUATION: Final = 1
_FLAG_WITHOUT_PROPERTY: Final = 2

PERSISTENT: Final = 2

_TEXT: Final = ("utf-8", "surrogateescape")

# Class id, weight and body size lie before the flags.
_FLAGS_OFFSET: Final = 12


@dataclass(frozen=True, slots=True)
class BasicProperties:
    """The properties of a message. None means unset, which differs from empty. `timestamp` is in seconds since 1970.

    Octets of a text that are no UTF-8 are lone surrogates in it (PEP 383).
    """

    content_type: str | None = None
    content_encoding: str | None = None
    headers: FieldTable | None = None
    delivery_mode: int | None = None
    priority: int | None = None
    correlation_id: str | None = None
    reply_to: str | None = None
    expiration: str | None = None
    message_id: str | None = None
    timestamp: int | None = None
    type: str | None = None
    user_id: str | None = None
    app_id: str | None = None
    cluster_id: str | None = None


def decode_properties(header_payload: bytes) -> BasicProperties:
    """Return all properties, their headers validated.

    Raises SyntaxFault when malformed, FrameFault for flags of more properties. Class id, weight and body size are not
    checked.
    """
    flags, offset = _read_flags(header_payload)
    values: dict[str, Any] = {}
    name = ""
    try:
        for flag, name, read, _ in _PROPERTIES:
            if flags & flag:
                values[name], offset = read(header_payload, offset)
    except (IndexError, struct.error):
        raise SyntaxFault(f"content header: ends inside the property {name}") from None
    if offset != len(header_payload):
        raise SyntaxFault("content header: the properties do not end where the frame does")
    if headers := values.get("headers"):
        headers.validate()
    return BasicProperties(**values)


def walk_properties(octets: bytes, end: int) -> tuple[int, int, int]:
    """Step over the properties in `octets[:end]`, which start with their flags; return the flags, the delivery mode and
    where reply_to stands, 0 for what is unset.

    Decodes no other property, but raises SyntaxFault unless the properties end at `end`.
    """
    if end < 2:
        raise SyntaxFault("content header: ends inside the property flags")
    flags, offset = octets[0] << 8 | octets[1], 2
    if flags & FLAG_CONTINUATION:
        flags, offset = _read_flags(bytes(_FLAGS_OFFSET) + octets[:end])
        offset -= _FLAGS_OFFSET
    mode = reply_to = 0
    steps = _known_steps.get(flags)
    if steps is None:
        steps = _steps_of(flags)
    try:
        for size in steps:
            if size == _SIZED_SHORT:
                offset += 1 + octets[offset]
            elif size == _DELIVERY_MODE:
                mode = octets[offset]
                offset += 1
            elif size == _REPLY_TO:
                reply_to = offset
                offset += 1 + octets[offset]
            elif size == _SIZED_LONG:
                offset += 4 + _read_long(octets, offset)[0]
            else:
                offset += size
    except (IndexError, struct.error):
        offset = -1
    if offset != end:
        raise SyntaxFault("content header: the properties do not end where the frame does")
    return flags, mode, reply_to


def read_expiration(header_payload: bytes) -> str | None:
    """Return the property `expiration` of a content header that is not malformed; None when it is unset."""
    offset = _place_of(FLAG_EXPIRATION, header_payload)
    return _read_short_string(header_payload, offset)[0] if offset else None


def read_priority(header_payload: bytes) -> int:
    """Return the property `priority` of a content header that is not malformed; 0 when it is unset."""
    offset = _place_of(FLAG_PRIORITY, header_payload)
    return header_payload[offset] if offset else 0


def _place_of(wanted: int, header_payload: bytes) -> int:
    """Return where a property stands; 0 when it is unset."""
    flags, offset = _read_flags(header_payload)
    if not flags & wanted:
        return 0
    for flag, size in _SIZES:
        if flag == wanted:
            break
        if flags & flag:
            if size == _SIZED_SHORT:
                offset += 1 + header_payload[offset]
            elif size == _SIZED_LONG:
                offset += 4 + _read_long(header_payload, offset)[0]
            else:
                offset += size
    return offset


def split_header(header_payload: bytes) -> tuple[bytes, dict[int, bytes]]:
    """Return what lies before the properties, and the octets of each property that is set, by its flag.

    Raises SyntaxFault unless the properties end with the payload. No value is decoded.
    """
    flags, start = _read_flags(header_payload)
    values: dict[int, bytes] = {}
    offset = start
    try:
        for flag, size in _SIZES:
            if flags & flag:
                end = offset + size
                if size == _SIZED_SHORT:
                    end = offset + 1 + header_payload[offset]
                elif size == _SIZED_LONG:
                    end = offset + 4 + _read_long(header_payload, offset)[0]
                values[flag] = header_payload[offset:end]
                offset = end
    except (IndexError, struct.error):
        offset = -1
    if offset != len(header_payload):
        raise SyntaxFault("content header: the properties do not end where the frame does")
    return header_payload[:start], values


def join_header(start: bytes, values: Mapping[int, bytes]) -> bytes:
    """Return the payload of the header frame that has these properties; the reverse of `split_header`."""
    (flags,) = _read_short(start, _FLAGS_OFFSET)
    flags &= FLAG_CONTINUATION | _FLAG_WITHOUT_PROPERTY
    parts = [start[:_FLAGS_OFFSET], b"", start[_FLAGS_OFFSET + 2 :]]
    for flag, _ in _SIZES:
        if flag in values:
            flags |= flag
            parts.append(values[flag])
    parts[1] = struct.pack(">H", flags)
    return b"".join(parts)


def encode_header(body_size: int, properties: BasicProperties) -> bytes:
    """Return the payload of the header frame. Raises ValueError when a property does not fit its field."""
    flags = 0
    parts = []
    for flag, name, _, write in _PROPERTIES:
        value = getattr(properties, name)
        if value is not None:
            flags |= flag
            try:
                parts.append(write(value))
            except struct.error as error:
                raise ValueError(f"content header: the property {name}: {error}") from None
    return struct.pack(">HHQH", BASIC_CLASS, 0, body_size, flags) + b"".join(parts)


def _read_flags(header_payload: bytes) -> tuple[int, int]:
    """Return the flags and the offset of the first property. A second word of flags is allowed if it is 0.

    The flag that is left over, 2, means nothing and travels on, as with RabbitMQ.
    """
    try:
        (flags,) = _read_short(header_payload, _FLAGS_OFFSET)
        if not flags & FLAG_CONTINUATION:
            return flags, _FLAGS_OFFSET + 2
        if _read_short(header_payload, _FLAGS_OFFSET + 2)[0]:
            raise FrameFault("content header: property flags go on past the fourteen properties")
        return flags - FLAG_CONTINUATION, _FLAGS_OFFSET + 4
    except struct.error:
        raise SyntaxFault("content header: ends inside the property flags") from None


_SIZED_SHORT: Final = -1
_SIZED_LONG: Final = -4
_SIZES: Final = (
    (0x8000, _SIZED_SHORT),
    (0x4000, _SIZED_SHORT),
    (0x2000, _SIZED_LONG),
    (0x1000, 1),
    (0x0800, 1),
    (0x0400, _SIZED_SHORT),
    (0x0200, _SIZED_SHORT),
    (0x0100, _SIZED_SHORT),
    (0x0080, _SIZED_SHORT),
    (0x0040, 8),
    (0x0020, _SIZED_SHORT),
    (0x0010, _SIZED_SHORT),
    (0x0008, _SIZED_SHORT),
    (0x0004, _SIZED_SHORT),
)

_DELIVERY_MODE: Final = -2
_REPLY_TO: Final = -3
_STEPS: Final = tuple(
    (flag, {FLAG_DELIVERY_MODE: _DELIVERY_MODE, FLAG_REPLY_TO: _REPLY_TO}.get(flag, size)) for flag, size in _SIZES
)
_MOST_STEPS: Final = 1024
"""Combinations of flags that are remembered: clients use a few."""
_known_steps: Final[dict[int, tuple[int, ...]]] = {}


def _steps_of(flags: int) -> tuple[int, ...]:
    """Return the sizes of the properties with these flags, in their order, and marks for those that are looked at."""
    if len(_known_steps) == _MOST_STEPS:
        _known_steps.clear()
    steps = _known_steps[flags] = tuple(size for flag, size in _STEPS if flags & flag)
    return steps


_read_short = struct.Struct(">H").unpack_from
_read_long = struct.Struct(">I").unpack_from
_read_longlong = struct.Struct(">Q").unpack_from


def _read_short_string(payload: bytes, offset: int) -> tuple[str, int]:
    end = offset + 1 + payload[offset]
    return str(payload[offset + 1 : end], *_TEXT), end


def _read_octet(payload: bytes, offset: int) -> tuple[int, int]:
    return payload[offset], offset + 1


def _read_timestamp(payload: bytes, offset: int) -> tuple[int, int]:
    return _read_longlong(payload, offset)[0], offset + 8


def _read_headers(payload: bytes, offset: int) -> tuple[FieldTable, int]:
    end = offset + 4 + _read_long(payload, offset)[0]
    return FieldTable(payload[offset + 4 : end]), end


def _write_short_string(value: str) -> bytes:
    encoded = value.encode(*_TEXT)
    return struct.pack(">B", len(encoded)) + encoded


def _write_octet(value: int) -> bytes:
    return struct.pack(">B", value)


def _write_timestamp(value: int) -> bytes:
    return struct.pack(">Q", value)


def _write_headers(value: FieldTable) -> bytes:
    return struct.pack(">I", len(value.raw)) + value.raw


_Codec = tuple[Callable[[bytes, int], tuple[Any, int]], Callable[[Any], bytes]]
_SHORT_STRING: Final[_Codec] = (_read_short_string, _write_short_string)
_OCTET: Final[_Codec] = (_read_octet, _write_octet)

# In the order on the wire.
_PROPERTIES: Final = (
    (FLAG_CONTENT_TYPE, "content_type", *_SHORT_STRING),
    (FLAG_CONTENT_ENCODING, "content_encoding", *_SHORT_STRING),
    (FLAG_HEADERS, "headers", _read_headers, _write_headers),
    (FLAG_DELIVERY_MODE, "delivery_mode", *_OCTET),
    (FLAG_PRIORITY, "priority", *_OCTET),
    (FLAG_CORRELATION_ID, "correlation_id", *_SHORT_STRING),
    (FLAG_REPLY_TO, "reply_to", *_SHORT_STRING),
    (FLAG_EXPIRATION, "expiration", *_SHORT_STRING),
    (FLAG_MESSAGE_ID, "message_id", *_SHORT_STRING),
    (FLAG_TIMESTAMP, "timestamp", _read_timestamp, _write_timestamp),
    (FLAG_TYPE, "type", *_SHORT_STRING),
    (FLAG_USER_ID, "user_id", *_SHORT_STRING),
    (FLAG_APP_ID, "app_id", *_SHORT_STRING),
    (FLAG_CLUSTER_ID, "cluster_id", *_SHORT_STRING),
)
