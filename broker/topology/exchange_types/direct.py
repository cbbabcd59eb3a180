"""The type `direct`: a binding matches when its key equals the message's key (contract E1)."""

from __future__ import annotations

from collections.abc import Iterable

from broker.topology.binding import Binding, Destination, accept_any
from broker.topology.routed_message import RoutedMessage
from broker.turn_budget import TurnBudget


class DirectRouter:
    """The bindings by their keys."""

    __slots__ = ("_keys",)
    is_dynamic = False
    uses_keys = True
    check = staticmethod(accept_any)

    def __init__(self) -> None:
        self._keys: dict[str, dict[Binding, Destination]] = {}

    def add(self, binding: Binding) -> None:
        self._keys.setdefault(binding.routing_key, {})[binding] = binding.destination

    def remove(self, binding: Binding) -> None:
        bindings = self._keys[binding.routing_key]
        del bindings[binding]
        if not bindings:
            del self._keys[binding.routing_key]

    def match(self, routing_key: str, message: RoutedMessage, work: TurnBudget) -> Iterable[Destination | None]:
        bindings = self._keys.get(routing_key)
        return list(bindings.values()) if bindings else ()
