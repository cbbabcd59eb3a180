"""What headers say of deaths is told as far as it has the types that the broker writes."""

from __future__ import annotations

from typing import Any

import pytest

from broker.codec.field_table import FieldTable, Timestamp
from broker.codec.properties import BasicProperties, encode_header
from broker.topology.told_deaths import count_of, deaths_in, seconds_of, text_of

DEATH = {"queue": "q", "reason": "expired", "exchange": "e", "count": 3, "time": Timestamp(17)}
TOLD = {"queue": "q", "reason": "expired", "exchange": "e", "count": 3, "time_ms": 17_000}


def rows(headers: dict[str, Any]) -> list[dict[str, Any]]:
    properties = BasicProperties(headers=FieldTable.of(headers))
    return [death.row for death in deaths_in(encode_header(0, properties), properties)]


def test_deaths_are_told_the_first_one_first() -> None:
    assert rows({"x-death": [{**DEATH, "queue": "later"}, DEATH]}) == [TOLD, {**TOLD, "queue": "later"}]


@pytest.mark.parametrize(
    ("odd", "left_out"),
    [
        ({"count": "z"}, "count"),
        ({"count": True}, "count"),
        ({"count": -1}, "count"),
        ({"exchange": 7}, "exchange"),
        ({"time": 1 << 60}, "time_ms"),
        ({"time": Timestamp(1 << 60)}, "time_ms"),
    ],
)
def test_what_has_another_type_is_left_out(odd: dict[str, Any], left_out: str) -> None:
    assert rows({"x-death": [DEATH | odd]}) == [{name: value for name, value in TOLD.items() if name != left_out}]


@pytest.mark.parametrize(
    "headers",
    [
        {"x-death": [{**DEATH, "queue": 7}, {**DEATH, "reason": None}, "x", 5, [DEATH]]},
        {"x-death": DEATH},
        {"x-last-death-queue": 7, "x-last-death-reason": "expired"},
        {"x-first-death-queue": "q"},
    ],
)
def test_what_names_no_queue_or_no_reason_is_no_death(headers: dict[str, Any]) -> None:
    assert rows(headers) == []


def test_a_value_of_another_type_is_none() -> None:
    assert [text_of(b"q"), count_of("5"), seconds_of(5), seconds_of(Timestamp(1 << 62))] == [None] * 4
