"""Many selectors and one message: only those are looked at that the message's values lead to."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Final, Generic, TypeAlias, TypeVar

from broker.selector.message_view import MessageView
from broker.selector.selector import Selector
from broker.selector.syntax import Value
from broker.turn_budget import TurnBudget

_Member = TypeVar("_Member", bound=Hashable)
_Members: TypeAlias = dict[Selector, dict[_Member, None]]

_TRUE: Final = ("true",)
_FALSE: Final = ("false",)
_NAMES_A_STEP: Final = 4


class SelectorIndex(Generic[_Member]):
    """Members, each with a selector. Those with equal selectors are looked at together.

    A selector that needs a name to have a value lies at that value: of several such names, where fewest others lie.
    """

    __slots__ = ("_everywhere", "_places", "_size")

    def __init__(self) -> None:
        self._places: dict[str, dict[Hashable, _Members[_Member]]] = {}
        self._everywhere: _Members[_Member] = {}
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def add(self, selector: Selector, member: _Member) -> None:
        """Add a member; once more is not another one."""
        place = self._find(selector)
        if place is not None:
            members = self._at(place)[selector]
        elif selector.equals:
            best = min(_places_of(selector), key=lambda place: len(self._places.get(place[0], {}).get(place[1], ())))
            members = self._places.setdefault(best[0], {}).setdefault(best[1], {}).setdefault(selector, {})
        else:
            members = self._everywhere.setdefault(selector, {})
        self._size += member not in members
        members[member] = None

    def remove(self, selector: Selector, member: _Member) -> None:
        """Remove a member. Raises KeyError when it is not there."""
        place = self._find(selector)
        if place is None:
            raise KeyError(member)
        selectors = self._at(place)
        members = selectors[selector]
        del members[member]
        self._size -= 1
        if not members:
            del selectors[selector]
            if place[0] is not None and not selectors:
                values = self._places[place[0]]
                del values[place[1]]
                if not values:
                    del self._places[place[0]]

    def match(self, view: MessageView, work: TurnBudget) -> Iterator[_Member | None]:
        """Yield the members whose selector lets the message pass, and None for each selector that does not.

        What it costs is counted in `work`. Who stops between two of them may go on later: members that come and go
        meanwhile may be missed, or yielded a last time.
        """
        for selectors in self._candidates(view, work):
            for selector, members in tuple(selectors.items()):
                work.done += selector.steps_for(view)
                if selector.matches(view):
                    yield from tuple(members)
                else:
                    yield None

    def _candidates(self, view: MessageView, work: TurnBudget) -> Iterator[_Members[_Member]]:
        if self._everywhere:
            yield self._everywhere
        names = tuple(view.present(self._places.keys())) if self._places else ()
        work.done += len(names) // _NAMES_A_STEP
        for name in names:
            selectors = self._places.get(name, {}).get(_key(view[name]))
            if selectors:
                yield selectors

    def _find(self, selector: Selector) -> tuple[str | None, Hashable] | None:
        """Return where the selector lies; None when it does not."""
        if selector in self._everywhere:
            return None, None
        for name, key in _places_of(selector):
            if selector in self._places.get(name, {}).get(key, ()):
                return name, key
        return None

    def _at(self, place: tuple[str | None, Hashable]) -> _Members[_Member]:
        name, key = place
        return self._everywhere if name is None else self._places[name][key]


def _places_of(selector: Selector) -> list[tuple[str, Hashable]]:
    return [(name, _key(value)) for name, value in (selector.equals or {}).items()]


def _key(value: Value) -> Hashable:
    """Return what equals that of another value if a selector takes them for equal: a boolean is no number."""
    return (_TRUE if value else _FALSE) if isinstance(value, bool) else value
