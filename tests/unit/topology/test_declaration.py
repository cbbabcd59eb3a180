"""Declarations against what exists: contract X2, Q4."""

from __future__ import annotations

from math import nan
from typing import Any

import pytest

from broker.codec.field_table import FieldTable, Int64
from broker.errors import PreconditionFailed
from broker.queue.settings import QueueType
from broker.topology.declaration import QueueDeclaration, require_equal, require_equal_arguments
from broker.topology.queue_arguments import compared

WHAT = "queue 'q' in vhost '/'"
NAMES = tuple(compared(QueueType.CLASSIC))


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
    require_equal_arguments(WHAT, NAMES, table(received), table(current))


@pytest.mark.parametrize(
    ("received", "current", "text"),
    [
        (10, None, "received the value '10' of type 'signedint' but current is none"),
        (None, 10, "received none but current is the value '10' of type 'signedint'"),
        (True, None, "received the value 'true' of type 'bool' but current is none"),
        (1, 2, "received '1' but current is '2'"),
        ("1", 1, "received '1' but current is '1'"),
        (10, 10.0, "received '10' but current is '10.0'"),
        (True, 1, "received 'true' but current is '1'"),
    ],
)
def test_an_argument_that_is_missing_is_told_from_a_value_with_its_type(received: Any, current: Any, text: str) -> None:
    with pytest.raises(PreconditionFailed) as caught:
        require_equal_arguments(WHAT, NAMES, table(received), table(current))
    assert str(caught.value) == f"inequivalent arg 'x-expires' for {WHAT}: {text}"


def test_arguments_that_mean_nothing_are_not_compared() -> None:
    one, other = FieldTable.of({"x-mine": 1}), FieldTable.of({"x-mine": 2})
    require_equal_arguments(WHAT, NAMES, one, other)


QUORUM = FieldTable.of({"x-queue-type": "quorum"})


@pytest.mark.parametrize("named", [{}, {"x-queue-type": ""}, {"x-queue-type": "undefined"}])
def test_a_declaration_without_a_type_gets_the_default_one(named: dict[str, str]) -> None:
    declared = QueueDeclaration("q", True, False, FieldTable.of({**named, "x-expires": 5})).of_type(QueueType.QUORUM)
    assert declared.arguments.values == {"x-expires": 5, "x-queue-type": "quorum"}
    assert declared.has_default_type


@pytest.mark.parametrize(
    "declared",
    [
        QueueDeclaration("q", False, False, FieldTable()),
        QueueDeclaration("q", True, True, FieldTable()),
        QueueDeclaration("q", True, False, FieldTable(), owner=object()),
    ],
)
def test_what_no_queue_of_the_default_type_can_be_is_a_classic_one(declared: QueueDeclaration) -> None:
    assert declared.of_type(QueueType.QUORUM).arguments == FieldTable()


def test_a_type_that_the_client_names_stays() -> None:
    classic = QueueDeclaration("q", True, False, FieldTable.of({"x-queue-type": "classic"}))
    assert classic.of_type(QueueType.QUORUM) == classic
    quorum = QueueDeclaration("q", True, False, QUORUM)
    assert quorum.of_type(QueueType.CLASSIC) == quorum


@pytest.mark.parametrize(
    ("durable", "auto_delete", "owner", "wrong"),
    [
        (True, True, object(), "auto-delete"),
        (True, False, object(), "exclusive-owner"),
        (False, False, None, "non-durable"),
    ],
)
def test_a_quorum_queue_is_durable_and_shared_and_stays(
    durable: bool, auto_delete: bool, owner: object, wrong: str
) -> None:
    with pytest.raises(PreconditionFailed) as caught:
        QueueDeclaration("q", durable, auto_delete, QUORUM, owner).check(WHAT)
    assert str(caught.value) == f"invalid property '{wrong}' for {WHAT}"


def test_no_queue_type_is_the_classic_one() -> None:
    classic = FieldTable.of({"x-queue-type": "classic"})
    require_equal_arguments(WHAT, NAMES, classic, FieldTable())
    require_equal_arguments(WHAT, NAMES, FieldTable(), classic)
