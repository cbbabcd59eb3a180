"""AMQP 0-9-1 frames encoded ahead of a measurement.

The broker's own codec is not used: a fault in it would then be on both sides of a measurement, and stay unseen.
"""

import struct
from collections.abc import Mapping
from itertools import repeat

FRAME_METHOD, FRAME_HEADER, FRAME_BODY, FRAME_HEARTBEAT = 1, 2, 3, 8
FRAME_END = 0xCE
# Header and end octet around each payload (0-9-1 §4.2.3).
FRAME_OVERHEAD = 8
PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"

Argument = int | str

FRAME_START = struct.Struct(">BHI")
METHOD_ID = struct.Struct(">HH")
TAG = struct.Struct(">Q")
ACK = struct.Struct(">11sQBB")


def short_string(text: str) -> bytes:
    """Encode a short string."""
    raw = text.encode()
    return bytes((len(raw),)) + raw


def frame(frame_type: int, channel: int, payload: bytes) -> bytes:
    """Encode one frame."""
    return FRAME_START.pack(frame_type, channel, len(payload)) + payload + b"\xce"


def method(channel: int, class_id: int, method_id: int, arguments: bytes = b"") -> bytes:
    """Encode one method frame."""
    return frame(FRAME_METHOD, channel, METHOD_ID.pack(class_id, method_id) + arguments)


def long_string(text: str) -> bytes:
    """Encode a long string."""
    raw = text.encode()
    return struct.pack(">I", len(raw)) + raw


def table(values: Mapping[str, Argument]) -> bytes:
    """Encode a field table of numbers, texts and booleans."""
    pairs = b""
    for name, value in values.items():
        if isinstance(value, bool):
            encoded = b"t" + bytes((value,))
        elif isinstance(value, int):
            encoded = b"l" + struct.pack(">q", value)
        else:
            encoded = b"S" + long_string(value)
        pairs += short_string(name) + encoded
    return struct.pack(">I", len(pairs)) + pairs


KEY_HEADER = "x-dedup-id"
KEY_DIGITS = 16
NO_HEADERS: Mapping[str, Argument] = {}


def content(
    channel: int,
    body: bytes,
    *,
    persistent: bool,
    frame_max: int,
    priority: int = 0,
    expiration: str = "",
    headers: Mapping[str, Argument] = NO_HEADERS,
) -> bytes:
    """Encode content header and body frames; the body is cut where `frame_max` demands. A `priority` or `expiration`
    that is set is among the properties, and so are `headers`.
    """
    # The properties that most clients send: content-type and delivery-mode.
    flags = 0x8000 | 0x1000 | (0x0800 if priority else 0) | (0x0100 if expiration else 0) | (0x2000 if headers else 0)
    properties = struct.pack(">H", flags) + short_string("application/octet-stream")
    properties += table(headers) if headers else b""
    properties += bytes((1 + persistent,))
    properties += bytes((priority,)) if priority else b""
    properties += short_string(expiration) if expiration else b""
    header = struct.pack(">HHQ", 60, 0, len(body)) + properties
    step = frame_max - FRAME_OVERHEAD
    pieces = [frame(FRAME_BODY, 1, body[at : at + step]) for at in range(0, len(body), step)]
    return frame(FRAME_HEADER, channel, header) + b"".join(pieces)


def publish(
    exchange: str,
    routing_key: str,
    size: int,
    *,
    persistent: bool,
    frame_max: int,
    priority: int = 0,
    expiration: str = "",
    headers: Mapping[str, Argument] = NO_HEADERS,
) -> bytes:
    """Encode one whole `basic.publish` on channel 1 with a body of `size` zero octets."""
    arguments = b"\x00\x00" + short_string(exchange) + short_string(routing_key) + b"\x00"
    return method(1, 60, 40, arguments) + content(
        1,
        bytes(size),
        persistent=persistent,
        frame_max=frame_max,
        priority=priority,
        expiration=expiration,
        headers=headers,
    )


def key_offset(message: bytes) -> int:
    """Return where the key of an encoded publish lies."""
    name = short_string(KEY_HEADER) + b"S"
    return message.index(name) + len(name) + 4


def first_body_offset(message: bytes) -> int:
    """Return where the first body octet of an encoded publish lies."""
    method_size = FRAME_START.unpack_from(message, 0)[2] + FRAME_OVERHEAD
    header_size = FRAME_START.unpack_from(message, method_size)[2] + FRAME_OVERHEAD
    return int(method_size + header_size + FRAME_START.size)


def ack_head(channel: int) -> bytes:
    """Return the eleven octets every `basic.ack` frame of `channel` starts with."""
    return FRAME_START.pack(FRAME_METHOD, channel, 13) + METHOD_ID.pack(60, 80)


def nack_head(channel: int) -> bytes:
    """Return the eleven octets every `basic.nack` frame of `channel` starts with."""
    return FRAME_START.pack(FRAME_METHOD, channel, 13) + METHOD_ID.pack(60, 120)


def ack(tag: int, *, multiple: bool) -> bytes:
    """Encode one `basic.ack` on channel 1."""
    return ACK.pack(ack_head(1), tag, multiple, FRAME_END)


def ack_run(first: int, last: int) -> bytes:
    """Encode a `basic.ack` for each tag from `first` to `last`."""
    tags = range(first, last + 1)
    return b"".join(map(ACK.pack, repeat(ack_head(1)), tags, repeat(0), repeat(FRAME_END)))


def requeue_run(first: int, last: int) -> bytes:
    """Encode a `basic.nack` with requeue for each tag from `first` to `last`."""
    tags = range(first, last + 1)
    return b"".join(map(ACK.pack, repeat(nack_head(1)), tags, repeat(2), repeat(FRAME_END)))


def ack_every(step: int, acked: int, received: int) -> tuple[bytes, int]:
    """Return the multiple acks due after `received` deliveries, one every `step`, and the last tag acked."""
    last = received - (received - acked) % step
    tags = range(acked + step, last + 1, step)
    return b"".join([ack(tag, multiple=True) for tag in tags]), last
