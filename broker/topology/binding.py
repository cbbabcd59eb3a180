"""Bindings, and what every exchange type does with them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

from broker.codec.field_table import FieldTable
from broker.ports.records import DestinationKind
from broker.topology.routed_message import RoutedMessage
from broker.turn_budget import TurnBudget

Destination: TypeAlias = tuple[DestinationKind, str]


@dataclass(frozen=True, slots=True)
class Binding:
    """A way from an exchange to a queue or another exchange; identified by all its fields (contract Q11)."""

    source: str
    destination: Destination
    routing_key: str
    arguments: FieldTable


BY_MESSAGE: Final[Destination] = ("exchange", "")
"""Stands, by its identity, for destinations that the message decides; nothing can be bound to the default exchange."""


class Router(Protocol):
    """The routing rule of one exchange type.

    `add` and `remove` alternate for each binding; `match` may be called at any time, and what it returns stays valid
    when bindings change.
    """

    is_dynamic: bool
    """Is `match` to be asked for each message? Otherwise its answer depends on the key and the bindings alone."""
    uses_keys: bool
    """Do a message's keys decide? Otherwise `match` is asked with the first of them alone, the routing key."""

    def check(self, binding: Binding) -> None:
        """Raise the AMQP error that refuses this binding."""

    def add(self, binding: Binding) -> None:
        """Route by `binding` from now on. Changes nothing if `check` would raise."""

    def remove(self, binding: Binding) -> None:
        """Stop routing by `binding`."""
        ...

    def match(self, routing_key: str, message: RoutedMessage, work: TurnBudget) -> Iterable[Destination | None]:
        """Return the destinations for a key, or None in between: then the caller may go on in a later turn.

        A destination may come more than once. What was done beside finding them is added to `work`. Unless
        `is_dynamic`, `message` may be `ANY_MESSAGE`; for a key where the message decides, `BY_MESSAGE` then is among
        the destinations.
        """


def accept_any(binding: Binding) -> None:
    """Accept all bindings: for most types arguments mean nothing and only tell bindings apart."""
