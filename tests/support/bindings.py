"""Exchanges and bindings to try exchange types with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from broker.codec.field_table import FieldTable
from broker.topology.binding import Binding, Destination
from broker.topology.exchange import Exchange

Q: Destination = ("queue", "q")
OTHER: Destination = ("queue", "other")
DOWNSTREAM: Destination = ("exchange", "q")


def exchange(type: str, name: str = "x", **arguments: Any) -> Exchange:
    """Return an exchange that nothing is bound to."""
    return Exchange(name, type, FieldTable.of(arguments))


def binding(destination: Destination = Q, key: str = "", arguments: Mapping[str, Any] | None = None) -> Binding:
    """Return a binding from the exchange x."""
    return Binding("x", destination, key, FieldTable.of(arguments or {}))


def _no_headers() -> Mapping[str, Any]:
    raise AssertionError("nobody may decode the headers")


def matched(subject: Exchange, key: str = "", headers: Mapping[str, Any] | None = None) -> list[Destination]:
    """Return where a message goes; without `headers` nobody may look at them."""
    return list(subject.match(key, _no_headers if headers is None else lambda: headers))
