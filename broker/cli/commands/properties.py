"""Properties of a message as command lines say them: refused before anything is sent if they are none."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

import click

_TEXTS: Final = (
    "content_type",
    "content_encoding",
    "correlation_id",
    "reply_to",
    "expiration",
    "message_id",
    "type",
    "user_id",
    "app_id",
    "cluster_id",
)
_NUMBERS: Final[Mapping[str, tuple[int, int, str]]] = {
    "delivery_mode": (1, 2, "1 for a transient message, 2 for a persistent one"),
    "priority": (0, 255, "a number from 0 to 255"),
    "timestamp": (0, (1 << 63) - 1, "whole seconds since 1970, such as 1767225600"),
}
NAMES: Final = (*_TEXTS, *_NUMBERS)
_LONGEST: Final = 255
"""Octets of a text in the protocol."""


def properties_of(given: Iterable[str]) -> dict[str, Any]:
    """Return the properties of `NAME=VALUE`s; a dash in a name is an underscore. Raises `click.UsageError`."""
    found: dict[str, Any] = {}
    for each in given:
        written, equals, text = each.partition("=")
        if not equals or not written:
            raise click.UsageError(f"--property {each!r} has not the form NAME=VALUE")
        name = written.replace("-", "_").lower()
        if name in _NUMBERS:
            found[name] = _number(name, text)
        elif name in _TEXTS:
            found[name] = _text(name, text)
        else:
            raise click.UsageError(f"there is no property {written!r}: {_advice(name, each)}")
    return found


def _advice(name: str, given: str) -> str:
    from difflib import get_close_matches

    if name == "headers":
        return "each header is a --header NAME=VALUE"
    if alike := get_close_matches(name, NAMES, 1):
        return f"did you mean {alike[0]}?"
    return f"a header is --header {given}; properties are {', '.join(NAMES)}"


def _number(name: str, text: str) -> int:
    least, most, meaning = _NUMBERS[name]
    number = int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else -1
    if not least <= number <= most:
        raise click.UsageError(f"--property {name} is {meaning}, and not {text!r}")
    return number


def _text(name: str, text: str) -> str:
    """Return a text as it is written, or without the quotes of JSON around it."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = text
    if isinstance(value, str):
        text = value
    if len(text.encode("utf-8", "surrogateescape")) > _LONGEST:
        raise click.UsageError(f"--property {name} has more than {_LONGEST} octets")
    if name == "expiration" and not (text.isascii() and text.isdecimal()):
        raise click.UsageError(f"--property expiration is a number of milliseconds, and not {text!r}")
    return text
