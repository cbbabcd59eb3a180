"""Exchanges: which destinations a message goes to.

Knows bindings and the rule of each exchange type; knows no queue, no permission and no wire format. Arguments and
headers come decoded. Whether a destination exists is the virtual host's business, and so are alternate exchanges.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, KeysView, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias

from broker.errors import AccessRefused, PreconditionFailed
from broker.ports.records import DestinationKind
from broker.topology.topic_trie import TopicTrie

Destination: TypeAlias = tuple[DestinationKind, str]
Headers: TypeAlias = Callable[[], Mapping[str, Any]]


class Arguments(Protocol):
    """A field table: its octets and what they say. Equal and hashed by content."""

    @property
    def raw(self) -> bytes: ...

    @property
    def values(self) -> Mapping[str, Any]: ...

    @property
    def types(self) -> Mapping[str, str]: ...

    def __hash__(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Binding:
    """A way out of an exchange; identified by all its fields (contract Q11)."""

    source: str
    destination: Destination
    routing_key: str
    arguments: Arguments


class Router(Protocol):
    """The rule of one exchange type. `add` and `remove` alternate for each binding; `match` may be asked any time."""

    uses_headers: bool

    def check(self, arguments: Arguments) -> None:
        """Raise the AMQP error that refuses a binding with these arguments."""

    def add(self, binding: Binding) -> None:
        """Route by `binding` from now on. Changes nothing if `check` would raise."""

    def remove(self, binding: Binding) -> None: ...

    def match(self, routing_key: str, headers: Headers) -> Iterable[Destination]: ...


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
    )

    def __init__(
        self,
        name: str,
        type: str,
        arguments: Arguments,
        *,
        durable: bool = False,
        auto_delete: bool = False,
        internal: bool = False,
    ) -> None:
        """Refuse an unknown type (contract X4) and an alternate exchange that is no string (X15)."""
        router = EXCHANGE_TYPES.get(type)
        if router is None:
            raise PreconditionFailed(f"unknown exchange type '{type}'")
        self.name = name
        self.type = type
        self.arguments = arguments
        self.durable = durable
        self.auto_delete = auto_delete
        self.internal = internal
        self.alternate = _alternate(name, arguments)
        self._router: Router = router() if name else DefaultRouter()
        self.uses_headers = self._router.uses_headers  # then the routing key alone does not decide the route
        self._bindings: dict[Binding, None] = {}
        self._by_destination: dict[Destination, dict[Binding, None]] = {}

    @property
    def bindings(self) -> KeysView[Binding]:
        """Every binding, oldest first."""
        return self._bindings.keys()

    @property
    def destinations(self) -> KeysView[Destination]:
        """Every queue and exchange that something is bound to, each once."""
        return self._by_destination.keys()

    @property
    def is_unused(self) -> bool:
        """Nothing is bound (contract X9, X12)."""
        return not self._bindings

    def check(self, arguments: Arguments) -> None:
        """Raise what `bind` would raise for these arguments, so that nothing is recorded that cannot be applied."""
        self._router.check(arguments)

    def bind(self, binding: Binding) -> bool:
        """Add `binding`; False when it was there already."""
        if binding in self._bindings:
            return False
        self._router.add(binding)
        self._bindings[binding] = None
        self._by_destination.setdefault(binding.destination, {})[binding] = None
        return True

    def unbind(self, binding: Binding) -> bool:
        """Remove `binding`; False when there is none."""
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
        """Remove and return the bindings to a queue or exchange that is gone, without a look at any other."""
        gone = list(self._by_destination.pop(destination, ()))
        for binding in gone:
            self._router.remove(binding)
            del self._bindings[binding]
        return gone

    def match(self, routing_key: str, headers: Headers) -> Iterable[Destination]:
        """Return each destination once. `headers` is called only if `uses_headers`."""
        return self._router.match(routing_key, headers)


def _alternate(name: str, arguments: Arguments) -> str | None:
    alternate = arguments.values.get("alternate-exchange")
    if alternate is None and "alternate-exchange" not in arguments.values:
        return None
    if not isinstance(alternate, str):
        raise PreconditionFailed(f"invalid arg 'alternate-exchange' for exchange '{name}': expected a longstr")
    return alternate


def _accept_any(arguments: Arguments) -> None:
    """Most types give binding arguments no meaning; they only tell bindings apart."""


class DefaultRouter:
    """The exchange without a name: every queue is bound by its name, and nothing can be bound (contract X6)."""

    __slots__ = ()
    uses_headers = False

    def check(self, arguments: Arguments) -> None:
        raise AccessRefused("operation not permitted on the default exchange")

    def add(self, binding: Binding) -> None:
        self.check(binding.arguments)

    def remove(self, binding: Binding) -> None:
        """Nothing was ever added."""

    def match(self, routing_key: str, headers: Headers) -> Iterable[Destination]:
        return (("queue", routing_key),)


class DirectRouter:
    """The binding's key is the message's key (contract E1)."""

    __slots__ = ("_keys",)
    uses_headers = False
    check = staticmethod(_accept_any)

    def __init__(self) -> None:
        self._keys: dict[str, dict[Binding, Destination]] = {}

    def add(self, binding: Binding) -> None:
        self._keys.setdefault(binding.routing_key, {})[binding] = binding.destination

    def remove(self, binding: Binding) -> None:
        bindings = self._keys[binding.routing_key]
        del bindings[binding]
        if not bindings:
            del self._keys[binding.routing_key]

    def match(self, routing_key: str, headers: Headers) -> Iterable[Destination]:
        bindings = self._keys.get(routing_key)
        return dict.fromkeys(bindings.values()) if bindings else ()


class FanoutRouter:
    """Every binding, whatever the key (contract E2)."""

    __slots__ = ("_bindings",)
    uses_headers = False
    check = staticmethod(_accept_any)

    def __init__(self) -> None:
        self._bindings: dict[Binding, Destination] = {}

    def add(self, binding: Binding) -> None:
        self._bindings[binding] = binding.destination

    def remove(self, binding: Binding) -> None:
        del self._bindings[binding]

    def match(self, routing_key: str, headers: Headers) -> Iterable[Destination]:
        return dict.fromkeys(self._bindings.values())


class TopicRouter:
    """The binding's key is a pattern of words (contract E3)."""

    __slots__ = ("_trie",)
    uses_headers = False
    check = staticmethod(_accept_any)

    def __init__(self) -> None:
        self._trie: TopicTrie[Destination] = TopicTrie()

    def add(self, binding: Binding) -> None:
        self._trie.add(binding.routing_key, binding.destination)

    def remove(self, binding: Binding) -> None:
        self._trie.remove(binding.routing_key, binding.destination)

    def match(self, routing_key: str, headers: Headers) -> Iterable[Destination]:
        return self._trie.match(routing_key)


