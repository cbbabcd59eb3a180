"""Where in a file an element is, and what messages about it are made of.

Must not import pydantic: `socket_place` reads a few elements for programs that must start at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

Place = tuple[str | int, ...]
"""The path of an element in its file: names, and an index for one of several elements of the same name."""

MAX_MESSAGE: Final = 500
"""Characters of a message."""


def one_line(text: str) -> str:
    """Return the message as one printable line, whatever characters the file has put into it.

    Octets of a path that the locale could not read are shown as the UTF-8 that they most likely are.
    """
    text = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    printable = "".join(character if character.isprintable() else " " for character in text)
    return printable if len(printable) <= MAX_MESSAGE else f"{printable[:MAX_MESSAGE]}…"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a suggestion to append to a message about an unknown name: the known name most like it, or nothing."""
    import difflib

    lower = {candidate.lower(): candidate for candidate in known}
    close = difflib.get_close_matches(name.lower(), lower, n=1, cutoff=0.7)
    return f"; did you mean '{lower[close[0]]}'?" if close else ""
