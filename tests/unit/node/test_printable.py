"""Text of others is shown, and steers nothing."""

from __future__ import annotations

import pytest

from broker.node.printable import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("eve\x1b[2J", r"eve\x1b[2J"),
        ("\x9b2J", r"\x9b2J"),
        ("a\x85b", r"a\x85b"),
        ("a\u2028b\u2029c", r"a\u2028b\u2029c"),
        ("a\vb\fc\rd\ne\tf\0g\x7fh", r"a\x0bb\x0cc\rd\ne\tf\x00g\x7fh"),
        ("\u202euser\u202c\u2066x\u2069\u200e\u061c", r"\u202euser\u202c\u2066x\u2069\u200e\u061c"),
        ("zero\u200bwidth\ufeff", r"zero\u200bwidth\ufeff"),
        ("half \ud83d", r"half \ud83d"),
        ("tag \U000e0001", r"tag \U000e0001"),
    ],
)
def test_what_is_no_visible_character_becomes_an_escape(text: str, shown: str) -> None:
    assert printable(text) == shown


@pytest.mark.parametrize("text", ["", "guest", "Zoë 名前 \N{GRINNING FACE}", "שלום"])
def test_what_is_visible_stays(text: str) -> None:
    assert printable(text) is text


def test_what_the_caller_has_put_in_may_stay() -> None:
    assert printable("first\nsecond\x1b", keep="\n") == "first\nsecond\\x1b"
