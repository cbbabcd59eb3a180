"""The octets and texts in which WSO2's message broker keeps messages, queues, exchanges and bindings (andes §2.3)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, NamedTuple, Self

from broker.codec.properties import walk_properties
from broker.errors import AmqpError

_AMQP: Final = 0
_KINDS: Final = {1: "AMQP 0-10", 2: "MQTT"}
_HEADER_START: Final = b"\x00\x3c\x00\x00"
"""The class basic and the weight, with which every content header begins."""
_FIXED_HEADER: Final = 12
_DEFAULT_EXCHANGE: Final = b"<<default>>"
"""What WSO2's broker calls the exchange without a name."""


class Undecodable(ValueError):
    """The octets are none that WSO2's broker writes; the text says what is wrong, as the end of a sentence."""


@dataclass(frozen=True, slots=True)
class StoredMetadata:
    """What MESSAGE_METADATA says of a message of AMQP."""

    header_payload: bytes
    """As on the wire (0-9-1 §4.2.6.1)."""
    exchange: bytes
    routing_key: bytes
    arrival_ms: int
    is_compressed: bool

    @property
    def body_size(self) -> int:
        """How many octets the body has when it is not compressed."""
        return int.from_bytes(self.header_payload[4:_FIXED_HEADER], "big")

    @property
    def routing(self) -> bytes:
        """Return exchange and routing key as two short strings."""
        return b"".join(len(each).to_bytes(1, "big") + each for each in (self.exchange, self.routing_key))


def decode(octets: bytes) -> StoredMetadata:
    """Return what MESSAGE_METADATA says. Raises `Undecodable`."""
    kind = octets[0] if octets else -1
    if kind != _AMQP:
        raise Undecodable(f"it is of {_KINDS[kind]}" if kind in _KINDS else "its metadata is of no known kind")
    reader = _Reader(octets, 1)
    header = reader.take(int.from_bytes(reader.take(4), "big"))
    exchange, key = reader.short_string(), reader.short_string()
    reader.take(1 + 8)  # mandatory and immediate; the publisher's session
    arrival_ms = int.from_bytes(reader.take(8), "big", signed=True)
    is_compressed = reader.rest[:1] == b"\x01"  # the octet is missing in older rows
    _check(header)
    return StoredMetadata(header, b"" if exchange == _DEFAULT_EXCHANGE else exchange, key, arrival_ms, is_compressed)


def _check(header: bytes) -> None:
    if not header.startswith(_HEADER_START) or len(header) < _FIXED_HEADER:
        raise Undecodable("its content header is missing")
    try:
        walk_properties(header[_FIXED_HEADER:], len(header) - _FIXED_HEADER)
    except AmqpError as error:
        raise Undecodable(f"its metadata cannot be read ({error})") from error


class _Reader:
    """Takes octets from the front."""

    def __init__(self, octets: bytes, offset: int) -> None:
        self.rest = octets[offset:]

    def take(self, count: int) -> bytes:
        taken, self.rest = self.rest[:count], self.rest[count:]
        if len(taken) < count:
            raise Undecodable("its metadata ends too early")
        return taken

    def short_string(self) -> bytes:
        return self.take(self.take(1)[0])


# Texts: the values are not escaped, so that what follows a name tells where it ends


_QUEUE: Final = re.compile(
    r"queueName=(?P<name>.*?),queueOwner=.*?,isExclusive=(?P<exclusive>\w+),isDurable=(?P<durable>\w+)(?:,.*)?",
    re.DOTALL,
)
_ROUTER: Final = re.compile(r"messageRouterName=(?P<name>.*?),type=(?P<type>.*?),autoDelete=(?P<auto>\w+)", re.DOTALL)
_BINDING: Final = re.compile(
    r"boundMessageRouter=(?P<router>.*?),boundQueueName=(?P<queue>.*?),bindingKey=(?P<key>.*)", re.DOTALL
)
# As version 3.1 of WSO2's broker writes them.
_OLD_ROUTER: Final = re.compile(r"exchangeName=(?P<name>.*?),type=(?P<type>.*?),autoDelete=?(?P<auto>\w+)", re.DOTALL)
_OLD_BINDING: Final = re.compile(
    r"boundExchange&(?P<router>.*?)\|boundQueue&queueName=(?P<queue>.*?),queueOwner=.*?\|routingKey&(?P<key>.*)",
    re.DOTALL,
)
_LONGEST_NAME: Final = 255


class StoredQueue(NamedTuple):
    """A storage queue: QUEUE_DATA."""

    name: str
    is_durable: bool
    is_exclusive: bool = False

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises `Undecodable`."""
        found = _matched(text, _QUEUE)
        return cls(_name(found["name"]), found["durable"] == "true", found["exclusive"] == "true")


class StoredExchange(NamedTuple):
    """An exchange: EXCHANGE_DATA."""

    name: str
    type: str
    is_auto_delete: bool

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises `Undecodable`."""
        found = _matched(text, _ROUTER, _OLD_ROUTER)
        return cls(_name(found["name"]), found["type"], found["auto"] == "true")


class StoredBinding(NamedTuple):
    """A binding of a queue: BINDING_DETAILS."""

    router: str
    queue: str
    key: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises `Undecodable`."""
        found = _matched(text, _BINDING, _OLD_BINDING)
        return cls(_name(found["router"]), _name(found["queue"]), _name(found["key"]))


def _matched(text: str, *patterns: re.Pattern[str]) -> re.Match[str]:
    for pattern in patterns:
        if found := pattern.fullmatch(text):
            return found
    raise Undecodable(f"'{text[:200]}' cannot be read")


def is_too_long(name: str) -> bool:
    """Is it a name that AMQP has no room for?"""
    return len(name.encode()) > _LONGEST_NAME


def _name(text: str) -> str:
    if is_too_long(text):
        raise Undecodable(f"the name '{text[:40]}…' has more than {_LONGEST_NAME} octets")
    return "" if text == _DEFAULT_EXCHANGE.decode() else text
