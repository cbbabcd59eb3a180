"""A reader for Java properties files that gives keys, values and line numbers.

It supports the parts of the format that people write by hand.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from broker.errors import ConfigError

_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_KEY_AND_VALUE = re.compile(r"((?:\\.|[^\\=:\s])*)\s*[=:]?\s*(.*)", re.DOTALL)
_CONTROL = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}


@dataclass(frozen=True, slots=True)
class Property:
    """One entry and the line it starts on."""

    key: str
    value: str
    line: int


def parse(content: bytes, label: str) -> list[Property]:
    """Return the entries of a properties file in their order."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ConfigError(f"{label}:1: a properties file is ISO-8859-1 text, not UTF-16")
    lines = [line.decode("iso-8859-1") for line in content.removeprefix(b"\xef\xbb\xbf").splitlines()]
    entries = []
    index = 0
    while index < len(lines):
        first = index
        text = lines[index].lstrip()
        index += 1
        if not text or text[0] in "#!":
            continue
        while _continues(text) and index < len(lines):
            text = text[:-1] + lines[index].lstrip()
            index += 1
        match = _KEY_AND_VALUE.match(text)
        if match:
            entries.append(Property(_unescape(match[1]), _unescape(match[2].rstrip()), first + 1))
    return entries


def _continues(text: str) -> bool:
    return (len(text) - len(text.rstrip("\\"))) % 2 == 1


def _unescape(text: str) -> str:
    return _ESCAPE.sub(_character, text)


def _character(match: re.Match[str]) -> str:
    code = match[1]
    if len(code) == 5:
        return chr(int(code[1:], 16))
    return _CONTROL.get(code, code)
