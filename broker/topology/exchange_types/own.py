"""Exchange types of one's own: classes that other packages bring (docs/exchange-types.md).

Such a class may do anything, and it may fail. Whatever it raises at a declaration, a binding or a message refuses that
one and closes that client's channel; whatever it raises where nobody can be refused any more is told by `on_fault`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Protocol, TypeAlias

from broker.codec.field_table import EMPTY_TABLE, FieldTable
from broker.codec.properties import BasicProperties
from broker.errors import PreconditionFailed
from broker.topology.binding import Binding, Destination
from broker.topology.routed_message import RoutedMessage
from broker.turn_budget import TurnBudget

REQUIRED: Final = ("bind", "unbind", "route")
"""The methods without which a class is no exchange type."""

OnFault: TypeAlias = Callable[[str, Exception], None]
"""Is told which type has failed, and how."""


class ExchangeType(Protocol):
    """What an object of such a class does for one exchange, on one node.

    A destination is `("queue", name)` or `("exchange", name)`; arguments and headers are dicts of decoded values.
    """

    def bind(self, destination: Destination, routing_key: str, arguments: Mapping[str, Any]) -> None:
        """A binding is there from now on."""

    def unbind(self, destination: Destination, routing_key: str, arguments: Mapping[str, Any]) -> None:
        """A binding is there no more."""

    def route(self, routing_key: str, headers: Mapping[str, Any], properties: BasicProperties) -> Iterable[Destination]:
        """Return the destinations of a message."""
        ...


NewExchangeType: TypeAlias = Callable[[Mapping[str, Any]], ExchangeType]
"""Makes the object for an exchange that is declared with these arguments; a ValueError refuses them, in its words."""


class OwnRouter:
    """Asks the object of one exchange, and bears with it."""

    __slots__ = ("_bound", "_check", "_exchange", "_on_fault", "_route", "_routed", "_type", "is_dynamic")
    uses_keys = True

    def __init__(
        self, type: str, new: NewExchangeType, on_fault: OnFault, exchange: str, arguments: FieldTable
    ) -> None:
        """Refuse what the class refuses."""
        self._type = type
        self._exchange = exchange
        self._on_fault = on_fault
        self._routed: ExchangeType = self._asked(lambda: new(dict(arguments.values)))
        self._route = self._routed.route
        self._check = getattr(self._routed, "check", None)
        self.is_dynamic = not getattr(self._routed, "routes_by_key_alone", False)
        self._bound: set[Binding] = set()

    def check(self, binding: Binding) -> None:
        check = self._check
        if check is not None:
            self._asked(lambda: check(*_parts(binding)))

    def add(self, binding: Binding) -> None:
        try:
            self._routed.bind(*_parts(binding))
        except Exception as error:
            self._on_fault(self._type, error)
        else:
            self._bound.add(binding)

    def remove(self, binding: Binding) -> None:
        if binding not in self._bound:
            return
        self._bound.discard(binding)
        try:
            self._routed.unbind(*_parts(binding))
        except Exception as error:
            self._on_fault(self._type, error)

    def match(self, routing_key: str, message: RoutedMessage, work: TurnBudget) -> Iterable[Destination | None]:
        try:
            headers = (message.headers if self.is_dynamic else EMPTY_TABLE).values
            return list(map(_destination, self._route(routing_key, dict(headers), message.properties)))
        except Exception as error:
            self._on_fault(self._type, error)
            raise PreconditionFailed(
                f"cannot route through exchange '{self._exchange}': its type '{self._type}' has failed"
            ) from error

    def _asked(self, ask: Callable[[], Any]) -> Any:
        try:
            return ask()
        except ValueError as error:
            raise PreconditionFailed(str(error)) from error
        except Exception as error:
            self._on_fault(self._type, error)
            raise PreconditionFailed(f"exchange '{self._exchange}': its type '{self._type}' has failed") from error


def _parts(binding: Binding) -> tuple[Destination, str, Mapping[str, Any]]:
    return binding.destination, binding.routing_key, dict(binding.arguments.values)


def _destination(found: Any) -> Destination:
    kind, name = found
    if kind not in ("queue", "exchange") or not isinstance(name, str):
        raise TypeError(f"route has returned {found!r}, which is no destination")
    return kind, name
