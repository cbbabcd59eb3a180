"""Contract B17."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from broker.codec.field_table import EMPTY_TABLE, FieldTable, Int64
from broker.errors import PreconditionFailed
from broker.topology.consumer_arguments import priority_of, timeout_of


@pytest.mark.parametrize("value", [0, 5, -5, Int64(1 << 40)])
def test_a_priority_is_any_integer(value: int) -> None:
    assert priority_of(FieldTable.of({"x-priority": value}), "queue") == value


def test_without_one_the_priority_is_0() -> None:
    assert priority_of(EMPTY_TABLE, "queue") == 0
    assert priority_of(FieldTable.of({"x-other": "high", "x-cancel-on-ha-failover": True}), "queue") == 0


@pytest.mark.parametrize(
    ("value", "kind"),
    [("5", "longstr"), (5.0, "double"), (True, "bool"), (None, "void"), (Decimal(5), "decimal"), ([5], "array")],
)
def test_anything_else_is_refused(value: Any, kind: str) -> None:
    text = f"invalid arg 'x-priority' for queue 'q' in vhost '/': \"expected integer, got {kind}\""
    with pytest.raises(PreconditionFailed, match=f"^{text}$"):
        priority_of(FieldTable.of({"x-priority": value}), "queue 'q' in vhost '/'")


def test_an_argument_of_mirrored_queues_must_be_a_boolean() -> None:
    text = "invalid arg 'x-cancel-on-ha-failover' for queue 'q': {unacceptable_type,longstr}"
    with pytest.raises(PreconditionFailed, match=f"^{text}$"):
        priority_of(FieldTable.of({"x-cancel-on-ha-failover": "yes"}), "queue 'q'")


@pytest.mark.parametrize(("value", "timeout"), [(1, 1), (0, 0), (Int64(1 << 35), 1 << 35)])
def test_a_timeout_is_a_time(value: int, timeout: int) -> None:
    assert timeout_of(FieldTable.of({"x-consumer-timeout": value}), "queue") == timeout
    assert timeout_of(FieldTable.of({"x-priority": value}), "queue") == 0


@pytest.mark.parametrize(
    ("value", "wrong"),
    [
        ("5", '"expected integer, got longstr"'),
        (-1, "{value_negative,-1}"),
        (Int64(1 << 60), "{value_too_large,1152921504606846976}"),
    ],
)
def test_what_is_no_time_is_refused(value: Any, wrong: str) -> None:
    with pytest.raises(PreconditionFailed) as error:
        timeout_of(FieldTable.of({"x-consumer-timeout": value}), "queue 'q'")
    assert str(error.value) == f"invalid arg 'x-consumer-timeout' for queue 'q': {wrong}"
