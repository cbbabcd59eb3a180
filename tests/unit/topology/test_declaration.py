"""Declarations against what exists: contract X2, Q4."""

from __future__ import annotations

from math import nan
from typing import Any

import pytest

from broker.codec.field_table import FieldTable, Int64
from broker.errors import PreconditionFailed
from broker.topology.declaration import QUEUE_ARGUMENTS, require_equal, require_equal_arguments

WHAT = "queue 'q' in vhost '/'"


def table(value: Any) -> FieldTable:
    return FieldTable() if value is None else FieldTable.of({"x-expires": value})


@pytest.mark.parametrize(("received", "current"), [(True, True), (False, False), ("direct", "direct")])
def test_equal_properties_are_accepted(received: bool | str, current: bool | str) -> None:
    require_equal(WHAT, "durable", received, current)


@pytest.mark.parametrize(
    ("received", "current", "text"),
    [(True, False, "received 'true' but current is 'false'"), ("a", "b", "received 'a' but current is 'b'")],
)
def test_a_difference_is_told_in_words(received: bool | str, current: bool | str, text: str) -> None:
    with pytest.raises(PreconditionFailed) as caught:
        require_equal(WHAT, "p", received, current)
    assert str(caught.value) == f"inequivalent arg 'p' for {WHAT}: {text}"


@pytest.mark.parametrize(
    ("received", "current"), [(None, None), (5, 5), (5, Int64(5)), ("a", "a"), (True, True), (nan, nan)]
)
def test_equal_arguments_are_accepted(received: Any, current: Any) -> None:
    require_equal_arguments(WHAT, QUEUE_ARGUMENTS, table(received), table(current))


@pytest.mark.parametrize(
    ("received", "current", "text"),
    [
        (10, None, "received the value '10' of type 'signedint' but current is none"),
        (None, 10, "received none but current is the value '10' of type 'signedint'"),
        (1, 2, "received the value '1' of type 'signedint' but current is the value '2' of type 'signedint'"),
        ("1", 1, "received the value '1' of type 'longstr' but current is the value '1' of type 'signedint'"),
        (10, 10.0, "received the value '10' of type 'signedint' but current is the value '10.0' of type 'double'"),
        (True, 1, "received the value 'True' of type 'bool' but current is the value '1' of type 'signedint'"),
    ],
)
def test_different_arguments_are_told_with_their_types(received: Any, current: Any, text: str) -> None:
    with pytest.raises(PreconditionFailed) as caught:
        require_equal_arguments(WHAT, QUEUE_ARGUMENTS, table(received), table(current))
    assert str(caught.value) == f"inequivalent arg 'x-expires' for {WHAT}: {text}"


def test_arguments_that_mean_nothing_are_not_compared() -> None:
    one, other = FieldTable.of({"x-mine": 1}), FieldTable.of({"x-mine": 2})
    require_equal_arguments(WHAT, QUEUE_ARGUMENTS, one, other)


def test_no_queue_type_is_the_classic_one() -> None:
    classic = FieldTable.of({"x-queue-type": "classic"})
    require_equal_arguments(WHAT, QUEUE_ARGUMENTS, classic, FieldTable())
    require_equal_arguments(WHAT, QUEUE_ARGUMENTS, FieldTable(), classic)
