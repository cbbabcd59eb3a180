"""The regular expressions of permissions (contract A8): found anywhere in a name, like RabbitMQ's.

RE2 takes time that is linear in the name, whatever the expression is: nobody can stop a node by one. What only engines
that backtrack know, back references and looking around, is refused when it is set; but for one that says at its
beginning what it does not match, as in `^(?!amq\\.).*`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final, Protocol, TypeAlias

import re2

MAX_OCTETS: Final = 1000
"""The longest expression, and what the store can keep."""
_MEMORY: Final = 1 << 20
"""Octets that one compiled expression may take."""
_COMPILED: Final = 1000
_NOT: Final = "^(?!"
_VERDICTS: Final = 10_000


class PatternError(ValueError):
    """An expression that cannot be served; the text says why."""


class _Compiled(Protocol):
    """An expression that is looked for in octets."""

    def search(self, octets: bytes) -> Any: ...


Matches: TypeAlias = Callable[[str], bool]
"""Is the expression found in a name?"""


class _Excluding:
    """An expression that matches unless another does, both from the beginning of a name."""

    def __init__(self, excluded: _Compiled, rest: _Compiled) -> None:
        self._excluded = excluded
        self._rest = rest

    def search(self, octets: bytes) -> bool:
        return self._excluded.search(octets) is None and self._rest.search(octets) is not None


def check(pattern: str) -> None:
    """Raise `PatternError` for an expression that cannot be served."""
    if len(_octets(pattern)) > MAX_OCTETS:
        raise PatternError(f"the expression is longer than {MAX_OCTETS} octets")
    _compile(pattern)


@lru_cache(_VERDICTS)
def matches(pattern: str, name: str) -> bool:
    """Does the expression match somewhere in `name`? An empty one matches nothing but an empty name.

    One that cannot be served, which only a foreign hand can have recorded, matches nothing.
    """
    try:
        return bool(_compile(pattern or "^$").search(_octets(name)))
    except PatternError:
        return False


def matcher(pattern: str) -> Matches:
    """Return a function that finds the expression of a policy in names; an empty one is found in all.

    Raises `PatternError`.
    """
    search = _compile(pattern).search
    return lambda name: bool(search(_octets(name)))


@lru_cache(_COMPILED)
def _compile(pattern: str) -> _Compiled:
    if pattern.startswith(_NOT) and (parts := _parts(pattern[len(_NOT) :])) is not None:
        excluded, rest = parts
        return _Excluding(_compile_as_it_is(f"^(?:{excluded})"), _compile_as_it_is(f"^(?:{rest})"))
    return _compile_as_it_is(pattern)


def _parts(text: str) -> tuple[str, str] | None:
    """Return what stands before the parenthesis that closes one before `text`, and behind it; None if there is no such
    parenthesis, or what is behind it is a choice, of which the other parts exclude nothing.
    """
    depth, in_class, place, end = 0, False, 0, None
    while place < len(text):
        char = text[place]
        if char == "\\":
            place += 1
        elif in_class:
            in_class = char != "]"
        elif char == "[":
            in_class = True
            place += text.startswith("^", place + 1)
            place += text.startswith("]", place + 1)  # a bracket that comes first is no end
        elif char == "(":
            depth += 1
        elif char == ")":
            depth -= 1
            if depth < 0:
                if end is not None:
                    return None
                end, depth = place, 0
        elif char == "|" and end is not None and depth == 0:
            return None
        place += 1
    return None if end is None else (text[:end], text[end + 1 :])


def _compile_as_it_is(pattern: str) -> _Compiled:
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1  # octets, like RabbitMQ: names need not be UTF-8
    options.max_mem = _MEMORY
    options.log_errors = False
    options.never_capture = True
    try:
        compiled: _Compiled = re2.compile(_octets(pattern), options)
    except re2.error as error:
        (reason, *_) = error.args or ("it cannot be read",)
        text = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        raise PatternError(text) from None
    return compiled


def _octets(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
