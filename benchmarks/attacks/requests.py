"""Encodes the requests of attacks: publishes with headers, bindings with arguments, many of each at once."""

import struct
from collections.abc import Iterable, Mapping, Sequence

from benchmarks.client import NO_WAIT, Client, queue_declare
from benchmarks.frames import FRAME_HEADER, frame, method, short_string

HEADERS = 0x2000
Field = str | int | Sequence[str] | None


def table(fields: Mapping[str, Field]) -> bytes:
    """Encode a field table of strings, integers, arrays of strings and void values."""
    entries = b"".join(short_string(name) + value(field) for name, field in fields.items())
    return struct.pack(">I", len(entries)) + entries


def value(field: Field) -> bytes:
    """Encode one value with its type tag."""
    if field is None:
        return b"V"
    if isinstance(field, int):
        return b"I" + struct.pack(">i", field)
    if isinstance(field, str):
        octets = field.encode()
        return b"S" + struct.pack(">I", len(octets)) + octets
    items = b"".join(map(value, field))
    return b"A" + struct.pack(">I", len(items)) + items


def empty_publish(exchange: str, routing_key: str, headers: Mapping[str, Field] | None = None) -> bytes:
    """Encode a `basic.publish` without a body on channel 1."""
    arguments = b"\x00\x00" + short_string(exchange) + short_string(routing_key) + b"\x00"
    properties = struct.pack(">H", HEADERS) + table(headers) if headers is not None else b"\x00\x00"
    header = struct.pack(">HHQ", 60, 0, 0) + properties
    return method(1, 60, 40, arguments) + frame(FRAME_HEADER, 1, header)


def declare_queues(names: Iterable[str], flags: int = 0) -> bytes:
    """Encode declares without an answer."""
    return b"".join(method(1, 50, 10, queue_declare(name, flags | NO_WAIT)) for name in names)


def declare_exchanges(names: Iterable[str], kind: str, *, auto_delete: bool = False) -> bytes:
    """Encode declares without an answer."""
    flags = bytes((auto_delete << 2 | NO_WAIT,))
    return b"".join(
        method(1, 40, 10, b"\x00\x00" + short_string(name) + short_string(kind) + flags + bytes(4)) for name in names
    )


def bind_queue(queue: str, exchange: str, routing_key: str = "", arguments: Mapping[str, Field] | None = None) -> bytes:
    """Encode a binding without an answer."""
    names = short_string(queue) + short_string(exchange) + short_string(routing_key)
    return method(1, 50, 20, b"\x00\x00" + names + b"\x01" + table(arguments or {}))


def bind_exchange(destination: str, source: str, routing_key: str = "") -> bytes:
    """Encode a binding of an exchange to an exchange without an answer."""
    names = short_string(destination) + short_string(source) + short_string(routing_key)
    return method(1, 40, 30, b"\x00\x00" + names + b"\x01" + bytes(4))


def delete_exchanges(names: Iterable[str]) -> bytes:
    """Encode deletes without an answer."""
    return b"".join(method(1, 40, 20, b"\x00\x00" + short_string(name) + b"\x02") for name in names)


def delete_queues(names: Iterable[str]) -> bytes:
    """Encode deletes without an answer."""
    return b"".join(method(1, 50, 40, b"\x00\x00" + short_string(name) + b"\x04") for name in names)


def finish(client: Client, requests: bytes = b"") -> None:
    """Send requests without an answer, and return when the broker has done all that came before on channel 1."""
    client.sock.sendall(requests)
    # channel.flow: it is answered in its turn and changes nothing (0-9-1 §2.2.5).
    client.call(method(1, 20, 20, b"\x01"), 20, 21)
