"""What headers say of the time of a delivery."""

from __future__ import annotations

from typing import Any

import pytest

from broker.codec.delivery_time import (
    DELAY,
    DELIVER_AT,
    delay_in,
    due_by_header,
    due_by_headers,
    moment_in,
    with_delay_done,
)
from broker.codec.field_table import FieldTable, Timestamp
from broker.codec.properties import BasicProperties, decode_properties, encode_header
from broker.message import tail

NOW = 1_800_000_000_000


@pytest.mark.parametrize(
    ("value", "delay"),
    [
        (5, 5),
        (-5, -5),
        (1 << 40, 1 << 40),
        ("5", 5),
        ("+5", 5),
        (b"5", 5),
        (5.9, 5),
        (float("inf"), 0),
        (float("nan"), 0),
        (True, 0),
        (None, 0),
        ([5], 0),
        (Timestamp(5), 0),
    ],
)
def test_a_delay_is_read_as_rabbitmqs_plugin_reads_it(value: Any, delay: int) -> None:
    assert delay_in(value) == delay


@pytest.mark.parametrize("text", ["", "5s", "5.0", "0x5", "٥", b"\xff", "9" * 31])
def test_a_text_that_is_no_number_is_no_delay(text: Any) -> None:
    with pytest.raises(ValueError, match="no number"):
        delay_in(text)


@pytest.mark.parametrize(
    ("value", "moment"),
    [
        (NOW, NOW),
        (str(NOW), NOW),
        (Timestamp(NOW // 1000), NOW),
        ("2027-01-15T08:00:00Z", NOW),
        ("2027-01-15T09:00:00+01:00", NOW),
        ("2027-01-15 08:00:00", NOW),
        ("2027-01-15", NOW - 8 * 3_600_000),
        ("2027-01-15T08:00:00.000001", NOW + 1),
        ("2027-01-15T08:00:00.001", NOW + 1),
        ("1969-12-31T23:59:59.999", -1),
    ],
)
def test_a_moment_is_a_number_a_timestamp_or_a_text_of_iso_8601(value: Any, moment: int) -> None:
    assert moment_in(value) == moment


@pytest.mark.parametrize("value", ["", "soon", True, 1.5, None, [NOW], b"\xff"])
def test_what_is_no_moment_is_said_so(value: Any) -> None:
    with pytest.raises(ValueError, match="neither a number"):
        moment_in(value)


def due(**values: Any) -> int:
    named = {name.replace("_", "-"): value for name, value in values.items()}
    return due_by_headers(named, NOW, moments=(DELIVER_AT,))


def test_the_latest_of_several_times_counts_and_one_that_is_over_is_none() -> None:
    assert due() == due(x_delay=0) == due(x_deliver_at=NOW) == due(x_other=5) == 0
    assert due(x_delay=5) == NOW + 6  # the millisecond in which it came has begun
    assert due(x_deliver_at=NOW + 9) == due(x_deliver_at=NOW + 9, x_delay=5) == NOW + 9
    assert due(x_deliver_at=NOW + 1, x_delay=5) == NOW + 6


def test_a_delay_beyond_the_longest_is_none() -> None:
    assert due_by_headers({DELAY: 11}, NOW, longest=10, moments=()) == 0
    assert due_by_headers({DELAY: 10}, NOW, longest=10, moments=()) == NOW + 11


@pytest.mark.parametrize("values", [{"x_delay": (1 << 63) - 1}, {"x_deliver_at": "9" * 20}])
def test_a_time_that_no_store_can_keep_is_refused(values: dict[str, Any]) -> None:
    (name,) = values
    with pytest.raises(ValueError, match=f"'{name.replace('_', '-')}': it is too far in the future"):
        due(**values)


def test_a_header_of_a_programs_own_is_a_moment_or_says_nothing() -> None:
    assert due_by_header({"eta": "2027-01-15T08:00:01+00:00"}, "eta", NOW) == NOW + 1000
    for value in (None, "", "soon", NOW, "2027-01-15T08:00:00+00:00", "9999999999999999999999"):
        assert due_by_header({"eta": value}, "eta", NOW) == 0
    assert due_by_header({}, "eta", NOW) == 0


def header(**values: Any) -> bytes:
    table = FieldTable.of({name.replace("_", "-"): value for name, value in values.items()})
    return tail(encode_header(3, BasicProperties(headers=table, message_id="m")))


def test_a_delay_that_is_done_is_negative_and_all_else_as_it_was() -> None:
    done = with_delay_done(header(a=1, x_delay="500", b="two"))
    properties = decode_properties(done[4:-1])
    assert properties.message_id == "m"
    assert properties.headers is not None
    assert list(properties.headers.values.items()) == [("a", 1), ("x-delay", -500), ("b", "two")]
    assert properties.headers.types["x-delay"] == "long"


@pytest.mark.parametrize("values", [{}, {"x_delay": -5}, {"x_delay": True}, {"x_delay": "soon"}, {"a": "x-delay"}])
def test_a_header_without_a_delay_is_left_alone(values: dict[str, Any]) -> None:
    assert with_delay_done(header(**values)) == header(**values)
