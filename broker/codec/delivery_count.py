"""The headers by which a delivery tells how often its message was delivered before (contract F10)."""

from __future__ import annotations

from typing import Final

from broker.codec.field_table import FieldTable, Int64, name_of
from broker.codec.properties import FLAG_HEADERS, join_header, split_header
from broker.errors import AmqpError
from broker.message import Message, tail

_NAMES: Final = ("x-delivery-count", "x-acquired-count")
"""RabbitMQ 4.3 tells failures from all deliveries; here every delivery that was given back counts as both."""


_JMS_NAME: Final = b"\x11JMSXDeliveryCount"
_FLAGS: Final = 16
"""Where the properties' flags are in the tail of a content header frame, and the properties after them."""
_PROPERTIES: Final = 18


def with_delivery_count(header: bytes, count: int) -> bytes:
    """Return the tail of a content header with the header `JMSXDeliveryCount` (JMS 1.1, section 3.5.9): the delivery is
    the `count`th of its message. All else keeps its octets, but for such a header of the publisher's.

    Hot in virtual hosts that tell it. A header whose properties or table cannot be read is returned as it is.
    """
    entry = _JMS_NAME + b"I" + count.to_bytes(4, "big")
    flags = header[_FLAGS]
    if not flags & 0x20 or header[_FLAGS + 1] & 1 or _JMS_NAME in header:
        return _with_entry(header, entry)
    place = _PROPERTIES
    if flags & 0x80:
        place += 1 + header[place]
    if flags & 0x40:
        place += 1 + header[place]
    size = int.from_bytes(header[place : place + 4], "big") + len(entry)
    return b"".join(
        (
            (int.from_bytes(header[:4], "big") + len(entry)).to_bytes(4, "big"),
            header[4:place],
            size.to_bytes(4, "big"),
            entry,
            header[place + 4 :],
        )
    )


def _with_entry(header: bytes, entry: bytes) -> bytes:
    """Likewise for a message without headers, or with one of that name."""
    try:
        start, values = split_header(header[4:-1])
        entries = FieldTable(values.get(FLAG_HEADERS, b"")[4:]).entries
    except AmqpError:
        return header
    raw = b"".join([entry, *(each for each in entries if not each.startswith(_JMS_NAME))])
    values[FLAG_HEADERS] = len(raw).to_bytes(4, "big") + raw
    return tail(join_header(start, values))


def counted_header(message: Message) -> bytes:
    """Return the tail of the content header of a message that is delivered again, with its number of deliveries.

    All else keeps its octets. A header whose properties or table cannot be read is returned as it is.
    """
    try:
        start, values = split_header(message.header_payload)
        entries = FieldTable(values.get(FLAG_HEADERS, b"")[4:]).entries
    except AmqpError:
        return message.header
    counts = FieldTable.of(dict.fromkeys(_NAMES, Int64(message.redelivered)))
    raw = b"".join([*(entry for entry in entries if name_of(entry) not in _NAMES), counts.raw])
    values[FLAG_HEADERS] = len(raw).to_bytes(4, "big") + raw
    return tail(join_header(start, values))
