"""The type `fanout`: every binding matches, whatever the key (contract E2)."""

from __future__ import annotations

from collections.abc import Iterable, KeysView

from broker.topology.binding import Binding, Destination, accept_any
from broker.topology.routed_message import RoutedMessage
from broker.turn_budget import TurnBudget


class FanoutRouter:
    """The destinations, each with the number of its bindings."""

    __slots__ = ("_counts",)
    is_dynamic = False
    uses_keys = False
    check = staticmethod(accept_any)

    def __init__(self) -> None:
        self._counts: dict[Destination, int] = {}

    def add(self, binding: Binding) -> None:
        self._counts[binding.destination] = self._counts.get(binding.destination, 0) + 1

    def remove(self, binding: Binding) -> None:
        self._counts[binding.destination] -= 1
        if not self._counts[binding.destination]:
            del self._counts[binding.destination]

    @property
    def destinations(self) -> KeysView[Destination]:
        """Every destination, once."""
        return self._counts.keys()

    def match(self, routing_key: str, message: RoutedMessage, work: TurnBudget) -> Iterable[Destination | None]:
        return list(self._counts)
