"""What texts and numbers of a request may be: what no store takes is refused here, before a handler sees it.

Octets of a path or a query that are no UTF-8 are lone surrogates in a text (PEP 383), and JSON can spell such halves
itself (RFC 8259, section 8.2). Nothing has such a name, and no database takes one; nor does any take a whole number of
more than 63 bits and a sign.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from json import JSONDecoder, detect_encoding
from typing import Any, Final

MOST: Final = (1 << 63) - 1
"""The largest whole number of a request."""
_LEAST: Final = -(1 << 63)
_DIGITS: Final = 20
"""Characters of the longest number, with its sign."""
_LONE: Final = re.compile("[\ud800-\udfff]")
_ESCAPE: Final = re.compile(r"\\u[dD][89a-fA-F]")
"""A half of a pair, as JSON spells it."""


class RefusedValue(ValueError):
    """Says what cannot be served, in words for who has sent it."""


def require_texts(texts: Iterable[str], what: str) -> None:
    """Raise `RefusedValue` if one of some texts has octets that are no UTF-8; `what` says which texts these are."""
    if any(_LONE.search(text) for text in texts):
        raise RefusedValue(f"{what} is not UTF-8: send its octets in UTF-8, each beyond ASCII as %XX")


def read_json(octets: bytes) -> Any:
    """Return a value of JSON. Raises `RefusedValue` for texts and numbers of it, ValueError and RecursionError for what
    is no JSON.
    """
    try:
        text = octets.decode(detect_encoding(octets))
    except UnicodeDecodeError:
        raise RefusedValue("not_json: the body is not UTF-8") from None
    value = JSON_DECODER.decode(text)
    require_whole_pairs(value, text, 0, len(text))
    return value


def require_whole_pairs(value: Any, text: str, start: int, end: int) -> None:
    """Raise `RefusedValue` if a text of a value has half of a surrogate pair; JSON spells the value so in a part of
    `text`.
    """
    if _ESCAPE.search(text, start, end) is None:
        return
    left = [value]
    while left:
        each = left.pop()
        if isinstance(each, dict):
            left += each
            left += each.values()
        elif isinstance(each, list):
            left += each
        elif isinstance(each, str) and _LONE.search(each):
            raise RefusedValue("a text of the body has half of a surrogate pair: send the character in UTF-8, or both")


def _refuse(constant: str) -> None:
    """NaN and the infinities are read by Python, and by nobody else."""
    raise ValueError(constant)


def _whole(digits: str) -> int:
    if len(digits) > _DIGITS or not _LEAST <= (number := int(digits)) <= MOST:
        raise RefusedValue(f"the body has a whole number beyond {_LEAST} to {MOST}: {digits[: _DIGITS + 1]}")
    return number


JSON_DECODER: Final = JSONDecoder(parse_constant=_refuse, parse_int=_whole)
"""Reads JSON without what cannot be stored, but for halves of pairs."""
