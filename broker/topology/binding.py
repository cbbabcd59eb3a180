"""Bindings, and the protocol that every exchange type implements for them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from broker.codec.field_table import FieldTable
from broker.ports.records import DestinationKind

Destination: TypeAlias = tuple[DestinationKind, str]
Headers: TypeAlias = Callable[[], Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Binding:
    """A way from an exchange to a queue or another exchange; identified by all its fields (contract Q11)."""

    source: str
    destination: Destination
    routing_key: str
    arguments: FieldTable


class Router(Protocol):
    """The routing rule of one exchange type.

    `add` and `remove` alternate for each binding; `match` may be called at any time.
    """

    uses_headers: bool

    def check(self, arguments: FieldTable) -> None:
        """Raise the AMQP error that refuses a binding with these arguments."""

    def add(self, binding: Binding) -> None:
        """Route by `binding` from now on. Changes nothing if `check` would raise."""

    def remove(self, binding: Binding) -> None:
        """Stop routing by `binding`."""
        ...

    def match(self, routing_key: str, headers: Headers) -> Iterable[Destination]:
        """Return each destination once. `headers` decodes the message's headers; only a type that `uses_headers` calls
        it.
        """


def accept_any(arguments: FieldTable) -> None:
    """Accept all arguments: for most types they mean nothing and only tell bindings apart."""
