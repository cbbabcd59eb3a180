"""The content header of a message that waits in a schedule: the store knows when it is due, and gives it back whole.

It is a header like any other, with an absolute `expiration`, by which stores find what is due (ADR 79). The octets of
the header that the publisher has sent are in it, from the properties' flags on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from broker.codec.field_table import sized
from broker.codec.properties import (
    FLAG_DELIVERY_MODE,
    FLAG_EXPIRATION,
    FLAG_HEADERS,
    PERSISTENT,
    decode_properties,
)
from broker.errors import SyntaxFault
from broker.message import tail

_FLAGS: Final = 12
"""Octets of a content header before the properties' flags (0-9-1 §4.2.6.1)."""
_PROPERTIES: Final = "properties"
_QUEUE: Final = "queue"
# Written by hand, octet by octet: who publishes messages that wait pays for each of them.
_OUTER: Final = (FLAG_HEADERS | FLAG_DELIVERY_MODE | FLAG_EXPIRATION).to_bytes(2, "big")
_PROPERTIES_ENTRY: Final = bytes((len(_PROPERTIES),)) + _PROPERTIES.encode()
_QUEUE_ENTRY: Final = bytes((len(_QUEUE),)) + _QUEUE.encode()
_PERSISTENT: Final = bytes((PERSISTENT,))


@dataclass(frozen=True, slots=True)
class Envelope:
    """What a schedule knows of a message: `header` is the tail of the content header with which it goes on."""

    header: bytes
    due: int
    """When it is due, in milliseconds since 1970."""
    queue: str = ""
    """The only queue that it is for; empty if its exchange decides when it is due."""


def sealed(header: bytes, due: int, queue: str = "") -> bytes:
    """Return the tail of the content header under which a message with this one waits until `due`."""
    entries = _PROPERTIES_ENTRY + sized(b"x", header[4 + _FLAGS : -1])
    if queue:
        entries += _QUEUE_ENTRY + sized(b"S", queue.encode("utf-8", "surrogateescape"))
    time = str(due).encode()
    return tail(b"".join((header[4:16], _OUTER, sized(b"", entries), _PERSISTENT, bytes((len(time),)), time)))


def opened(header: bytes) -> Envelope:
    """Return what is in the tail of such a header. Raises SyntaxFault when it is none."""
    outer = decode_properties(header[4:-1])
    values = {} if outer.headers is None else outer.headers.values
    inner, queue, due = values.get(_PROPERTIES), values.get(_QUEUE, ""), outer.expiration or ""
    if not isinstance(inner, bytes) or not isinstance(queue, str) or not due.isdecimal():
        raise SyntaxFault("a message of a schedule is not as schedules keep them")
    return Envelope(tail(header[4 : 4 + _FLAGS] + inner), int(due), queue)
