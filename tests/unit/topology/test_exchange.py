"""Exchange types and bindings, as contract §1.3, §1.7 and Q11 have them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from broker.errors import AccessRefused, PreconditionFailed
from broker.topology.exchange import EXCHANGE_TYPES, Binding, Destination, Exchange


@dataclass(frozen=True)
class Table:
    """Arguments, identified by their octets as a field table is."""

    raw: bytes = b""
    values: Mapping[str, Any] = field(default_factory=dict, compare=False)
    types: Mapping[str, str] = field(default_factory=dict, compare=False)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Table:
        return cls(repr(values).encode(), values)


Q: Destination = ("queue", "q")
OTHER: Destination = ("queue", "other")
DOWNSTREAM: Destination = ("exchange", "q")


class Wide(int):
    """An integer whose width is remembered."""


def exchange(type: str, name: str = "x", **arguments: Any) -> Exchange:
    return Exchange(name, type, Table.of(arguments))


def binding(destination: Destination = Q, key: str = "", arguments: Mapping[str, Any] | None = None) -> Binding:
    return Binding("x", destination, key, Table.of(arguments or {}))


def no_headers() -> Mapping[str, Any]:
    raise AssertionError("nobody may decode the headers")


def matched(subject: Exchange, key: str = "", headers: Mapping[str, Any] | None = None) -> list[Destination]:
    return list(subject.match(key, no_headers if headers is None else lambda: headers))


def headers_match(arguments: Mapping[str, Any], headers: Mapping[str, Any]) -> bool:
    subject = exchange("headers")
    subject.bind(binding(arguments=arguments))
    return matched(subject, headers=headers) == [Q]


def test_an_unknown_type_is_refused() -> None:
    with pytest.raises(PreconditionFailed, match="unknown exchange type 'x-nope'"):
        exchange("x-nope")


def test_an_exchange_keeps_what_it_was_declared_with() -> None:
    subject = Exchange("x", "topic", Table(), durable=True, auto_delete=True, internal=True)
    assert (subject.name, subject.type, subject.arguments) == ("x", "topic", Table())
    assert subject.durable
    assert subject.auto_delete
    assert subject.internal
    assert subject.alternate is None


def test_an_alternate_exchange_comes_from_the_arguments() -> None:
    assert exchange("direct", **{"alternate-exchange": "spare"}).alternate == "spare"


@pytest.mark.parametrize("value", [7, None, b"\xff", ["spare"]])
def test_an_alternate_exchange_that_is_no_string_is_refused(value: Any) -> None:
    with pytest.raises(PreconditionFailed, match="invalid arg 'alternate-exchange' for exchange 'x'"):
        exchange("direct", **{"alternate-exchange": value})


@pytest.mark.parametrize("type", EXCHANGE_TYPES)
def test_binding_the_same_again_changes_nothing(type: str) -> None:
    subject = exchange(type)
    assert subject.bind(binding(key="k"))
    assert not subject.bind(binding(key="k"))
    assert subject.unbind(binding(key="k"))
    assert not subject.unbind(binding(key="k"))
    assert matched(subject, "k", {}) == []


@pytest.mark.parametrize("type", EXCHANGE_TYPES)
def test_a_binding_with_other_arguments_is_another_binding_but_one_delivery(type: str) -> None:
    subject = exchange(type)
    assert subject.bind(binding(key="k"))
    assert subject.bind(binding(key="k", arguments={"x-note": 1}))
    assert matched(subject, "k", {}) == [Q]
    assert subject.unbind(binding(key="k"))
    assert matched(subject, "k", {}) == [Q]
    assert subject.unbind(binding(key="k", arguments={"x-note": 1}))
    assert matched(subject, "k", {}) == []


@pytest.mark.parametrize("type", EXCHANGE_TYPES)
def test_a_queue_and_an_exchange_of_one_name_are_two_destinations(type: str) -> None:
    subject = exchange(type)
    subject.bind(binding(Q, "k"))
    subject.bind(binding(DOWNSTREAM, "k"))
    assert sorted(matched(subject, "k", {})) == [DOWNSTREAM, Q]


@pytest.mark.parametrize("type", EXCHANGE_TYPES)
def test_a_destination_that_is_gone_takes_its_bindings_with_it(type: str) -> None:
    subject = exchange(type)
    subject.bind(binding(Q, "k"))
    subject.bind(binding(OTHER, "k"))
    subject.bind(binding(Q, "l"))
    assert subject.remove_destination(Q) == [binding(Q, "k"), binding(Q, "l")]
    assert subject.remove_destination(Q) == []
    assert list(subject.bindings) == [binding(OTHER, "k")]
    assert matched(subject, "k", {}) == [OTHER]


def test_unbinding_keeps_the_other_bindings_of_the_destination() -> None:
    subject = exchange("direct")
    subject.bind(binding(Q, "k"))
    subject.bind(binding(Q, "l"))
    subject.unbind(binding(Q, "k"))
    assert subject.remove_destination(Q) == [binding(Q, "l")]


def test_an_exchange_without_bindings_is_unused() -> None:
    subject = exchange("fanout")
    before = subject.is_unused
    subject.bind(binding())
    between = subject.is_unused
    subject.unbind(binding())
    assert (before, between, subject.is_unused) == (True, False, True)


def test_only_a_headers_exchange_looks_at_headers() -> None:
    assert [type for type in EXCHANGE_TYPES if exchange(type).uses_headers] == ["headers"]


def test_a_direct_exchange_compares_keys() -> None:
    subject = exchange("direct")
    subject.bind(binding(Q, "k"))
    subject.bind(binding(OTHER, "k"))
    subject.bind(binding(OTHER, "k.l"))
    assert matched(subject, "k") == [Q, OTHER]
    assert matched(subject, "k.l") == [OTHER]
    assert matched(subject, "K") == []


def test_a_fanout_exchange_ignores_the_key_and_gives_each_destination_one_copy() -> None:
    subject = exchange("fanout")
    subject.bind(binding(Q, "k"))
    subject.bind(binding(Q, "l"))
    subject.bind(binding(OTHER, "m"))
    assert matched(subject, "anything") == [Q, OTHER]


def test_a_topic_exchange_matches_patterns() -> None:
    subject = exchange("topic")
    subject.bind(binding(Q, "stock.*.nyse"))
    subject.bind(binding(OTHER, "stock.#"))
    assert sorted(matched(subject, "stock.ibm.nyse")) == [OTHER, Q]
    assert matched(subject, "stock") == [OTHER]


def test_the_default_exchange_routes_to_the_queue_of_that_name() -> None:
    subject = exchange("direct", name="")
    assert matched(subject, "orders") == [("queue", "orders")]


def test_nothing_can_be_bound_to_the_default_exchange() -> None:
    subject = exchange("direct", name="")
    with pytest.raises(AccessRefused, match="operation not permitted on the default exchange"):
        subject.check(Table())
    with pytest.raises(AccessRefused, match="operation not permitted on the default exchange"):
        subject.bind(binding())
    assert subject.is_unused


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
    [(1, 1), (1, Wide(1)), (Wide(1), 1), (1.5, 1.5), ("1", "1"), (True, True), ([1, {"n": "v"}], [1, {"n": "v"}])],
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


def test_other_types_ignore_x_match() -> None:
    subject = exchange("direct")
    subject.check(Table.of({"x-match": "foo"}))
    assert subject.bind(binding(arguments={"x-match": "foo"}))
