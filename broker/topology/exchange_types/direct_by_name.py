"""`amq.direct` in a dialect whose publishers name queues by it: bound queues, and the one named like the key."""

from __future__ import annotations

from collections.abc import Iterable

from broker.topology.binding import Destination
from broker.topology.exchange_types.direct import DirectRouter
from broker.topology.routed_message import RoutedMessage
from broker.turn_budget import TurnBudget


class DirectByNameRouter(DirectRouter):
    """Routes by bindings, and to the queue whose name is the routing key."""

    __slots__ = ()

    def match(self, routing_key: str, message: RoutedMessage, work: TurnBudget) -> Iterable[Destination | None]:
        return [*super().match(routing_key, message, work), ("queue", routing_key)]
