"""The type `x-consistent-hash`: a message goes to one destination, chosen by a hash (contract E5).

The binding's key is a weight: a destination gets that many parts of what comes. Destinations draw lots for each hash,
and the best lot wins (weighted rendezvous hashing). So the choice depends on nothing but the bindings and the hash, not
on their order, this process or the node; a binding that comes takes over its part, one that goes leaves its own, and
nothing else moves.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterator, Mapping
from math import log
from typing import Any, Final, TypeAlias

from broker.codec.equality import comparable
from broker.codec.field_table import FieldTable
from broker.errors import PreconditionFailed
from broker.topology.binding import Binding, Destination
from broker.topology.exchange_types.stable_hash import stable_hash
from broker.topology.routed_message import RoutedMessage
from broker.turn_budget import TurnBudget

HashedBy: TypeAlias = Callable[[str, RoutedMessage], Hashable]
"""Returns what of a routing key and a message is hashed."""

_PROPERTIES: Final = ("correlation_id", "message_id", "timestamp")
_WEIGHT: Final = re.compile(r"[+-]?[0-9]+")
_REMEMBERED: Final = 8192
"""Hashes whose winner an exchange remembers; about 1.5 MiB."""
_LOTS_AT_ONCE: Final = 1000
_LOTS_A_STEP: Final = 2
_MASK: Final = (1 << 64) - 1


class ConsistentHashRouter:
    """The destinations with their weights, and the winners found so far."""

    __slots__ = ("_hashed_by", "_lots", "_weights", "_winners", "is_dynamic")
    uses_keys = False

    def __init__(self, arguments: FieldTable) -> None:
        """Refuse arguments that do not say what is hashed."""
        self._hashed_by, self.is_dynamic = _hashed_by(arguments.values)
        self._weights: dict[Destination, dict[Binding, int]] = {}
        self._lots: tuple[tuple[Destination, int, float], ...] | None = None
        """Each destination with its own hash and its weight; None until they are needed again."""
        self._winners: dict[int, Destination] = {}

    def check(self, binding: Binding) -> None:
        _weight_of(binding)

    def add(self, binding: Binding) -> None:
        weight = _weight_of(binding)
        self._weights.setdefault(binding.destination, {})[binding] = weight
        self._forget()

    def remove(self, binding: Binding) -> None:
        weights = self._weights[binding.destination]
        del weights[binding]
        if not weights:
            del self._weights[binding.destination]
        self._forget()

    def _forget(self) -> None:
        self._lots = None
        self._winners = {}

    def match(self, routing_key: str, message: RoutedMessage, work: TurnBudget) -> Iterator[Destination | None]:
        hashed = stable_hash(self._hashed_by(routing_key, message))
        winners = self._winners
        winner = winners.get(hashed)
        if winner is None and self._weights:
            lots = self._lots
            if lots is None:
                lots = self._lots = self._lay_out()
            best = -1.0
            for start in range(0, len(lots), _LOTS_AT_ONCE):
                if start:
                    yield None
                for destination, seed, weight in lots[start : start + _LOTS_AT_ONCE]:
                    lot = _lot(hashed ^ seed, weight)
                    if lot > best:
                        best, winner = lot, destination
                work.done += min(len(lots) - start, _LOTS_AT_ONCE) // _LOTS_A_STEP
            if winner is not None:
                if len(winners) >= _REMEMBERED:
                    winners.clear()
                winners[hashed] = winner
        yield winner

    def _lay_out(self) -> tuple[tuple[Destination, int, float], ...]:
        return tuple(
            (destination, stable_hash(destination), float(sum(weights.values())))
            for destination, weights in sorted(self._weights.items())
        )


def _hashed_by(arguments: Mapping[str, Any]) -> tuple[HashedBy, bool]:
    """Return what is hashed, and whether that depends on more of a message than its routing key."""
    header, name = arguments.get("hash-header"), arguments.get("hash-property")
    if header is not None and name is not None:
        raise PreconditionFailed("hash-header and hash-property are mutually exclusive")
    if header is not None:
        if not isinstance(header, str):
            raise PreconditionFailed("invalid arg 'hash-header': expected a longstr")
        return lambda routing_key, message: comparable(message.headers).get(header), True
    if name is not None:
        if name not in _PROPERTIES:
            raise PreconditionFailed(f"Unsupported property: {name}")
        return lambda routing_key, message: getattr(message.properties, name), True
    return lambda routing_key, message: routing_key, False


def _weight_of(binding: Binding) -> int:
    key = binding.routing_key
    if not _WEIGHT.fullmatch(key):
        shown = f'<<"{key}">>' if key else "<<>>"  # an Erlang term, as RabbitMQ shows it
        raise PreconditionFailed(f"The binding key must be an integer: {shown}")
    weight = int(key)
    if weight < 1:
        raise PreconditionFailed("The binding key must be greater than 0")
    return weight


def _lot(bits: int, weight: float) -> float:
    """Return the lot that these 64 bits draw: with twice the weight the best of two such lots."""
    bits = bits * 0xBF58476D1CE4E5B9 & _MASK
    bits = (bits ^ bits >> 32) * 0x94D049BB133111EB & _MASK
    return -weight / log(((bits ^ bits >> 29) >> 11 | 1) * 2.0**-53)
