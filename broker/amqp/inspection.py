"""What the broker looks at in the properties of a message: who sent it, how long it lives, where else it goes.

Only messages whose flags ask for it are inspected.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from broker.auth.access import Access
from broker.codec.expiration import ABSOLUTE_LIFETIME, is_of_jms, parse_expiration
from broker.codec.field_table import FieldTable
from broker.codec.properties import BasicProperties, decode_properties, encode_header, read_expiration
from broker.errors import PreconditionFailed
from broker.message import tail
from broker.topology.dialect import ClientDialect

_COPIES: Final = ("CC", "BCC")
"""Headers whose values are further routing keys, in RabbitMQ's order."""


@dataclass(frozen=True, slots=True)
class Inspected:
    """What a message's properties say about its way."""

    keys: tuple[str, ...]
    """The routing key and those in the headers CC and BCC, each once (contract B8)."""
    properties: BasicProperties
    header: bytes
    """The tail of the content header as it travels on: without BCC."""


def inspect(routing_key: str, header: bytes, access: Access, dialect: ClientDialect) -> Inspected:
    """Read the properties in `header`, a tail; raise `PreconditionFailed` for what may not be said in them."""
    properties = decode_properties(header[4:-1])
    if properties.user_id is not None:
        access.require_user_id(properties.user_id)
    if properties.expiration is not None:
        _lifetime_of(properties.expiration, dialect)
    headers = properties.headers
    if headers is None:
        return Inspected((routing_key,), properties, header)
    keys = {routing_key: None}
    for name in _COPIES:
        keys |= dict.fromkeys(_keys_in(headers, name))
    if "BCC" in headers.values:
        header = _without_bcc(header, properties, headers)
    return Inspected(tuple(keys), properties, header)


def read_lifetime(header: bytes, dialect: ClientDialect) -> int:
    """Return how many milliseconds a message with an expiration lives, `ABSOLUTE_LIFETIME` for a time since 1970; raise
    `PreconditionFailed` for what is neither. `header` is a tail.
    """
    return _lifetime_of(read_expiration(header[4:-1]) or "", dialect)


def _keys_in(headers: FieldTable, name: str) -> list[str]:
    if name not in headers.values:
        return []
    keys = headers.values[name]
    if not isinstance(keys, list):
        raise PreconditionFailed(f'invalid message: {{unacceptable_type_in_header,"{name}",{headers.types[name]}}}')
    return [key for key in keys if isinstance(key, str)]


def _without_bcc(header: bytes, properties: BasicProperties, headers: FieldTable) -> bytes:
    kept = {name: getattr(properties, name) for name in BasicProperties.__slots__}
    kept["headers"] = headers.without("BCC")
    return tail(encode_header(int.from_bytes(header[8:16], "big"), BasicProperties(**kept)))


def _lifetime_of(expiration: str, dialect: ClientDialect) -> int:
    if dialect.has_absolute_expiration and is_of_jms(expiration):
        return ABSOLUTE_LIFETIME
    try:
        return parse_expiration(expiration)
    except ValueError as error:
        raise PreconditionFailed(f"invalid expiration '{expiration}': {error}") from None
