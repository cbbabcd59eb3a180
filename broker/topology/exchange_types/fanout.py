"""The type `fanout`: every binding matches, whatever the key (contract E2)."""

from __future__ import annotations

from collections.abc import Iterable

from broker.topology.binding import Binding, Destination, Headers, accept_any
from broker.turn_budget import TurnBudget


class FanoutRouter:
    """The destinations, each with the number of its bindings."""

    __slots__ = ("_counts",)
    uses_headers = False
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

    def match(self, routing_key: str, headers: Headers, work: TurnBudget) -> Iterable[Destination | None]:
        return list(self._counts)
