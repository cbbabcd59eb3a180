"""Exchanges and bindings to try exchange types with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from broker.codec.field_table import FieldTable
from broker.topology.binding import Binding, Destination
from broker.topology.exchange import Exchange
from broker.topology.routing import Search
from broker.topology.vhost import VirtualHost
from broker.turn_budget import TurnBudget

Q: Destination = ("queue", "q")
OTHER: Destination = ("queue", "other")
DOWNSTREAM: Destination = ("exchange", "q")


def exchange(type: str, name: str = "x", **arguments: Any) -> Exchange:
    """Return an exchange that nothing is bound to."""
    return Exchange(name, type, FieldTable.of(arguments))


def binding(destination: Destination = Q, key: str = "", arguments: Mapping[str, Any] | None = None) -> Binding:
    """Return a binding from the exchange x."""
    return Binding("x", destination, key, FieldTable.of(arguments or {}))


def _no_headers() -> FieldTable:
    raise AssertionError("nobody may decode the headers")


def matched(subject: Exchange, key: str = "", headers: Mapping[str, Any] | None = None) -> list[Destination]:
    """Return where a message goes, each destination once; without `headers` nobody may look at them."""
    table = _no_headers if headers is None else lambda: FieldTable.of(headers)
    return list(dict.fromkeys(each for each in subject.match(key, table, TurnBudget()) if each is not None))


def routed(vhost: VirtualHost, exchange: str, *keys: str, headers: Mapping[str, Any] | None = None) -> list[str]:
    """Return the names of the queues for a message with these keys, in order of name."""
    return names_found(
        vhost.routing.search(vhost.exchange(exchange), keys, lambda: FieldTable.of(headers or {}), TurnBudget())
    )


def names_found(search: Search) -> list[str]:
    """Carry a search on to its end, however often it pauses; return the names of the queues, in order."""
    while True:
        try:
            next(search)
        except StopIteration as done:
            return sorted(queue.name for queue in done.value)
