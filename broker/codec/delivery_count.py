"""The headers by which a delivery tells how often its message was delivered before (contract F10)."""

from __future__ import annotations

from typing import Final

from broker.codec.field_table import FieldTable, Int64, name_of
from broker.codec.properties import FLAG_HEADERS, join_header, split_header
from broker.errors import AmqpError
from broker.message import Message, tail

_NAMES: Final = ("x-delivery-count", "x-acquired-count")
"""RabbitMQ 4.3 tells failures from all deliveries; here every delivery that was given back counts as both."""


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
