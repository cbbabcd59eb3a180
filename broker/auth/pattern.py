"""The regular expressions of permissions (contract A8): found anywhere in a name, like RabbitMQ's.

RE2 takes time that is linear in the name, whatever the expression is: nobody can stop a node by one. What only engines
that backtrack know, back references and looking around, is refused when it is set.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

import re2

MAX_OCTETS: Final = 1000
"""The longest expression, and what the store can keep."""
_MEMORY: Final = 1 << 20
"""Octets that one compiled expression may take."""
_COMPILED: Final = 1000
_VERDICTS: Final = 10_000


class PatternError(ValueError):
    """An expression that cannot be served; the text says why."""


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


@lru_cache(_COMPILED)
def _compile(pattern: str) -> Any:
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1  # octets, like RabbitMQ: names need not be UTF-8
    options.max_mem = _MEMORY
    options.log_errors = False
    options.never_capture = True
    try:
        return re2.compile(_octets(pattern), options)
    except re2.error as error:
        (reason, *_) = error.args or ("it cannot be read",)
        text = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        raise PatternError(text) from None


def _octets(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
