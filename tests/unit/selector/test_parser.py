"""From a text to a tree, and what is refused."""

from __future__ import annotations

import pytest

from broker.selector.parser import MAX_DEPTH, MAX_NODES, parse
from broker.selector.syntax import And, Arithmetic, Between, Compare, Identifier, Literal, Not, Or, Signed, measure
from broker.selector.tokens import SelectorError

A, B, C = Identifier("a"), Identifier("b"), Identifier("c")


def test_or_binds_less_than_and_and_that_less_than_not() -> None:
    assert parse("NOT a AND b OR c") == Or((And((Not(A), B)), C))
    assert parse("a OR b AND NOT c") == Or((A, And((B, Not(C)))))
    assert parse("NOT a = b") == Not(Compare("=", A, B))


def test_operators_of_one_rank_are_taken_from_the_left() -> None:
    assert parse("a - b + c = 1") == Compare("=", Arithmetic("+", Arithmetic("-", A, B), C), Literal(1))
    assert parse("a = b * -c") == Compare("=", A, Arithmetic("*", B, Signed(C, True)))


def test_the_and_of_between_is_no_conjunction() -> None:
    assert parse("a BETWEEN 1 AND b AND c") == And((Between(A, Literal(1), B, False), C))


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("a = ", "expected a value, found the end at character 5"),
        ("= 1", "expected a value, found '=' at character 1"),
        ("a = 1 b = 2", "expected the end, found 'b' at character 7"),
        ("a = 1)", "expected the end, found ')' at character 6"),
        ("(a = 1", "expected ), found the end at character 7"),
        ("()", "expected a value, found ')' at character 2"),
        ("a AND", "expected a value, found the end at character 6"),
        ("a = NOT b", "expected a value, found 'NOT' at character 5"),
        ("a NOT 5", "expected BETWEEN, IN or LIKE, found 5 at character 7"),
        ("a NOT", "expected BETWEEN, IN or LIKE, found the end at character 6"),
        ("a IS 5", "expected NULL, found 5 at character 6"),
        ("a IN 'x'", "expected (, found 'x' at character 6"),
        ("a IN ()", "expected a string, found ')' at character 7"),
        ("a IN (1)", "expected a string, found 1 at character 7"),
        ("a IN ('x',)", "expected a string, found ')' at character 11"),
        ("'x' IN ('x')", "IN needs a name on its left at character 1"),
        ("a LIKE b", "expected a string, found 'b' at character 8"),
        ("1 LIKE 'x'", "LIKE needs a string on its left, and this is a number at character 1"),
        ("a LIKE 'x' ESCAPE 'yy'", "ESCAPE needs one character at character 19"),
        ("a LIKE 'x!' ESCAPE '!'", "no character behind the one of ESCAPE at character 20"),
        ("a BETWEEN 1", "expected AND, found the end at character 12"),
        ("a BETWEEN 'x' AND 'y'", "BETWEEN needs numbers, and this is a string at character 11"),
        ("a < 'x'", "< needs numbers, and this is a string at character 5"),
        ("'x' >= a", ">= needs numbers, and this is a string at character 1"),
        ("1 < a < 5", "< needs numbers, and this is a condition at character 1"),
        ("a < TRUE", "< needs numbers, and this is a condition at character 5"),
        ("a + 'x' = 1", "+ needs numbers, and this is a string at character 5"),
        ("b AND a * (b = 1) = 1", "* needs numbers, and this is a condition at character 11"),
        ("- 'x' = 1", "- needs numbers, and this is a string at character 3"),
        ("5", "expected a condition, and this is a number at character 1"),
        ("'x'", "expected a condition, and this is a string at character 1"),
        ("a + 1", "expected a condition, and this is a number at character 1"),
        ("NOT 5", "expected a condition, and this is a number at character 5"),
        ("a OR 'x'", "expected a condition, and this is a string at character 6"),
        ("a = 'it's'", "a string without an end at character 10"),
        ("AND = 1", "expected a value, found 'AND' at character 1"),
        ("a.b = 1", "an unexpected character '.' at character 2"),
    ],
)
def test_what_is_no_selector_is_refused_in_one_line_with_its_place(text: str, error: str) -> None:
    with pytest.raises(SelectorError) as raised:
        parse(text)
    assert str(raised.value) == error
    assert raised.value.position == int(error.rsplit(" ", 1)[1])


def test_a_word_that_is_shown_is_cut() -> None:
    with pytest.raises(SelectorError) as raised:
        parse("a = 1 '" + "x" * 1000 + "\n'")
    assert len(str(raised.value)) < 100


@pytest.mark.parametrize(
    "text",
    [
        "(" * 99 + "a" + ")" * 99,
        "a OR (" * 49 + "a" + ")" * 49,
        " OR ".join(["a = 1"] * 300),
        "NOT " * 2000 + "a",
        "- " * 4000 + "a = 1",
        "a IN (" + ",".join(["'x'"] * 1500) + ")",
        "+".join(["a"] * 98) + " = 1",
    ],
)
def test_what_is_long_is_served(text: str) -> None:
    nodes, levels = measure(parse(text))
    assert nodes <= MAX_NODES
    assert levels <= MAX_DEPTH


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("(" * 4000 + "a" + ")" * 4000, "deeper than 100 levels"),
        ("a=(" * 2000 + "a" + ")" * 2000, "deeper than 100 levels"),
        ("NOT (" * 1000 + "a" + ")" * 1000, "deeper than 100 levels"),
        ("- (" * 1000 + "a" + ")" * 1000, "deeper than 100 levels"),
        ("a" + "+a" * 3000 + " = 1", "deeper than 100 levels"),
        ("a" + "=a" * 3000, "deeper than 100 levels"),
        ("a OR " * 1500 + "a", "more than 1000 names"),
        ("a LIKE '" + "%b" * 1000 + "'", "more than 1000 names"),
        ("a LIKE '%b_c%' OR " * 8 + "a LIKE '%b_c%'", "more than 8 times '_'"),
        ("a LIKE '" + "%b_c" * 10 + "%'", "more than 8 times '_'"),
    ],
)
def test_what_would_cost_too_much_is_refused(text: str, error: str) -> None:
    with pytest.raises(SelectorError, match=error):
        parse(text)
