"""The type `x-modulus-hash`: a message goes by one binding, chosen by its routing key's hash modulo their number
(contract E7).

RabbitMQ's sharding plugin uses it. Keys and arguments of bindings mean nothing. When a binding comes or goes most
messages go elsewhere; with `x-consistent-hash` few do.
"""

from __future__ import annotations

from collections.abc import Iterable

from broker.topology.binding import Binding, Destination, accept_any
from broker.topology.exchange_types.stable_hash import stable_hash
from broker.topology.routed_message import RoutedMessage
from broker.turn_budget import TurnBudget


class ModulusHashRouter:
    """The destinations of the bindings, in an order that is the same on every node and after a restart."""

    __slots__ = ("_bound", "_ordered")
    is_dynamic = False
    uses_keys = False
    check = staticmethod(accept_any)

    def __init__(self) -> None:
        self._bound: dict[Binding, Destination] = {}
        self._ordered: list[Destination] | None = None

    def add(self, binding: Binding) -> None:
        self._bound[binding] = binding.destination
        self._ordered = None

    def remove(self, binding: Binding) -> None:
        del self._bound[binding]
        self._ordered = None

    def match(self, routing_key: str, message: RoutedMessage, work: TurnBudget) -> Iterable[Destination | None]:
        ordered = self._ordered
        if ordered is None:
            ordered = self._ordered = sorted(self._bound.values())
        if not ordered:
            return ()
        return (ordered[stable_hash(routing_key) % len(ordered)],)
