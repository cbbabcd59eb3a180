"""The type `x-random`: each message goes by one of the bindings, chosen by chance (contract E6)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from broker.topology.binding import Binding, Destination, accept_any
from broker.topology.routed_message import RoutedMessage
from broker.turn_budget import TurnBudget


class RandomRouter:
    """The bindings: a destination that is bound twice has twice the chance."""

    __slots__ = ("_bound", "_choose", "_listed")
    is_dynamic = True
    uses_keys = False
    check = staticmethod(accept_any)

    def __init__(self, choose: Callable[[int], int]) -> None:
        """`choose` returns a number from 0 up to one below what it is given, by chance."""
        self._choose = choose
        self._bound: dict[Binding, Destination] = {}
        self._listed: list[Destination] | None = None

    def add(self, binding: Binding) -> None:
        self._bound[binding] = binding.destination
        self._listed = None

    def remove(self, binding: Binding) -> None:
        del self._bound[binding]
        self._listed = None

    def match(self, routing_key: str, message: RoutedMessage, work: TurnBudget) -> Iterable[Destination | None]:
        listed = self._listed
        if listed is None:
            listed = self._listed = list(self._bound.values())
        return (listed[self._choose(len(listed))],) if listed else ()
