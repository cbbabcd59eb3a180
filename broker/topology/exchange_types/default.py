"""The exchange without a name: every queue is bound to it by the queue's name (contract X6)."""

from __future__ import annotations

from collections.abc import Iterable

from broker.codec.field_table import FieldTable
from broker.errors import AccessRefused
from broker.topology.binding import Binding, Destination, Headers
from broker.turn_budget import TurnBudget


class DefaultRouter:
    """Routes to the queue whose name is the routing key, and refuses all bindings."""

    __slots__ = ()
    uses_headers = False
    uses_keys = True

    def check(self, arguments: FieldTable) -> None:
        raise AccessRefused("operation not permitted on the default exchange")

    def add(self, binding: Binding) -> None:
        self.check(binding.arguments)

    def remove(self, binding: Binding) -> None:
        """Nothing to do: `add` refuses every binding."""

    def match(self, routing_key: str, headers: Headers, work: TurnBudget) -> Iterable[Destination | None]:
        return (("queue", routing_key),)
