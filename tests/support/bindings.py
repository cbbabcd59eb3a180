"""Exchanges and bindings to try exchange types with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from broker.codec.field_table import FieldTable
from broker.codec.properties import BasicProperties, encode_header
from broker.message import tail
from broker.topology.binding import Binding, Destination
from broker.topology.exchange import Exchange, ExchangeTypes
from broker.topology.routed_message import RoutedMessage
from broker.topology.routing import Search
from broker.topology.vhost import VirtualHost
from broker.turn_budget import TurnBudget

Q: Destination = ("queue", "q")
OTHER: Destination = ("queue", "other")
DOWNSTREAM: Destination = ("exchange", "q")
EXCHANGE_TYPES = ExchangeTypes(lambda count: count - 1)
"""Chance takes the last of all."""


def exchange(type: str, name: str = "x", **arguments: Any) -> Exchange:
    """Return an exchange that nothing is bound to."""
    return Exchange(name, type, FieldTable.of(arguments), EXCHANGE_TYPES)


def binding(destination: Destination = Q, key: str = "", arguments: Mapping[str, Any] | None = None) -> Binding:
    """Return a binding from the exchange x."""
    return Binding("x", destination, key, FieldTable.of(arguments or {}))


def message(headers: Mapping[str, Any] | None = None, *, body: bytes = b"", **properties: Any) -> RoutedMessage:
    """Return a message with these headers and other properties."""
    table = None if headers is None else FieldTable.of(headers)
    header = tail(encode_header(len(body), BasicProperties(headers=table, **properties)))
    return RoutedMessage(header, tail(body) if body else b"", None)


UNREADABLE = RoutedMessage(b"", b"", None)
"""Nobody can look at its properties."""


def matched(
    subject: Exchange, key: str = "", headers: Mapping[str, Any] | None = None, **properties: Any
) -> list[Destination]:
    """Return where a message goes, each destination once; without `headers` nobody may look at its properties."""
    sent = UNREADABLE if headers is None and not properties else message(headers, **properties)
    return list(dict.fromkeys(each for each in subject.match(key, sent, TurnBudget()) if each is not None))


def without(subject: Exchange, destination: Destination) -> list[Binding]:
    """Remove and return all bindings to a destination."""
    gone = subject.detach(destination)
    for each in gone:
        subject.forget(each)
    return gone


def routed(vhost: VirtualHost, exchange: str, *keys: str, headers: Mapping[str, Any] | None = None) -> list[str]:
    """Return the names of the queues for a message with these keys, in order of name."""
    return names_found(vhost.routing.search(vhost.exchange(exchange), keys, message(headers), TurnBudget()))


def names_found(search: Search) -> list[str]:
    """Carry a search on to its end, however often it pauses; return the names of the queues, in order."""
    while True:
        try:
            next(search)
        except StopIteration as done:
            return sorted(queue.name for queue in done.value)
