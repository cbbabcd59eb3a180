"""The patterns of LIKE."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.selector.like import matcher, scans_of

PATTERNS = st.text("ab%_\n!", max_size=10)
TEXTS = st.text("ab\n%_!é", max_size=14)


def expression(pattern: str) -> re.Pattern[str]:
    """Return the regular expression that means the same, with `!` as the escape character."""
    parts = re.findall(r"!.|.", pattern, re.DOTALL)
    meaning = {"%": ".*", "_": "."}
    return re.compile("".join(meaning.get(part) or re.escape(part.removeprefix("!")) for part in parts), re.DOTALL)


@settings(deadline=None)
@given(pattern=PATTERNS.filter(lambda pattern: not re.search(r"(?<!!)(?:!!)*!$", pattern)), text=TEXTS)
def test_a_pattern_matches_what_a_regular_expression_would(pattern: str, text: str) -> None:
    assert matcher(pattern, "!")(text) == bool(expression(pattern).fullmatch(text))


@pytest.mark.parametrize(
    ("pattern", "text", "is_match"),
    [
        ("%ab%ab%", "xabab", True),
        ("%ab%ab%", "xaba", False),
        ("a%a", "a", False),
        ("ab%ba", "aba", False),
        ("%a_c%c", "abcc", True),
        ("%a_c%c", "abc", False),
        ("%_", "", False),
        ("_%_%_", "ab", False),
        ("_%_%_", "abc", True),
        ("%_a_%_b_%", "xaxxbx", True),
        ("%_a_%_b_%", "xaxbx", False),
        ("%aab_%", "aaaabx", True),
        ("😀_", "😀é", True),
    ],
)
def test_parts_are_found_one_behind_the_other(pattern: str, text: str, is_match: bool) -> None:
    assert matcher(pattern)(text) is is_match


def test_an_escaped_character_stands_for_itself() -> None:
    assert matcher("a%%", "%")("a%")
    assert matcher("a__", "_")("a_")
    assert not matcher("a!%", "!")("ab")
    assert matcher("!a", "!")("a")


@pytest.mark.parametrize(
    ("pattern", "scans"), [("a_b", 0), ("a_b%", 0), ("%ab_", 0), ("%_ab_%", 0), ("%a_b%", 1), ("%a_b%cd%e__f%", 2)]
)
def test_only_a_part_with_an_inner_underline_looks_at_each_character(pattern: str, scans: int) -> None:
    assert scans_of(pattern) == scans


class Counted(str):
    """A text that counts how often one of its characters is looked at."""

    looks = 0

    def __getitem__(self, key: object) -> str:
        Counted.looks += 1
        return super().__getitem__(key)  # type: ignore[index]

    def __iter__(self) -> Iterator[str]:
        raise AssertionError("not looked at character by character")


def test_a_character_is_looked_at_once_however_the_pattern_is_made() -> None:
    Counted.looks = 0
    text = Counted("a" * 5000)
    assert not matcher("%a_a%a_a%aa_aa%a_b%")(text)
    assert Counted.looks <= len(text)
