"""Contract E4."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from broker.codec.field_table import Int64
from broker.errors import PreconditionFailed
from tests.support.bindings import OTHER, Q, binding, exchange, matched


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
    [(1, 1), (1, Int64(1)), (Int64(1), 1), (1.5, 1.5), ("1", "1"), (True, True), ([1, {"n": "v"}], [1, {"n": "v"}])],
)
def test_equal_values_of_one_type_match(wanted: Any, found: Any) -> None:
    assert headers_match({"a": wanted}, {"a": found})


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (1, "1"),
        (1, True),
        (1, 1.0),
        ("1", b"1"),
        (0, None),
        ([1], [True]),
        ([1], [1, 2]),
        ({"n": 1}, {"n": 1.0}),
        ({"n": 1}, {"m": 1}),
    ],
)
def test_values_of_different_types_never_match(wanted: Any, found: Any) -> None:
    assert not headers_match({"a": wanted}, {"a": found})


def test_a_headers_exchange_gives_each_destination_one_copy() -> None:
    subject = exchange("headers")
    subject.bind(binding(Q, arguments={"a": 1}))
    subject.bind(binding(OTHER, arguments={"b": 1}))
    subject.bind(binding(Q, arguments={"b": 1}))
    assert matched(subject, headers={"a": 1, "b": 1}) == [Q, OTHER]


@pytest.mark.parametrize(("value", "shown"), [("foo", "'foo'"), ("", "''"), (3, "3"), (None, "None")])
def test_an_invalid_x_match_is_refused(value: Any, shown: str) -> None:
    subject = exchange("headers")
    refused = binding(arguments={"x-match": value})
    expected = f"Invalid x-match field value {shown}; expected all, any, all-with-x or any-with-x"
    with pytest.raises(PreconditionFailed, match=f"^{expected}$"):
        subject.check(refused.arguments)
    with pytest.raises(PreconditionFailed, match=f"^{expected}$"):
        subject.bind(refused)
    assert subject.is_unused
