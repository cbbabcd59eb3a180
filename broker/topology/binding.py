"""Bindings, and what every exchange type does with them.

Knows the shape of a binding and of a router; knows no exchange type, no queue and no wire format of a message.
"""

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
    """A way out of an exchange; identified by all its fields (contract Q11)."""

    source: str
    destination: Destination
    routing_key: str
    arguments: FieldTable


class Router(Protocol):
    """The rule of one exchange type. `add` and `remove` alternate for each binding; `match` may be asked any time."""

    uses_headers: bool

    def check(self, arguments: FieldTable) -> None:
        """Raise the AMQP error that refuses a binding with these arguments."""

    def add(self, binding: Binding) -> None:
        """Route by `binding` from now on. Changes nothing if `check` would raise."""

    def remove(self, binding: Binding) -> None: ...

    def match(self, routing_key: str, headers: Headers) -> Iterable[Destination]:
        """Return each destination once. `headers` decodes the message's headers; only a type that `uses_headers` calls
        it.
        """


def accept_any(arguments: FieldTable) -> None:
    """Check nothing: most types give binding arguments no meaning; they only tell bindings apart."""
