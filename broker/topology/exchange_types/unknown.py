"""Stands for the type of a recorded exchange when this program does not know it, or it refuses the exchange: the
exchange keeps its bindings and routes nothing."""

from __future__ import annotations

from collections.abc import Iterable

from broker.errors import PreconditionFailed
from broker.topology.binding import Binding, Destination
from broker.topology.routed_message import RoutedMessage
from broker.turn_budget import TurnBudget


class UnknownRouter:
    """Refuses new bindings; the publisher refuses publishes. RabbitMQ does both when a type's plugin is not there."""

    __slots__ = ("_reason", "what_is_wrong")
    is_dynamic = False
    uses_keys = False

    def __init__(self, exchange: str, what_is_wrong: str) -> None:
        self.what_is_wrong = what_is_wrong
        self._reason = f"cannot route through exchange '{exchange}': {what_is_wrong}"

    def check(self, binding: Binding) -> None:
        raise PreconditionFailed(self._reason)

    def add(self, binding: Binding) -> None:
        """Do nothing: the exchange itself knows its bindings."""

    def remove(self, binding: Binding) -> None:
        """Do nothing."""

    def match(self, routing_key: str, message: RoutedMessage, work: TurnBudget) -> Iterable[Destination | None]:
        return ()
