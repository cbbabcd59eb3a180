"""What all exchange types share, as contract X4, X15, E1 to E4 and Q11 have it."""

from __future__ import annotations

from typing import Any

import pytest

from broker.codec.field_table import FieldTable
from broker.errors import PreconditionFailed
from broker.topology.exchange import EXCHANGE_TYPES, Exchange
from tests.support.bindings import DOWNSTREAM, OTHER, Q, binding, exchange, matched


def test_an_unknown_type_is_refused() -> None:
    with pytest.raises(PreconditionFailed, match="unknown exchange type 'x-nope'"):
        exchange("x-nope")


def test_an_exchange_keeps_what_it_was_declared_with() -> None:
    subject = Exchange("x", "topic", FieldTable(), durable=True, auto_delete=True, internal=True)
    assert (subject.name, subject.type, subject.arguments) == ("x", "topic", FieldTable())
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


def test_other_types_ignore_x_match() -> None:
    subject = exchange("direct")
    subject.check(FieldTable.of({"x-match": "foo"}))
    assert subject.bind(binding(arguments={"x-match": "foo"}))
