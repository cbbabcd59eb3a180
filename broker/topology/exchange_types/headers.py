"""The type `headers`: a binding matches by its arguments and the message's headers (contract E4)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from broker.codec.field_table import FieldTable
from broker.errors import PreconditionFailed
from broker.topology.binding import Binding, Destination, Headers


class HeadersRouter:
    """The bindings with what their arguments ask for."""

    __slots__ = ("_criteria",)
    uses_headers = True

    def __init__(self) -> None:
        self._criteria: dict[Binding, Criteria] = {}

    def check(self, arguments: FieldTable) -> None:
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
    def of(cls, arguments: FieldTable) -> Criteria:
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
