"""What a queue or an exchange is set to do about messages that are published again (ADR 66).

A message is known by its key, a header or a property. While a key is remembered, a message that brings it again is left
out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from broker.codec.field_table import EMPTY_TABLE
from broker.codec.properties import BasicProperties
from broker.errors import PreconditionFailed
from broker.message import KeyClaim
from broker.ports.keys import FOREVER, digest_of
from broker.queue.values import MAX_NAME, MAX_TIME, number

HEADERS: Final = ("x-dedup-id", "x-deduplication-header")
"""Headers that hold the key, if no other is set: this broker's own, and that of RabbitMQ's community plugin."""
EXCHANGE_TYPE: Final = "x-message-deduplication"
"""The plugin's exchange type, and the argument that switches de-duplication on."""
_NAME: Final = "x-deduplication-header"
_PROPERTY: Final = "x-deduplication-property"
PROPERTIES: Final = ("message_id", "correlation_id")
"""Properties that may hold the key of a message without such a header."""
_TTL: Final = "x-cache-ttl"
_DIGITS: Final = 18


@dataclass(frozen=True, slots=True)
class KeyRule:
    """A key that a message has in one scope, and for how long it is to be remembered there."""

    scope: int
    digest: str
    window: int | None
    """Milliseconds; None for as long as the message is in its queue."""
    keep: int = 0

    def claim(self, owner: int, now: int, *, is_binding: bool = True) -> KeyClaim:
        """Return the claim of a message that was published `now`; `owner` as of `KeyClaim`."""
        until = 0 if self.window is None else min(now + self.window, FOREVER)
        return KeyClaim(self.scope, self.digest, owner, now, until, is_binding, self.keep)


@dataclass(frozen=True, slots=True)
class Deduplication:
    """How messages are told to be the same."""

    window: int | None
    """How long a key is remembered, in milliseconds; None for as long as its message is in the queue."""
    keep: int = 0
    """About how many keys are remembered; 0 for any number."""
    names: tuple[str, ...] = HEADERS
    """The headers that hold the key: the first that is there."""
    property: str | None = None
    """The property that holds it if no header does."""
    may_be_overridden: bool = False
    """May a message say itself how long its key is remembered, as the plugin's exchange lets it?"""

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Deduplication | None:
        """Return what arguments of a queue ask for; None if they do not. What is not as it should be has no effect."""
        is_on, window = values.get(EXCHANGE_TYPE), number(values.get("x-dedup-window"), MAX_TIME)
        if is_on is False or not (is_on is True or window):
            return None
        keep = count(values.get("x-cache-size")) or 0
        window = window or count(values.get(_TTL), MAX_TIME) or None
        if keep and not window:
            window = FOREVER
        name, its_property = values.get(_NAME), values.get(_PROPERTY)
        names = (name,) if isinstance(name, str) and 0 < len(name.encode()) <= MAX_NAME else HEADERS
        return cls(window, keep, names, its_property if its_property in PROPERTIES else None)

    @classmethod
    def of_exchange(cls, exchange_type: str, values: Mapping[str, Any]) -> Deduplication | None:
        """Return what arguments of an exchange ask for: it cannot know how long a message is in a queue."""
        if exchange_type == EXCHANGE_TYPE:
            values = {**values, EXCHANGE_TYPE: True}
        found = cls.of(values)
        if found is None or found.window is None:
            return None
        return replace(found, may_be_overridden=True)

    def may_have_key(self, header: bytes) -> bool:
        """May a message whose content header has these octets have a key? If not, it is not decoded."""
        return self.property is not None or any(name.encode() in header for name in self.names)

    def rule_for(self, scope: int, properties: BasicProperties, *, is_strict: bool) -> KeyRule | None:
        """Return the key of a message with these properties in `scope`, if it has one. A table or an array is no key:
        if it `is_strict` that raises `PreconditionFailed`.
        """
        headers = properties.headers or EMPTY_TABLE
        window = self.window
        if self.may_be_overridden and _TTL in headers.values:
            window = count(headers.values[_TTL], MAX_TIME) or window
        for name in self.names:
            value = headers.values.get(name)
            if isinstance(value, dict | list):
                if is_strict:
                    kind = headers.types[name]
                    raise PreconditionFailed(f'invalid message: {{unacceptable_type_in_header,"{name}",{kind}}}')
            elif value is not None:
                return KeyRule(scope, digest_of(scope, _octets_of(value)), window, self.keep)
        value = None if self.property is None else getattr(properties, self.property)
        return KeyRule(scope, digest_of(scope, _octets_of(value)), window, self.keep) if value else None


def _octets_of(value: object) -> bytes:
    """Return octets that equal keys have in common: integers of all sizes are alike, a text is no number."""
    text = value.hex() if isinstance(value, bytes) else str(value)
    return f"{type(value).__name__}:{text}".encode("utf-8", "surrogateescape")


def count(value: object, largest: int | None = None) -> int | None:
    """Return a number that the plugin takes as a text, too."""
    if isinstance(value, str) and value.isascii() and value.isdecimal():
        value = int(value[:_DIGITS])
    return number(value, largest)


def argument_of(name: str) -> str:
    """Return the argument for which a key of a policy stands: the plugin's keys have the names of its arguments."""
    return name if name.startswith("x-") else f"x-{name}"


def with_definition(arguments: Mapping[str, Any], definition: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return arguments of an exchange as if they said what policies say, too: policies win, as with the plugin."""
    return {**arguments, **{argument_of(name): value for name, value in definition.items()}}
