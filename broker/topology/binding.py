"""Bindings, and the protocol that every exchange type implements for them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from broker.codec.field_table import FieldTable
from broker.ports.records import DestinationKind
from broker.turn_budget import TurnBudget

Destination: TypeAlias = tuple[DestinationKind, str]
Headers: TypeAlias = Callable[[], FieldTable]
"""Returns a message's headers, the empty table when it has none."""


@dataclass(frozen=True, slots=True)
class Binding:
    """A way from an exchange to a queue or another exchange; identified by all its fields (contract Q11)."""

    source: str
    destination: Destination
    routing_key: str
    arguments: FieldTable


class Router(Protocol):
    """The routing rule of one exchange type.

    `add` and `remove` alternate for each binding; `match` may be called at any time, and what it returns stays valid
    when bindings change.
    """

    uses_headers: bool
    """Do a message's headers decide? Only then `match` calls `headers`."""
    uses_keys: bool
    """Do a message's keys decide? Otherwise `match` is asked with one of them."""

    def check(self, arguments: FieldTable) -> None:
        """Raise the AMQP error that refuses a binding with these arguments."""

    def add(self, binding: Binding) -> None:
        """Route by `binding` from now on. Changes nothing if `check` would raise."""

    def remove(self, binding: Binding) -> None:
        """Stop routing by `binding`."""
        ...

    def match(self, routing_key: str, headers: Headers, work: TurnBudget) -> Iterable[Destination | None]:
        """Return the destinations for a key, or None in between: then the caller may go on in a later turn.

        A destination may come more than once. What was done beside finding them is added to `work`.
        """


def accept_any(arguments: FieldTable) -> None:
    """Accept all arguments: for most types they mean nothing and only tell bindings apart."""
