"""The headers CC and BCC: further routing keys of a message (contract B8)."""

from __future__ import annotations

from typing import Final

from broker.codec.field_table import FieldTable
from broker.codec.properties import BasicProperties, encode_header
from broker.errors import PreconditionFailed
from broker.message import tail

_COPIES: Final = ("CC", "BCC")
"""Headers whose values are further routing keys, in RabbitMQ's order."""


def keys_of(routing_key: str, headers: FieldTable | None) -> tuple[str, ...]:
    """Return the routing key and those in the headers, each once. Raises `PreconditionFailed` for what are no keys."""
    if headers is None:
        return (routing_key,)
    keys = {routing_key: None}
    for name in _COPIES:
        keys |= dict.fromkeys(_keys_in(headers, name))
    return tuple(keys)


def without_bcc(header: bytes, properties: BasicProperties) -> bytes:
    """Return the tail of a content header, whose properties are known, as it travels on: without BCC."""
    headers = properties.headers
    if headers is None or "BCC" not in headers.values:
        return header
    kept = {name: getattr(properties, name) for name in BasicProperties.__slots__}
    kept["headers"] = headers.without("BCC")
    return tail(encode_header(int.from_bytes(header[8:16], "big"), BasicProperties(**kept)))


def _keys_in(headers: FieldTable, name: str) -> list[str]:
    if name not in headers.values:
        return []
    keys = headers.values[name]
    if not isinstance(keys, list):
        raise PreconditionFailed(f'invalid message: {{unacceptable_type_in_header,"{name}",{headers.types[name]}}}')
    return [key for key in keys if isinstance(key, str)]