class HeadersRouter:
    """The binding's arguments are looked for among the message's headers (contract E4)."""

    __slots__ = ("_criteria",)
    uses_headers = True

    def __init__(self) -> None:
        self._criteria: dict[Binding, Criteria] = {}

    def check(self, arguments: Arguments) -> None:
        Criteria.of(arguments)

    def add(self, binding: Binding) -> None:
        self._criteria[binding] = Criteria.of(binding.arguments)

    def remove(self, binding: Binding) -> None:
        del self._criteria[binding]

    def match(self, routing_key: str, headers: Headers) -> Iterable[Destination]:
        present = headers()
        matched: dict[Destination, None] = {}
        for binding, criteria in self._criteria.items():
            if binding.destination not in matched and criteria.accept(present):
                matched[binding.destination] = None
        return matched


@dataclass(frozen=True, slots=True)
class Criteria:
    """What a binding of a headers exchange asks for: all or any of `fields`; a void value asks for presence only."""

    needs_all: bool
    fields: tuple[tuple[str, Any], ...]

    @classmethod
    def of(cls, arguments: Arguments) -> Criteria:
        mode = arguments.values.get("x-match", "all")
        if mode not in ("all", "any", "all-with-x", "any-with-x"):
            shown = f"'{mode}'" if isinstance(mode, str) else repr(mode)
            raise PreconditionFailed(
                f"Invalid x-match field value {shown}; expected all, any, all-with-x or any-with-x"
            )
        with_x = mode.endswith("-with-x")
        fields = tuple(
            (name, value)
            for name, value in arguments.values.items()
            if name != "x-match" and (with_x or not name.startswith("x-"))
        )
        return cls(mode.startswith("all"), fields)

    def accept(self, headers: Mapping[str, Any]) -> bool:
        for name, value in self.fields:
            found = name in headers and (value is None or _is_same(value, headers[name]))
            if found is not self.needs_all:
                return found
        return self.needs_all


def _is_same(one: Any, other: Any) -> bool:
    """Compare two field values: integers of any width are alike, but 1, 1.0, true and '1' are four different values."""
    if isinstance(one, int) and isinstance(other, int):
        return one == other and isinstance(one, bool) is isinstance(other, bool)
    if type(one) is not type(other):
        return False
    if isinstance(one, list):
        return len(one) == len(other) and all(map(_is_same, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_is_same(value, other[name]) for name, value in one.items())
    return bool(one == other)


EXCHANGE_TYPES: Final[dict[str, type[Router]]] = {
    "direct": DirectRouter,
    "fanout": FanoutRouter,
    "topic": TopicRouter,
    "headers": HeadersRouter,
}
