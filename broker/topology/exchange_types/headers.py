"""The type `headers`: a binding matches by its arguments and the message's headers (contract E4).

A binding is looked at only when a header leads to it: bindings lie at the values, or the names, that they ask for.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from broker.codec.equality import comparable
from broker.codec.field_table import FieldTable
from broker.errors import PreconditionFailed
from broker.topology.binding import Binding, Destination
from broker.topology.routed_message import RoutedMessage
from broker.turn_budget import TurnBudget

Field: TypeAlias = str | tuple[str, Hashable]
"""What a binding asks for: a header's name, or its name and value."""
Index: TypeAlias = dict[Field, dict[Binding, None]]

_FIELDS_A_STEP: Final = 8


class HeadersRouter:
    """The bindings by what they ask for.

    One that asks for any of its fields lies at each of them, one that asks for all at the one where fewest others are.
    """

    __slots__ = ("_all", "_any", "_criteria", "_unconditional")
    is_dynamic = True
    uses_keys = False

    def __init__(self) -> None:
        self._criteria: dict[Binding, Criteria] = {}
        self._any: Index = {}
        self._all: Index = {}
        self._unconditional: dict[Binding, None] = {}

    def check(self, binding: Binding) -> None:
        Criteria.of(binding.arguments)

    def add(self, binding: Binding) -> None:
        criteria = self._criteria[binding] = Criteria.of(binding.arguments)
        if not criteria.fields:
            if criteria.needs_all:
                self._unconditional[binding] = None
        elif criteria.needs_all:
            criteria.place = min(criteria.fields, key=lambda field: len(self._all.get(field, ())))
            self._all.setdefault(criteria.place, {})[binding] = None
        else:
            for field in criteria.fields:
                self._any.setdefault(field, {})[binding] = None

    def remove(self, binding: Binding) -> None:
        criteria = self._criteria.pop(binding)
        if criteria.place is not None:
            _remove(self._all, criteria.place, binding)
        elif criteria.needs_all:
            del self._unconditional[binding]
        else:
            for field in criteria.fields:
                _remove(self._any, field, binding)

    def match(self, routing_key: str, message: RoutedMessage, work: TurnBudget) -> Iterator[Destination | None]:
        for binding in tuple(self._unconditional):
            yield binding.destination
        present = comparable(message.headers)
        work.done += len(present)
        for name, value in present.items():
            for field in (name, (name, value)):
                for binding in tuple(self._any.get(field, ())):
                    yield binding.destination
                for binding in tuple(self._all.get(field, ())):
                    criteria = self._criteria.get(binding)
                    if criteria is not None:  # it may have gone while the search paused
                        work.done += len(criteria.fields) // _FIELDS_A_STEP
                        yield binding.destination if criteria.has_all(present) else None


@dataclass(slots=True)
class Criteria:
    """What a binding of a headers exchange asks for: all or any of `fields`."""

    needs_all: bool
    fields: tuple[Field, ...]
    place: Field | None = None
    """The one of `fields` at which a binding lies that needs all."""

    @classmethod
    def of(cls, arguments: FieldTable) -> Criteria:
        mode = arguments.values.get("x-match", "all")
        if mode not in ("all", "any", "all-with-x", "any-with-x"):
            if not isinstance(mode, str):
                kind = arguments.types["x-match"]
                raise PreconditionFailed(f"Invalid x-match field type {kind} (value {mode}); expected longstr")
            raise PreconditionFailed(
                f'Invalid x-match field value <<"{mode}">>; expected all, any, all-with-x, or any-with-x'
            )
        with_x = mode.endswith("-with-x")
        fields = tuple(
            name if arguments.values[name] is None else (name, value)  # a void value asks for presence
            for name, value in comparable(arguments).items()
            if name != "x-match" and (with_x or not name.startswith("x-"))
        )
        return cls(mode.startswith("all"), fields)

    def has_all(self, present: Mapping[str, Hashable]) -> bool:
        """Does a message with these headers have every field?"""
        for field in self.fields:
            if isinstance(field, str):
                if field not in present:
                    return False
            elif present.get(field[0], _ABSENT) != field[1]:
                return False
        return True


_ABSENT: Final = object()


def _remove(index: Index, field: Field, binding: Binding) -> None:
    bindings = index[field]
    del bindings[binding]
    if not bindings:
        del index[field]
