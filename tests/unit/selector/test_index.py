"""Many selectors and one message."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.selector.index import SelectorIndex
from broker.selector.selector import Selector
from broker.turn_budget import TurnBudget
from tests.support.selector_messages import view

TEXTS = st.sampled_from(
    [
        "", "a = 1", "a = 2", "a = TRUE", "a", "a = '1'", "a = 1 AND b = 'x'", "b = 'x' AND a = 2", "b = 'x'", "a > 1",
        "b LIKE 'x%'", "a = 1 OR b = 'x'", "JMSPriority = 4", "JMSPriority = 4 AND a = 1.0", "a = 1 AND a = 2", "FALSE",
    ]
)  # fmt: skip
VALUES = st.sampled_from([1, 2, 1.0, True, False, "1", "x", "xy", None])


def matched(index: SelectorIndex[int], headers: dict[str, object]) -> list[int]:
    return sorted(member for member in index.match(view(headers), TurnBudget()) if member is not None)


@settings(deadline=None)
@given(
    changes=st.lists(st.tuples(st.booleans(), TEXTS, st.integers(0, 2)), max_size=30),
    messages=st.lists(st.dictionaries(st.sampled_from("ab"), VALUES), min_size=1, max_size=4),
)
def test_an_index_finds_what_looking_at_every_selector_would(
    changes: list[tuple[bool, str, int]], messages: list[dict[str, object]]
) -> None:
    index: SelectorIndex[int] = SelectorIndex()
    there: dict[tuple[str, int], Selector] = {}
    for is_addition, text, number in changes:
        if is_addition:
            index.add(Selector(text), number)
            there[text, number] = Selector(text)
        elif (text, number) in there:
            index.remove(Selector(text), number)
            del there[text, number]
        assert len(index) == len(there)
        for headers in messages:
            expected = [number for (_, number), selector in there.items() if selector.matches(view(headers))]
            assert matched(index, headers) == sorted(expected)


def test_an_index_from_which_all_is_removed_is_empty() -> None:
    index: SelectorIndex[str] = SelectorIndex()
    selectors = [Selector(text) for text in ("a = 1", "b = 'x' AND a = 1", "a > 1", "")]
    for selector in selectors:
        index.add(selector, "m")
        index.add(selector, "m")
    assert len(index) == 4
    for selector in selectors:
        index.remove(selector, "m")
    assert (index._places, index._everywhere, len(index)) == ({}, {}, 0)
    with pytest.raises(KeyError):
        index.remove(selectors[0], "m")


def test_of_a_thousand_selectors_for_different_values_one_is_looked_at() -> None:
    index: SelectorIndex[int] = SelectorIndex()
    for number in range(1000):
        index.add(Selector(f"customer = 'c{number}' AND amount > 10"), number)
    work = TurnBudget()
    assert list(index.match(view({"customer": "c7", "amount": 11}), work)) == [7]
    assert work.done <= 3


def test_of_a_thousand_selectors_on_different_names_those_of_the_message_are_looked_at() -> None:
    index: SelectorIndex[int] = SelectorIndex()
    for number in range(1000):
        index.add(Selector(f"n{number} = 1"), number)
    work = TurnBudget()
    assert list(index.match(view({"n7": 1, "n8": 2}), work)) == [7]
    assert work.done <= 3


def test_a_thousand_members_with_one_selector_cost_one_look() -> None:
    index: SelectorIndex[int] = SelectorIndex()
    for number in range(1000):
        index.add(Selector("price > 10"), number)
    work = TurnBudget()
    assert len(list(index.match(view({"price": 11}), work))) == 1000
    assert list(index.match(view({"price": 9}), work)) == [None]
    assert work.done <= 4


def test_a_selector_lies_where_fewest_others_do() -> None:
    index: SelectorIndex[int] = SelectorIndex()
    for number in range(100):
        index.add(Selector(f"kind = 'order' AND id = {number}"), number)
    work = TurnBudget()
    assert list(index.match(view({"kind": "order", "id": 50}), work)).count(None) <= 1


def test_members_that_leave_while_a_search_pauses_hurt_nobody() -> None:
    index: SelectorIndex[int] = SelectorIndex()
    selectors = [Selector(f"a = 1 AND b <> {number}") for number in range(3)]
    for number, selector in enumerate(selectors):
        index.add(selector, number)
    search = index.match(view({"a": 1, "b": 9}), TurnBudget())
    assert next(search) == 0
    for number, selector in enumerate(selectors):
        index.remove(selector, number)
    assert set(search) <= {1, 2}
