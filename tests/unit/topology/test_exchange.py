"""What all exchange types share, as contract X4, X15, E1 to E4 and Q11 have it."""

from __future__ import annotations

from typing import Any

import pytest

from broker.codec.field_table import FieldTable
from broker.errors import PreconditionFailed
from broker.topology.exchange import BUILT_IN as ALL_BUILT_IN
from broker.topology.exchange import DELAYED_TYPE, Exchange
from tests.support.bindings import DOWNSTREAM, EXCHANGE_TYPES, OTHER, Q, binding, exchange, matched, without

BUILT_IN = [type for type in ALL_BUILT_IN if type != DELAYED_TYPE]
"""Those that are one type: the other one is what its argument names."""
ALL_THAT_MATCH = ("direct", "fanout", "topic", "headers", "x-recent-history")
"""The types with which a message goes to every destination that matches, not to one of them."""


def test_an_unknown_type_is_refused() -> None:
    with pytest.raises(PreconditionFailed, match="unknown exchange type 'x-nope'"):
        exchange("x-nope")


def test_an_exchange_keeps_what_it_was_declared_with() -> None:
    subject = Exchange("x", "topic", FieldTable(), EXCHANGE_TYPES, durable=True, auto_delete=True, internal=True)
    assert (subject.name, subject.type, subject.arguments) == ("x", "topic", FieldTable())
    assert subject.durable
    assert subject.auto_delete
    assert subject.internal
    assert subject.alternate is None


def test_an_alternate_exchange_comes_from_the_arguments() -> None:
    assert exchange("direct", **{"alternate-exchange": "spare"}).alternate == "spare"


@pytest.mark.parametrize("value", [7, None, b"\xff", ["spare"]])
def test_an_alternate_exchange_that_is_no_string_is_refused(value: Any) -> None:
    with pytest.raises(
        PreconditionFailed, match=r"^invalid type '[a-z]+' for arg 'alternate-exchange' in exchange 'x'$"
    ):
        exchange("direct", **{"alternate-exchange": value})


@pytest.mark.parametrize("type", BUILT_IN)
def test_binding_the_same_again_changes_nothing(type: str) -> None:
    subject = exchange(type)
    assert subject.bind(binding(key="7"))
    assert not subject.bind(binding(key="7"))
    assert subject.unbind(binding(key="7"))
    assert not subject.unbind(binding(key="7"))
    assert matched(subject, "7", {}) == []


@pytest.mark.parametrize("type", BUILT_IN)
def test_a_binding_with_other_arguments_is_another_binding_but_one_delivery(type: str) -> None:
    subject = exchange(type)
    assert subject.bind(binding(key="7"))
    assert subject.bind(binding(key="7", arguments={"x-note": 1}))
    assert matched(subject, "7", {}) == [Q]
    assert subject.unbind(binding(key="7"))
    assert matched(subject, "7", {}) == [Q]
    assert subject.unbind(binding(key="7", arguments={"x-note": 1}))
    assert matched(subject, "7", {}) == []


@pytest.mark.parametrize("type", ALL_THAT_MATCH)
def test_a_queue_and_an_exchange_of_one_name_are_two_destinations(type: str) -> None:
    subject = exchange(type)
    subject.bind(binding(Q, "7"))
    subject.bind(binding(DOWNSTREAM, "7"))
    assert sorted(matched(subject, "7", {})) == [DOWNSTREAM, Q]


@pytest.mark.parametrize("type", BUILT_IN)
def test_a_destination_that_is_gone_takes_its_bindings_with_it(type: str) -> None:
    subject = exchange(type)
    subject.bind(binding(Q, "7"))
    subject.bind(binding(OTHER, "7"))
    subject.bind(binding(Q, "8"))
    assert without(subject, Q) == [binding(Q, "7"), binding(Q, "8")]
    assert without(subject, Q) == []
    assert list(subject.bindings) == [binding(OTHER, "7")]
    assert matched(subject, "7", {}) == [OTHER]


def test_unbinding_keeps_the_other_bindings_of_the_destination() -> None:
    subject = exchange("direct")
    subject.bind(binding(Q, "7"))
    subject.bind(binding(Q, "8"))
    subject.unbind(binding(Q, "7"))
    assert without(subject, Q) == [binding(Q, "8")]


def test_an_exchange_without_bindings_is_unused() -> None:
    subject = exchange("fanout")
    before = subject.is_unused
    subject.bind(binding())
    between = subject.is_unused
    subject.unbind(binding())
    assert (before, between, subject.is_unused) == (True, False, True)


def test_of_most_types_a_route_is_found_once_for_all_messages_with_a_key() -> None:
    dynamic = [type for type in BUILT_IN if exchange(type).is_dynamic]
    assert dynamic == ["headers", "x-random", "x-recent-history"]


def test_other_types_ignore_x_match() -> None:
    subject = exchange("direct")
    subject.check(binding(arguments={"x-match": "foo"}))
    assert subject.bind(binding(arguments={"x-match": "foo"}))
