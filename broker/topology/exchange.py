"""Exchanges: which destinations a message goes to.

The virtual host decides whether a destination exists and what an alternate exchange gets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, KeysView, Mapping, Sequence
from typing import Any, Final, TypeAlias

from broker.codec.field_table import FieldTable
from broker.errors import PreconditionFailed
from broker.queue.deduplication import EXCHANGE_TYPE, Deduplication, with_definition
from broker.topology.binding import Binding, Destination, Router
from broker.topology.exchange_types.consistent_hash import ConsistentHashRouter
from broker.topology.exchange_types.default import DefaultRouter
from broker.topology.exchange_types.direct import DirectRouter
from broker.topology.exchange_types.fanout import FanoutRouter
from broker.topology.exchange_types.headers import HeadersRouter
from broker.topology.exchange_types.modulus_hash import ModulusHashRouter
from broker.topology.exchange_types.random import RandomRouter
from broker.topology.exchange_types.recent_history import Kept, RecentHistoryRouter
from broker.topology.exchange_types.topic import TopicRouter
from broker.topology.exchange_types.unknown import UnknownRouter
from broker.topology.routed_message import RoutedMessage
from broker.turn_budget import TurnBudget

DELAYED_TYPE: Final = "x-delayed-message"
"""RabbitMQ's plugin has it: routes as the type that its argument `x-delayed-type` names (contract E9)."""

NewRouter: TypeAlias = Callable[[FieldTable], Router]
"""Makes the router of an exchange with these arguments, or raises the AMQP error that refuses them."""
NewOwnRouter: TypeAlias = Callable[[str, FieldTable], Router]
"""Makes the router of an exchange with this name and these arguments, or raises the AMQP error that refuses it."""

BUILT_IN: Final = (
    "direct",
    "fanout",
    "topic",
    "headers",
    "x-consistent-hash",
    "x-modulus-hash",
    "x-random",
    "x-recent-history",
    EXCHANGE_TYPE,
    DELAYED_TYPE,
)
_NO_TYPES: Final[Mapping[str, NewOwnRouter]] = {}


class ExchangeTypes:
    """The exchange types of a node."""

    def __init__(self, choose: Callable[[int], int], own: Mapping[str, NewOwnRouter] = _NO_TYPES) -> None:
        """`choose` returns a number from 0 up to one below what it is given, by chance. `own` are further types."""
        self._own = own
        routers: tuple[NewRouter, ...] = (
            lambda arguments: DirectRouter(),
            lambda arguments: FanoutRouter(),
            lambda arguments: TopicRouter(),
            lambda arguments: HeadersRouter(),
            ConsistentHashRouter,
            lambda arguments: ModulusHashRouter(),
            lambda arguments: RandomRouter(choose),
            RecentHistoryRouter,
            lambda arguments: FanoutRouter(),
            self._delayed_router,
        )
        self._built_in = dict(zip(BUILT_IN, routers, strict=True))

    def __contains__(self, type: object) -> bool:
        return type in self._built_in or type in self._own

    def _delayed_router(self, arguments: FieldTable) -> Router:
        """Return the router of the type in `x-delayed-type`: messages with a delay are held before they are routed. The
        texts of what is refused are those of RabbitMQ's plugin.
        """
        of_type = arguments.values.get("x-delayed-type")
        if of_type == DELAYED_TYPE:
            raise PreconditionFailed(f"Invalid argument, '{DELAYED_TYPE}' can't be used for 'x-delayed-type'")
        if not isinstance(of_type, str):
            raise PreconditionFailed("Invalid argument, 'x-delayed-type' must be an existing exchange type")
        if of_type not in self._built_in:
            raise PreconditionFailed(f"unknown exchange type '{of_type}'")
        return self._built_in[of_type](arguments)

    def router(self, exchange: str, type: str, arguments: FieldTable, *, is_recorded: bool) -> Router:
        """Return a new router for an exchange. Refuses an unknown type (contract X4), and what the type refuses.

        An exchange that `is_recorded` with an unknown type, or one of the further types that refuses it, is there, and
        can be deleted, but routes nothing.
        """
        if not exchange:  # the default exchange is of type direct
            return DefaultRouter()
        if type in self._built_in:
            return self._built_in[type](arguments)
        if type not in self._own:
            if is_recorded:
                return UnknownRouter(exchange, f"its type '{type}' is unknown")
            raise PreconditionFailed(f"unknown exchange type '{type}'")
        try:
            return self._own[type](exchange, arguments)
        except PreconditionFailed as error:
            if is_recorded:
                return UnknownRouter(exchange, f"its type '{type}' refuses it: {error}")
            raise


