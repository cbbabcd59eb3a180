"""The type `x-recent-history`: every binding matches, and a new one gets the last messages, too (contract E8).

What is kept lies in the memory of the node to which it was published, and ends with it, as with RabbitMQ. In a cluster
every node gives a new binding what it has itself.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from broker.codec.field_table import FieldTable
from broker.errors import PreconditionFailed
from broker.message import weight_of
from broker.topology.binding import Binding, Destination, accept_any
from broker.topology.exchange_types.fanout import FanoutRouter
from broker.topology.routed_message import RoutedMessage
from broker.turn_budget import TurnBudget

LENGTH: Final = 20
MOST: Final = 10_000
"""A binding copies the whole history at once."""
MOST_OCTETS: Final = 16 * 1024 * 1024
"""What the history of an exchange may occupy; what is larger by itself is not kept."""
_INTEGERS: Final = ("byte", "short", "signedint", "long")


@dataclass(frozen=True, slots=True)
class Kept:
    """A message of the history: `routing` and what follows are those of `Message`."""

    routing: bytes
    header: bytes
    body: bytes
    chunks: list[bytes] | None
    is_persistent: bool

    @property
    def routing_key(self) -> str:
        return self.routing[self.routing[0] + 2 :].decode("utf-8", "surrogateescape")

    def on_its_way(self) -> RoutedMessage:
        """Return the message for other exchanges to route."""
        return RoutedMessage(self.header, self.body, self.chunks, self.is_persistent)

    @property
    def weight(self) -> int:
        return weight_of(self.routing, self.header, self.body, self.chunks)


class RecentHistoryRouter:
    """The destinations, and the history."""

    __slots__ = ("_bound", "_length", "_octets", "history")
    is_dynamic = True
    uses_keys = False
    check = staticmethod(accept_any)

    def __init__(self, arguments: FieldTable) -> None:
        """Refuse a length that is none."""
        self._length = _length(arguments.values, arguments.types)
        self._bound = FanoutRouter()
        self.history: deque[Kept] = deque()
        """The last messages, oldest first."""
        self._octets = 0

    def add(self, binding: Binding) -> None:
        self._bound.add(binding)

    def remove(self, binding: Binding) -> None:
        self._bound.remove(binding)

    def match(self, routing_key: str, message: RoutedMessage, work: TurnBudget) -> Iterable[Destination | None]:
        if message.headers.values.get("x-recent-history-no-store") is not True:
            message.keepers += (self,)
        return list(self._bound.destinations)

    def keep(self, routing: bytes, message: RoutedMessage) -> None:
        kept = Kept(routing, message.header, message.body, message.chunks, message.is_persistent)
        history = self.history
        if kept.weight > MOST_OCTETS:
            return
        history.append(kept)
        self._octets += kept.weight
        while len(history) > self._length or self._octets > MOST_OCTETS:
            self._octets -= history.popleft().weight


def _length(values: Mapping[str, Any], types: Mapping[str, str]) -> int:
    if "x-recent-history-length" not in values:
        return LENGTH
    length = values["x-recent-history-length"]
    if types["x-recent-history-length"] not in _INTEGERS or length < 1:
        shown = _term(length)
        raise PreconditionFailed(f"Invalid argument {shown}, 'x-recent-history-length' must be a positive integer")
    if length > MOST:
        raise PreconditionFailed(f"Invalid argument {length}, 'x-recent-history-length' must be {MOST} or less")
    return int(length)


def _term(value: object) -> str:
    """Return how RabbitMQ shows a value: as an Erlang term."""
    if isinstance(value, str):
        return f'<<"{value}">>'
    if isinstance(value, bool):
        return str(value).lower()
    return "undefined" if value is None else str(value)
