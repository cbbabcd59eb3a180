"""The type `x-random`: each message goes to one of the destinations, chosen by chance (contract E6)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from broker.topology.binding import Binding, Destination, accept_any
from broker.topology.exchange_types.fanout import FanoutRouter
from broker.topology.routed_message import RoutedMessage
from broker.turn_budget import TurnBudget


class RandomRouter:
    """The destinations; one that is bound several times has no better chance."""

    __slots__ = ("_bound", "_choose", "_listed")
    is_dynamic = True
    uses_keys = False
    check = staticmethod(accept_any)

    def __init__(self, choose: Callable[[int], int]) -> None:
        """`choose` returns a number from 0 up to one below what it is given, by chance."""
        self._choose = choose
        self._bound = FanoutRouter()
        self._listed: list[Destination] | None = None

    def add(self, binding: Binding) -> None:
        self._bound.add(binding)
        self._listed = None

    def remove(self, binding: Binding) -> None:
        self._bound.remove(binding)
        self._listed = None

    def match(self, routing_key: str, message: RoutedMessage, work: TurnBudget) -> Iterable[Destination | None]:
        listed = self._listed
        if listed is None:
            listed = self._listed = list(self._bound.destinations)
        return (listed[self._choose(len(listed))],) if listed else ()
