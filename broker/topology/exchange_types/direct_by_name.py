"""Exchanges of a dialect whose publishers name queues by keys; a queue may be spelled otherwise than its name is."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from broker.topology.binding import Destination
from broker.topology.exchange_types.default import DefaultRouter
from broker.topology.exchange_types.direct import DirectRouter
from broker.topology.routed_message import RoutedMessage
from broker.turn_budget import TurnBudget


class DirectByNameRouter(DirectRouter):
    """`amq.direct`: routes by bindings, and to the queue whose name is the routing key."""

    __slots__ = ("_name_of",)

    def __init__(self, name_of: Callable[[str], str]) -> None:
        """`name_of` returns the name of the queue that a key means."""
        super().__init__()
        self._name_of = name_of

    def match(self, routing_key: str, message: RoutedMessage, work: TurnBudget) -> Iterable[Destination | None]:
        return [*super().match(routing_key, message, work), ("queue", self._name_of(routing_key))]


class DefaultByNameRouter(DefaultRouter):
    """The default exchange."""

    __slots__ = ("_name_of",)

    def __init__(self, name_of: Callable[[str], str]) -> None:
        """`name_of` returns the name of the queue that a key means."""
        self._name_of = name_of

    def match(self, routing_key: str, message: RoutedMessage, work: TurnBudget) -> Iterable[Destination | None]:
        return (("queue", self._name_of(routing_key)),)
