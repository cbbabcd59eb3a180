"""Exchanges: which destinations a message goes to.

The virtual host decides whether a destination exists and what an alternate exchange gets.
"""

from __future__ import annotations

from collections.abc import Iterable, KeysView
from typing import Final

from broker.codec.field_table import FieldTable
from broker.errors import PreconditionFailed
from broker.topology.binding import Binding, Destination, Headers, Router
from broker.topology.exchange_types.default import DefaultRouter
from broker.topology.exchange_types.direct import DirectRouter
from broker.topology.exchange_types.fanout import FanoutRouter
from broker.topology.exchange_types.headers import HeadersRouter
from broker.topology.exchange_types.topic import TopicRouter
from broker.topology.exchange_types.unknown import UnknownRouter
from broker.turn_budget import TurnBudget

EXCHANGE_TYPES: Final[dict[str, type[Router]]] = {
    "direct": DirectRouter,
    "fanout": FanoutRouter,
    "topic": TopicRouter,
    "headers": HeadersRouter,
}


class Exchange:
    """One exchange and the bindings that start from it."""

    __slots__ = (
        "_bindings",
        "_by_destination",
        "_router",
        "alternate",
        "arguments",
        "auto_delete",
        "durable",
        "internal",
        "name",
        "type",
        "uses_headers",
        "uses_keys",
    )

    def __init__(
        self,
        name: str,
        type: str,
        arguments: FieldTable,
        *,
        durable: bool = False,
        auto_delete: bool = False,
        internal: bool = False,
        is_recorded: bool = False,
    ) -> None:
        """Refuse an unknown type (contract X4) and an alternate exchange that is no string (contract X15).

        An exchange that `is_recorded` with an unknown type is there, and can be deleted, but routes nothing.
        """
        if type not in EXCHANGE_TYPES and not is_recorded:
            raise PreconditionFailed(f"unknown exchange type '{type}'")
        self.name = name
        self.type = type
        self.arguments = arguments
        self.durable = durable
        self.auto_delete = auto_delete
        self.internal = internal
        self.alternate = _alternate(name, arguments)
        self._router = _new_router(name, type)
        self.uses_headers = self._router.uses_headers
        self.uses_keys = self._router.uses_keys
        self._bindings: dict[Binding, None] = {}
        self._by_destination: dict[Destination, dict[Binding, None]] = {}

    @property
    def bindings(self) -> KeysView[Binding]:
        """Every binding, oldest first."""
        return self._bindings.keys()

    @property
    def destinations(self) -> KeysView[Destination]:
        """Every queue and exchange that is bound to this one, each once."""
        return self._by_destination.keys()

    @property
    def is_unused(self) -> bool:
        """Is nothing bound to it (contract X9, X12)?"""
        return not self._bindings

    def check(self, arguments: FieldTable) -> None:
        """Raise what `bind` would raise for these arguments, before the binding is recorded."""
        self._router.check(arguments)

    def bind(self, binding: Binding) -> bool:
        """Add `binding`; return False when it existed already."""
        if binding in self._bindings:
            return False
        self._router.add(binding)
        self._bindings[binding] = None
        self._by_destination.setdefault(binding.destination, {})[binding] = None
        return True

    def unbind(self, binding: Binding) -> bool:
        """Remove `binding`; return False when there was none."""
        if binding not in self._bindings:
            return False
        self._router.remove(binding)
        del self._bindings[binding]
        siblings = self._by_destination[binding.destination]
        del siblings[binding]
        if not siblings:
            del self._by_destination[binding.destination]
        return True

    def remove_destination(self, destination: Destination) -> list[Binding]:
        """Remove and return the bindings to a deleted queue or exchange, without visiting any other."""
        gone = list(self._by_destination.pop(destination, ()))
        for binding in gone:
            self._router.remove(binding)
            del self._bindings[binding]
        return gone

    def match(self, routing_key: str, headers: Headers, work: TurnBudget) -> Iterable[Destination | None]:
        """Return the destinations for a key, some perhaps more than once, and None where the caller may pause.

        `headers` is called only if `uses_headers`; unless `uses_keys` one key of a message stands for all.
        """
        return self._router.match(routing_key, headers, work)


def _new_router(name: str, type: str) -> Router:
    if not name:  # the default exchange is of type direct
        return DefaultRouter()
    return EXCHANGE_TYPES[type]() if type in EXCHANGE_TYPES else UnknownRouter(name, type)


def _alternate(name: str, arguments: FieldTable) -> str | None:
    alternate = arguments.values.get("alternate-exchange")
    if alternate is None and "alternate-exchange" not in arguments.values:
        return None
    if not isinstance(alternate, str):
        raise PreconditionFailed(f"invalid arg 'alternate-exchange' for exchange '{name}': expected a longstr")
    return alternate
