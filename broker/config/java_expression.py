"""Java's regular expressions of WSO2's files, as far as other engines serve them.

RE2 does, in time that is linear in the text. What only engines know that backtrack, such as looking ahead, is left to
Python's, for texts of at most `MAX_TEXT` characters.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

import re2

MAX_TEXT: Final = 255
"""Characters of a text that can match."""


def whole_match(expression: str) -> Callable[[str], bool]:
    """Return what tells whether a text as a whole matches; an empty expression matches every text but an empty one.

    Raises ValueError for an expression that neither engine knows.
    """
    if not expression:
        return lambda text: 0 < len(text) <= MAX_TEXT
    compiled = _compiled(expression)
    return lambda text: len(text) <= MAX_TEXT and compiled.fullmatch(text) is not None


def _compiled(expression: str) -> Any:
    options = re2.Options()
    options.log_errors = False
    options.never_capture = True
    try:
        return re2.compile(expression, options)
    except re2.error:
        pass
    try:
        return re.compile(expression, re.ASCII)
    except (re.error, RecursionError) as error:
        raise ValueError(f"the expression '{expression}' cannot be read: {error}") from None
