"""The exchange without a name: every queue is bound to it by the queue's name (contract X6)."""

from __future__ import annotations

from collections.abc import Iterable

from broker.errors import AccessRefused
from broker.topology.binding import Binding, Destination
from broker.topology.routed_message import RoutedMessage
from broker.turn_budget import TurnBudget


class DefaultRouter:
    """Routes to the queue whose name is the routing key, and refuses all bindings."""

    __slots__ = ()
    is_dynamic = False
    uses_keys = True

    def check(self, binding: Binding) -> None:
        raise AccessRefused("operation not permitted on the default exchange")

    def add(self, binding: Binding) -> None:
        self.check(binding)

    def remove(self, binding: Binding) -> None:
        """Nothing to do: `add` refuses every binding."""

    def match(self, routing_key: str, message: RoutedMessage, work: TurnBudget) -> Iterable[Destination | None]:
        return (("queue", routing_key),)
