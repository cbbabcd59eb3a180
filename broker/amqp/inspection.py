"""What the broker looks at in the properties of a message: who sent it, how long it lives, where else it goes.

Only messages whose flags ask for it are inspected.
"""

from __future__ import annotations

from dataclasses import dataclass

from broker.auth.access import Access
from broker.codec.copies import keys_of, without_bcc
from broker.codec.expiration import ABSOLUTE_LIFETIME, is_of_jms, parse_expiration
from broker.codec.properties import BasicProperties, decode_properties, read_expiration
from broker.errors import PreconditionFailed
from broker.topology.dialect import ClientDialect


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
    return Inspected(keys_of(routing_key, properties.headers), properties, without_bcc(header, properties))


def read_lifetime(header: bytes, dialect: ClientDialect) -> int:
    """Return how many milliseconds a message with an expiration lives, `ABSOLUTE_LIFETIME` for a time since 1970; raise
    `PreconditionFailed` for what is neither. `header` is a tail.
    """
    return _lifetime_of(read_expiration(header[4:-1]) or "", dialect)


def _lifetime_of(expiration: str, dialect: ClientDialect) -> int:
    if dialect.has_absolute_expiration and is_of_jms(expiration):
        return ABSOLUTE_LIFETIME
    try:
        return parse_expiration(expiration)
    except ValueError as error:
        raise PreconditionFailed(f"invalid expiration '{expiration}': {error}") from None
