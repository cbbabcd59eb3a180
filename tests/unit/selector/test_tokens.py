"""The words of a selector."""

from __future__ import annotations

import pytest

from broker.selector.tokens import MAX_OCTETS, SelectorError, tokenize


def values(text: str) -> list[str | int | float]:
    return [token.value for token in tokenize(text)[:-1]]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("5", 5), ("0", 0), ("5L", 5), ("0x1f", 31), ("0X1FL", 31), ("017", 15), ("017L", 15), ("00", 0), ("5.", 5.0),
        (".5", 0.5), ("5E3", 5000.0), ("5.5e-1", 0.55), ("09.5", 9.5), ("09e1", 90.0), ("5d", 5.0), ("0.5F", 0.5),
        ("0.1f", 0.10000000149011612), ("1e38f", 9.999999680285692e37), ("9223372036854775808", 1 << 63),
        ("0000000000000000000000000000001", 1),
    ],
)  # fmt: skip
def test_numbers_are_written_as_in_java(text: str, number: float) -> None:
    assert values(text) == [number]
    assert type(values(text)[0]) is type(number)


def test_keywords_ignore_case_and_names_do_not() -> None:
    kinds = [(token.kind, token.value) for token in tokenize("And nuLL Name name $x _y")]
    assert kinds == [
        ("AND", "And"), ("NULL", "nuLL"), ("name", "Name"), ("name", "name"), ("name", "$x"), ("name", "_y"),
        ("end", ""),
    ]  # fmt: skip


def test_quotes_are_doubled_inside_of_strings_and_quoted_names() -> None:
    assert values("""'it''s' '' '\"' "a""b" "AND" """) == ["it's", "", '"', 'a"b', "AND"]


def test_a_position_counts_characters_from_1() -> None:
    assert [token.position for token in tokenize("a =\n 'é'+1")] == [1, 3, 6, 9, 10, 11]


def test_comments_are_left_out() -> None:
    assert values("1/*2*//**/3--4\n5 --6\r--\n") == [1, 3, 5]
    assert values("1--2") == [1, "-", "-", 2]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("x = 'abc", "a string without an end at character 5"),
        ('"x', "a name without an end at character 1"),
        ("x /* y", "a comment without an end at character 3"),
        ("x != 1", "an unexpected character '!' at character 3"),
        ("x = \x00", "an unexpected character '\\x00' at character 5"),
        ("a\n;", "an unexpected character ';' at character 3"),
        ("x = 089", "'089' begins with 0 and is no octal number at character 5"),
        ("9223372036854775809", "a number beyond 64 bits at character 1"),
        ("9" * 5000, "a number beyond 64 bits at character 1"),
        ("0x" + "f" * 17, "a number beyond 64 bits at character 1"),
        ("1e999", "a number that is too large at character 1"),
        ("1e39f", "a number that is too large at character 1"),
    ],
)
def test_what_is_no_word_is_refused_in_one_line(text: str, error: str) -> None:
    with pytest.raises(SelectorError) as raised:
        tokenize(text)
    assert str(raised.value) == error


def test_a_selector_is_at_most_8192_octets_long() -> None:
    assert tokenize("x".ljust(MAX_OCTETS))
    with pytest.raises(SelectorError, match="longer than 8192 octets"):
        tokenize("é" * (MAX_OCTETS // 2) + "x")