class Exchange:
    """One exchange and the bindings that start from it."""

    __slots__ = (
        "_bindings",
        "_by_destination",
        "_own_alternate",
        "_router",
        "alternate",
        "arguments",
        "auto_delete",
        "deduplication",
        "durable",
        "internal",
        "is_dynamic",
        "name",
        "published_in",
        "published_out",
        "type",
        "uses_keys",
    )

    def __init__(
        self,
        name: str,
        type: str,
        arguments: FieldTable,
        types: ExchangeTypes,
        *,
        durable: bool = False,
        auto_delete: bool = False,
        internal: bool = False,
        is_recorded: bool = False,
        router: Router | None = None,
    ) -> None:
        """Refuse what `types` refuses, and an alternate exchange that is no string (contract X15). `router` stands in
        the place of the type's.
        """
        self.name = name
        self.type = type
        self.arguments = arguments
        self.durable = durable
        self.auto_delete = auto_delete
        self.internal = internal
        self.alternate = self._own_alternate = _alternate(name, arguments)
        """Where messages go that lead nowhere from here."""
        self._router = router or types.router(name, type, arguments, is_recorded=is_recorded)
        self.deduplication = Deduplication.of_exchange(type, arguments.values)
        """How messages that are published again are left out here."""
        self.is_dynamic = self._router.is_dynamic or self.deduplication is not None
        self.uses_keys = self._router.uses_keys
        self.published_in = 0
        """Messages that clients have published to it on this node."""
        self.published_out = 0
        """The same, counted in each queue that they came to."""
        self._bindings: dict[Binding, None] = {}
        self._by_destination: dict[Destination, dict[Binding, None]] = {}

    def set_policy(self, definition: Mapping[str, Any]) -> None:
        """This is what policies say from now on. The argument of the exchange wins (contract A3), except for
        de-duplication.
        """
        if self._own_alternate is None:
            self.alternate = definition.get("alternate-exchange")
        self.deduplication = Deduplication.of_exchange(self.type, with_definition(self.arguments.values, definition))
        self.is_dynamic = self._router.is_dynamic or self.deduplication is not None

    @property
    def bindings(self) -> KeysView[Binding]:
        """Every binding, oldest first."""
        return self._bindings.keys()

    @property
    def destinations(self) -> KeysView[Destination]:
        """Every queue and exchange that is bound to this one, each once."""
        return self._by_destination.keys()

    def keys_of(self, destination: Destination) -> Iterable[str]:
        """Return the routing keys by which `destination` is bound to this exchange."""
        return (binding.routing_key for binding in self._by_destination.get(destination, ()))

    def bindings_of(self, destination: Destination) -> tuple[Binding, ...]:
        """Return the bindings of `destination` to this exchange, oldest first."""
        return tuple(self._by_destination.get(destination, ()))

    @property
    def what_is_wrong(self) -> str:
        """Why the exchange routes nothing; empty when it does."""
        return self._router.what_is_wrong if isinstance(self._router, UnknownRouter) else ""

    @property
    def history(self) -> Sequence[Kept]:
        """The messages that a new binding gets, oldest first."""
        return self._router.history if isinstance(self._router, RecentHistoryRouter) else ()

    @property
    def is_unused(self) -> bool:
        """Is nothing bound to it (contract X9, X12)?"""
        return not self._bindings

    def check(self, binding: Binding) -> None:
        """Raise what `bind` would raise, before the binding is recorded."""
        self._router.check(binding)

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

    def detach(self, destination: Destination) -> list[Binding]:
        """Remove and return the bindings to a deleted queue or exchange, without visiting any other. Until it has to
        `forget` each of them, `match` may still return the destination.
        """
        gone = list(self._by_destination.pop(destination, ()))
        for binding in gone:
            del self._bindings[binding]
        return gone

    def forget(self, binding: Binding) -> None:
        """Let `match` find a binding no more that `detach` has removed."""
        self._router.remove(binding)

    def match(self, routing_key: str, message: RoutedMessage, work: TurnBudget) -> Iterable[Destination | None]:
        """Return the destinations for a key, some perhaps more than once, and None where the caller may pause.

        `message` is looked at only if the exchange `is_dynamic`; unless it `uses_keys`, the routing key stands for all
        keys of a message.
        """
        return self._router.match(routing_key, message, work)


def _alternate(name: str, arguments: FieldTable) -> str | None:
    alternate = arguments.values.get("alternate-exchange")
    if alternate is None and "alternate-exchange" not in arguments.values:
        return None
    if not isinstance(alternate, str):
        kind = arguments.types["alternate-exchange"]
        raise PreconditionFailed(f"invalid type '{kind}' for arg 'alternate-exchange' in exchange '{name}'")
    return alternate
