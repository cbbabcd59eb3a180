"""Contract E4."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.codec.field_table import ByteArray, Int64, Timestamp
from broker.errors import PreconditionFailed
from broker.topology.exchange import Exchange
from broker.turn_budget import TurnBudget
from tests.support.bindings import OTHER, Q, binding, exchange, matched, message


def headers_match(arguments: Mapping[str, Any], headers: Mapping[str, Any]) -> bool:
    subject = exchange("headers")
    subject.bind(binding(arguments=arguments))
    return matched(subject, headers=headers) == [Q]


@pytest.mark.parametrize("arguments", [{"a": 1, "b": "two"}, {"a": 1, "b": "two", "x-match": "all"}])
def test_a_headers_exchange_asks_for_all_fields_unless_told_otherwise(arguments: Mapping[str, Any]) -> None:
    assert headers_match(arguments, {"a": 1, "b": "two", "c": 3})
    assert not headers_match(arguments, {"a": 1})
    assert not headers_match(arguments, {"a": 1, "b": "three"})


def test_x_match_any_asks_for_one_field() -> None:
    arguments = {"a": 1, "b": "two", "x-match": "any"}
    assert headers_match(arguments, {"b": "two"})
    assert not headers_match(arguments, {"a": 2, "b": "three"})


@pytest.mark.parametrize(("mode", "without_x"), [("all", True), ("any", False)])
def test_fields_that_begin_with_x_count_only_when_asked_for(mode: str, without_x: bool) -> None:
    assert headers_match({"x-match": mode, "x-a": 1}, {"x-a": 2}) is without_x
    assert headers_match({"x-match": f"{mode}-with-x", "x-a": 1}, {"x-a": 1})
    assert not headers_match({"x-match": f"{mode}-with-x", "x-a": 1}, {"x-a": 2})
    assert headers_match({"x-match": f"{mode}-with-x", "x-matches": 1}, {"x-matches": 1})


def test_no_fields_match_everything_for_all_and_nothing_for_any() -> None:
    assert headers_match({}, {})
    assert headers_match({"x-match": "all"}, {"a": 1})
    assert not headers_match({"x-match": "any"}, {"a": 1})


def test_a_void_field_asks_for_presence_only() -> None:
    assert headers_match({"a": None}, {"a": "whatever"})
    assert headers_match({"a": None}, {"a": None})
    assert not headers_match({"a": None}, {"b": 1})


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (1, Int64(1)),
        (1, 1.0),
        (2.0, Timestamp(2)),
        ("1", ByteArray(b"1")),
        (True, True),
        ([1, {"n": "v"}], [1, {"n": "v"}]),
    ],
)
def test_values_match_that_are_the_same_to_rabbitmq(wanted: Any, found: Any) -> None:
    assert headers_match({"a": wanted}, {"a": found})
    assert headers_match({"a": found}, {"a": wanted})


@pytest.mark.parametrize(("wanted", "found"), [(1, "1"), (1, True), (0, None), ([1], [1.0]), ([1], [1, 2]), ("", None)])
def test_values_that_differ_never_match(wanted: Any, found: Any) -> None:
    assert not headers_match({"a": wanted}, {"a": found})


def test_a_headers_exchange_gives_each_destination_one_copy() -> None:
    subject = exchange("headers")
    subject.bind(binding(Q, arguments={"a": 1}))
    subject.bind(binding(OTHER, arguments={"b": 1}))
    subject.bind(binding(Q, arguments={"b": 1}))
    assert matched(subject, headers={"a": 1, "b": 1}) == [Q, OTHER]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("foo", 'Invalid x-match field value <<"foo">>; expected all, any, all-with-x, or any-with-x'),
        ("", 'Invalid x-match field value <<"">>; expected all, any, all-with-x, or any-with-x'),
        (3, "Invalid x-match field type signedint (value 3); expected longstr"),
        (None, "Invalid x-match field type void (value None); expected longstr"),
    ],
)
def test_an_invalid_x_match_is_refused(value: Any, expected: str) -> None:
    subject = exchange("headers")
    refused = binding(arguments={"x-match": value})
    with pytest.raises(PreconditionFailed, match=f"^{re.escape(expected)}$"):
        subject.check(refused)
    with pytest.raises(PreconditionFailed, match=f"^{re.escape(expected)}$"):
        subject.bind(refused)
    assert subject.is_unused


# Many bindings


def steps_of(subject: Exchange, headers: Mapping[str, Any]) -> int:
    """Return how many steps it takes to match a message: what is done for it, and what is looked at."""
    work = TurnBudget()
    looked_at = list(subject.match("", message(headers), work))
    return work.done + len(looked_at)


@pytest.mark.parametrize(
    "arguments",
    [
        lambda number: {"kind": 1, "name": number},
        lambda number: {"x-match": "any", "name": number, "other": number},
        lambda number: {"kind": 1, f"name{number}": None},
        lambda number: {"kind": None, f"name{number}": None},
        lambda number: {"x-match": "any", f"name{number}": None},
        lambda number: {"name": [number]},
    ],
)
def test_only_bindings_that_a_header_leads_to_are_looked_at(arguments: Callable[[int], dict[str, Any]]) -> None:
    subject = exchange("headers")
    for number in range(1000):
        subject.bind(binding(key=str(number), arguments=arguments(number)))
    wanted = {name: 1 if value is None else value for name, value in arguments(7).items()}
    assert matched(subject, headers=wanted) == [Q]
    assert steps_of(subject, wanted) < 10


def test_bindings_with_many_fields_cost_as_many_steps() -> None:
    subject = exchange("headers")
    fields = {f"name{number}": 1 for number in range(800)}
    for number in range(10):
        subject.bind(binding(key=str(number), arguments=fields))
    assert steps_of(subject, fields) > 1000


FIELDS = st.dictionaries(st.sampled_from("abc"), st.sampled_from([None, 1, 2, "x"]), max_size=3)


def accepts(arguments: Mapping[str, Any], headers: Mapping[str, Any]) -> bool:
    found = [
        name in headers and (value is None or headers[name] == value)
        for name, value in arguments.items()
        if name != "x-match"
    ]
    return all(found) if arguments["x-match"] == "all" else any(found)


@given(
    ways=st.lists(st.tuples(st.sampled_from(["all", "any"]), FIELDS), max_size=12),
    removed=st.sets(st.integers(0, 11)),
    headers=FIELDS,
)
def test_what_is_bound_and_not_unbound_matches_as_it_would_alone(
    ways: list[tuple[str, dict[str, Any]]], removed: set[int], headers: dict[str, Any]
) -> None:
    subject = exchange("headers")
    arguments = [{"x-match": mode, **fields} for mode, fields in ways]
    bindings = [binding(("queue", str(n)), arguments=each) for n, each in enumerate(arguments)]
    for each in bindings:
        subject.bind(each)
    for number in removed & set(range(len(ways))):
        subject.unbind(bindings[number])
    expected = {str(n) for n, each in enumerate(arguments) if n not in removed and accepts(each, headers)}
    assert {name for _, name in matched(subject, headers=headers)} == expected


def test_a_binding_that_goes_while_a_search_pauses_is_not_looked_at() -> None:
    subject = exchange("headers")
    one, other = (binding(("queue", str(n)), arguments={"a": 1, "b": n}) for n in (1, 2))
    for each in (one, other):
        subject.bind(each)
    subject.bind(binding(("queue", "3"), arguments={"a": 1}))
    found = iter(subject.match("", message({"a": 1, "b": 2}), TurnBudget()))
    next(found)
    subject.unbind(other)
    assert ("queue", "2") not in list(found)
