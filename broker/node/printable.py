"""Text that came from others, made safe to show on a terminal or in a file of lines."""

from __future__ import annotations


def printable(text: str, *, keep: str = "") -> str:
    """Return `text` with every character that is no visible one, and no space, as an escape like `\\x1b`.

    These are control characters (also those from 0x80 on), line and paragraph separators, marks that turn the direction
    of text, and lone surrogates. Those in `keep` stay.
    """
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() or character in keep else character.encode("unicode_escape").decode()
        for character in text
    )
