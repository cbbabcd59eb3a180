"""Compiled selectors, and where they are remembered."""

from __future__ import annotations

import tracemalloc

import pytest

from broker.cache_budget import CacheBudget
from broker.selector.selector import CompiledSelectors, Selector
from broker.selector.tokens import SelectorError
from tests.support.selector_messages import view


@pytest.mark.parametrize("text", ["", " \n", "TRUE", "1 = 1", "x = 1 OR 2 > 1", "NOT 'a' = 'b'"])
def test_a_blank_text_and_what_is_always_true_is_trivial(text: str) -> None:
    selector = Selector(text)
    assert selector.is_trivial
    assert selector.matches(view())
    assert selector.equals is None


@pytest.mark.parametrize("text", ["FALSE", "1 = 2", "NULL", "x", "x = 1", "x = 1 AND 1 = 2", "x = NULL"])
def test_everything_else_is_not(text: str) -> None:
    assert not Selector(text).is_trivial
    assert not Selector(text).matches(view())


@pytest.mark.parametrize(
    ("text", "equals"),
    [
        ("a = 'x'", {"a": "x"}),
        ("'x' = a", {"a": "x"}),
        ("a = 'x' AND b = 1", {"a": "x", "b": 1}),
        ("a = 'x' AND (b = 1 AND c > 2)", {"a": "x"}),
        ("a = -1.5 AND b = 1 + 1", {"a": -1.5, "b": 2}),
        ("a AND b = FALSE", {"a": True, "b": False}),
        ("a IN ('x')", {"a": "x"}),
        ("TRUE AND a = 'x'", {"a": "x"}),
        ("a = 'x' OR b = 1", None),
        ("NOT a = 'x'", None),
        ("a <> 'x'", None),
        ("a > 1", None),
        ("a = b", None),
        ("a = NULL", None),
        ("a IN ('x', 'y')", None),
        ("a LIKE 'x'", None),
        ("JMSType = 'x' AND a LIKE 'y%'", {"JMSType": "x"}),
    ],
)
def test_a_selector_tells_which_names_must_have_which_values(text: str, equals: dict[str, object] | None) -> None:
    assert Selector(text).equals == equals


@pytest.mark.parametrize(
    ("text", "passes"),
    [
        ("NOT (" * 49 + "yes" + ")" * 49, False),
        ("NOT (" * 48 + "yes" + ")" * 48, True),
        ("no OR (" * 49 + "yes" + ")" * 49, True),
        ("(" * 99 + "yes" + ")" * 99, True),
        ("+".join(["one"] * 98) + " = 98", True),
        ("1 = -(" * 1 + "-(" * 97 + "one" + ")" * 98, True),
        (" AND ".join(["one = 1"] * 333), True),
        ("yes = (" * 49 + "yes" + ")" * 49, True),
    ],
)
def test_the_deepest_and_the_longest_are_compiled_and_looked_at(text: str, passes: bool) -> None:
    assert Selector(text).matches(view({"yes": True, "no": False, "one": 1})) is passes


def test_a_selector_shows_its_text() -> None:
    assert repr(Selector("a = 1")) == "Selector('a = 1')"


def test_constants_are_calculated_once() -> None:
    constants = "x = 1" + " + 1" * 90
    assert Selector(constants).steps_for(view()) == Selector("x = 91").steps_for(view()) == 1
    assert Selector(constants).matches(view({"x": 91}))


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [
        ("x = 1", 1, 1),
        (" OR ".join(["x = 1"] * 333), 120, 130),
        ("x LIKE '%a%'", 200, 300),
        (" OR ".join(["x LIKE '%a%'"] * 100), 20_000, 30_000),
        ("x LIKE '%a_a%'", 10_000, 15_000),
        ("x LIKE '" + "%a_a" * 8 + "%'", 80_000, 110_000),
    ],
)
def test_a_look_counts_the_steps_that_it_may_take_at_worst(text: str, least: int, most: int) -> None:
    assert least <= Selector(text).steps_for(view({"x": "a" * 128_000})) <= most


def test_selectors_of_one_text_are_equal() -> None:
    assert Selector("a = 1") == Selector("a = 1")
    assert hash(Selector("a = 1")) == hash(Selector("a = 1"))
    assert Selector("a = 1") != Selector("a  = 1")
    assert Selector("a = 1") != "a = 1"


@pytest.mark.parametrize("text", [b"name = 'caf\xe9'", "name = 'caf\udce9'", "name = 'café'", "name = 'café'".encode()])
def test_octets_that_are_no_utf_8_are_characters_in_selectors_as_in_headers(text: str | bytes) -> None:
    selector = Selector(text)
    assert selector.matches(view({"name": b"caf\xe9"}))
    assert selector.matches(view({"name": "café"}))
    assert selector.text == "name = 'café'"


def test_half_a_character_is_refused() -> None:
    with pytest.raises(SelectorError, match="half a character at character 6"):
        Selector("a = '\ud800'")


def test_a_selector_of_one_text_is_compiled_once() -> None:
    selectors = CompiledSelectors(CacheBudget())
    assert selectors.get("a = 1") is selectors.get(b"a = 1")
    assert selectors.get("a = 2") is not selectors.get("a = 1")


def test_a_selector_that_is_refused_is_not_remembered() -> None:
    budget = CacheBudget()
    with pytest.raises(SelectorError):
        CompiledSelectors(budget).get("a =")
    assert budget.spent == 0


@pytest.mark.parametrize(
    "text",
    [
        "a = 1",
        "a LIKE '" + "%b" * 990 + "'",
        " OR ".join(f"a LIKE '%{number}'" for number in range(300)),
        " OR ".join(f"a + b * {number} > 1.5" for number in range(140)),
        "a IN (" + ", ".join(f"'{number}'" for number in range(1000)) + ")",
    ],
)
def test_a_selector_takes_no_more_memory_than_it_is_counted_for(text: str) -> None:
    Selector(text)
    tracemalloc.start()
    selector = Selector(text)
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert taken <= selector.octets <= 10 * taken


def test_remembered_selectors_stay_within_their_budget() -> None:
    budget = CacheBudget(100_000)
    selectors = CompiledSelectors(budget)
    for number in range(200):
        assert selectors.get(f"a = {number}").matches({"a": number})
        assert budget.spent <= 100_000
