"""The words of a selector: names, keywords, constants and signs, each with its place in the text."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import Final

from broker.errors import InvalidSelector

MAX_OCTETS: Final = 8192
"""Octets of UTF-8 that a selector may have."""

KEYWORDS: Final = frozenset(
    ("AND", "BETWEEN", "ESCAPE", "FALSE", "IN", "IS", "LIKE", "NOT", "NULL", "OR", "TRUE"),
)
NAME: Final = "name"
STRING: Final = "string"
NUMBER: Final = "number"
END: Final = "end"

_MOST: Final = 1 << 63
"""The largest integer, for a minus sign before it: -2^63 is the smallest that JMS has."""
_SHOWN: Final = 32


class SelectorError(InvalidSelector):
    """A selector that cannot be served; the text is one line that says why, and where."""

    def __init__(self, reason: str, position: int) -> None:
        """`position` is that of a character, from 1."""
        super().__init__(f"{reason} at character {position}")
        self.position = position


@dataclass(frozen=True, slots=True)
class Token:
    """One word. `kind` is NAME, STRING, NUMBER, END, or the keyword or sign itself; `position` counts from 1."""

    kind: str
    value: str | int | float
    position: int

    def __str__(self) -> str:
        """Return the word as an error shows it."""
        return "the end" if self.kind == END else repr(self.value)[:_SHOWN]


# No alternative can match in two ways, so the time is linear. Letters after a number are a suffix only if none follow.
_TOKEN: Final = re.compile(
    r"""
      (?P<space>    [ \t\r\n\f]+ )
    | (?P<name>     (?:[^\W\d]|\$)[\w$]* )
    | (?P<quoted>   "(?:[^"]|"")*" )
    | (?P<string>   '(?:[^']|'')*' )
    | (?P<hex>      0[xX][0-9a-fA-F]+ ) (?:[lL](?![\w$]))?
    | (?P<float>    (?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?
                  | [0-9]+[eE][+-]?[0-9]+
                  | [0-9]+(?=[fFdD](?![\w$])) )
      (?P<single>   [fF](?![\w$]) )? (?:[dD](?![\w$]))?
    | (?P<integer>  [0-9]+ ) (?:[lL](?![\w$]))?
    | (?P<sign>     <> | <= | >= | [=<>+\-*/%(),] )
    """,
    re.VERBOSE,
)
_LINE_END: Final = re.compile(r"[\r\n]")


def tokenize(text: str) -> list[Token]:
    """Return the words of `text`, then one that is its end. Raises `SelectorError`."""
    if len(text.encode("utf-8", "surrogatepass")) > MAX_OCTETS:
        raise SelectorError(f"longer than {MAX_OCTETS} octets", MAX_OCTETS + 1)
    found = []
    place, end = 0, len(text)
    last_line = max(text.rfind("\n"), text.rfind("\r"))
    while place < end:
        after = _after_comment(text, place, last_line)
        if after > place:
            place = after
            continue
        match = _TOKEN.match(text, place)
        if match is None:
            raise SelectorError(_unreadable(text, place), place + 1)
        place = match.end()
        if match.lastgroup != "space":
            found.append(_token(match))
    found.append(Token(END, "", end + 1))
    return found


def _after_comment(text: str, place: int, last_line: int) -> int:
    """Return where the comment that begins at `place` ends, or `place`.

    Two minus signs begin one only before the end of a line, the last of which is at `last_line`: `5 --3` is 8.
    """
    if text.startswith("/*", place):
        end = text.find("*/", place + 2)
        if end < 0:
            raise SelectorError("a comment without an end", place + 1)
        return end + 2
    if text.startswith("--", place) and place < last_line:
        line_end = _LINE_END.search(text, place)
        return line_end.end() if line_end else place
    return place


def _token(match: re.Match[str]) -> Token:
    position = match.start() + 1
    groups = match.groupdict()
    if (name := groups["name"]) is not None:
        keyword = name.upper()
        return Token(keyword if keyword in KEYWORDS else NAME, name, position)
    if (quoted := groups["quoted"]) is not None:
        return Token(NAME, quoted[1:-1].replace('""', '"'), position)
    if (string := groups["string"]) is not None:
        return Token(STRING, string[1:-1].replace("''", "'"), position)
    if (sign := groups["sign"]) is not None:
        return Token(sign, sign, position)
    if (digits := groups["float"]) is not None:
        return Token(NUMBER, _float(digits, groups["single"] is not None, position), position)
    if (digits := groups["hex"]) is not None:
        return Token(NUMBER, _integer(digits[2:], 16, position), position)
    return Token(NUMBER, _integer(groups["integer"], 10, position), position)


def _integer(digits: str, base: int, position: int) -> int:
    significant = digits.lstrip("0")
    if base == 10 and digits[0] == "0" and significant:
        if "8" in digits or "9" in digits:
            raise SelectorError(f"{digits[:_SHOWN]!r} begins with 0 and is no octal number", position)
        base = 8
    number = int(significant or "0", base) if len(significant) <= 22 else _MOST + 1
    if number > _MOST:
        raise SelectorError("a number beyond 64 bits", position)
    return number


def _float(digits: str, is_single: bool, position: int) -> float:
    number = float(digits)
    try:
        if is_single:  # as exact as the header that it is compared with
            number = struct.unpack(">f", struct.pack(">f", number))[0]
    except OverflowError:
        number = float("inf")
    if number == float("inf"):
        raise SelectorError("a number that is too large", position)
    return number


def _unreadable(text: str, place: int) -> str:
    return {"'": "a string without an end", '"': "a name without an end"}.get(
        text[place], f"an unexpected character {text[place]!a}"
    )
