"""LIKE: patterns in which `%` stands for any characters and `_` for one, matched without going back.

The parts between the `%` are found one after the other, each at its first place behind the one before. So the work is
linear in the text, and nothing in a pattern can make it more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

MAX_SCANS: Final = 8
"""Parts with `_` between letters behind a `%` that the patterns of one selector may have. Only those look at each
character by itself, which takes some tenth of a microsecond."""

_ONE: Final = None
"""Stands for `_` in a part."""
_Part: TypeAlias = list[str | None]
_Find: TypeAlias = Callable[[str, int, int], int]
"""Finds a part between two places; returns the place behind it, or -1."""

Matches: TypeAlias = Callable[[str], bool]


def matcher(pattern: str, escape: str = "") -> Matches:
    """Return a function that tells whether a whole text is like `pattern`.

    A character behind `escape` stands for itself. Raises ValueError when none is behind it.
    """
    first, *others = _parts(pattern, escape)
    if not others:
        return _whole(first)
    *middle, last = others
    found = [_finder(gap, core) for gap, core in _floating(middle)]
    least = sum(map(len, (first, last, *middle)))
    begins, ends = _anchored(first), _anchored(last)
    after, before = len(first), len(last)

    def matches(text: str) -> bool:
        end = len(text) - before
        if len(text) < least or not begins(text, 0) or not ends(text, end):
            return False
        place = after
        for find in found:
            place = find(text, place, end)
            if place < 0:
                return False
        return True

    return matches


def scans_of(pattern: str, escape: str = "") -> int:
    """Return how many parts look at each character by itself (`MAX_SCANS`). Raises ValueError as `matcher` does."""
    return sum(_ONE in core for _, core in _floating(_parts(pattern, escape)[1:-1]))


def _parts(pattern: str, escape: str) -> list[_Part]:
    """Return what stands between the `%`."""
    parts: list[_Part] = [[]]
    characters = iter(pattern)
    for character in characters:
        if character == escape:
            following = next(characters, None)
            if following is None:
                raise ValueError("no character behind the one of ESCAPE")
            parts[-1].append(following)
        elif character == "%":
            parts.append([])
        else:
            parts[-1].append(_ONE if character == "_" else character)
    return parts


def _floating(parts: list[_Part]) -> list[tuple[int, _Part]]:
    """Return each part as how many characters must be before it, and what remains between its letters.

    What it needs behind its last letter, the next one needs before its first. The last may be without letters.
    """
    found, gap = [], 0
    for part in parts:
        letters = [place for place, character in enumerate(part) if character is not _ONE]
        if letters:
            found.append((gap + letters[0], part[letters[0] : letters[-1] + 1]))
            gap = len(part) - letters[-1] - 1
        else:
            gap += len(part)
    return [*found, (gap, [])] if gap else found


def _whole(part: _Part) -> Matches:
    if _ONE not in part:
        return _text(part).__eq__
    fits, size = _anchored(part), len(part)
    return lambda text: len(text) == size and fits(text, 0)


def _anchored(part: _Part) -> Callable[[str, int], bool]:
    """Return a function that tells whether the part, which fits into the text, stands at a place."""
    if _ONE not in part:
        literal = _text(part)
        return lambda text, place: text.startswith(literal, place)
    letters = [(place, character) for place, character in enumerate(part) if character is not _ONE]
    return lambda text, place: all(text[place + index] == character for index, character in letters)


def _finder(gap: int, core: _Part) -> _Find:
    if not core:
        return lambda text, start, end: start + gap if start + gap <= end else -1
    if _ONE in core:
        return _scanner(gap, core)
    literal, size = _text(core), len(core)

    def find(text: str, start: int, end: int) -> int:
        place = text.find(literal, start + gap, end)
        return place + size if place >= 0 else -1

    return find


def _scanner(gap: int, core: _Part) -> _Find:
    """Return a function that keeps, as bits, which beginnings of `core` end at the character it looks at."""
    anything = sum(1 << place for place, character in enumerate(core) if character is _ONE)
    places = {character: anything for character in core if character is not _ONE}
    for place, character in enumerate(core):
        if character is not _ONE:
            places[character] |= 1 << place
    complete = 1 << len(core) - 1

    def find(text: str, start: int, end: int) -> int:
        state = 0
        for place in range(start + gap, end):
            state = (state << 1 | 1) & places.get(text[place], anything)
            if state & complete:
                return place + 1
        return -1

    return find


def _text(part: _Part) -> str:
    return "".join([character for character in part if character is not None])
