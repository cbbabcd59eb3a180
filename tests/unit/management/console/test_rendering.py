from __future__ import annotations

import json

import pytest

from broker.management.console.charts import of_depths, of_rates
from broker.management.console.rendering import duration, number, octets, rate, segment, when


@pytest.mark.parametrize(
    ("size", "shown"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 << 40, "5.0 TiB"), (None, "–")]
)
def test_octets_have_the_largest_unit_of_which_there_is_one(size: int | None, shown: str) -> None:
    assert octets(size) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.0421, "42 ms"), (59, "59 s"), (61, "1 min 1 s"), (3600, "1 h"), (90061, "1 d 1 h"), (None, "–")],
)
def test_a_time_has_its_two_largest_units(seconds: float | None, shown: str) -> None:
    assert duration(seconds) == shown


def test_figures_are_written_for_people() -> None:
    assert number(1234567) == "1\u202f234\u202f567"
    assert rate(0.25) == "0.2/s"
    assert rate(12345.6) == "12\u202f346/s"
    assert when(0) == "–"
    assert when(1_700_000_000_000) == "2023-11-14 22:13:20 UTC"
    assert segment("a/b é\udcff") == "a%2Fb%20%C3%A9%FF"


@pytest.mark.parametrize("ms", [253_402_300_800_000, (1 << 63) - 1, -(1 << 62)])
def test_a_time_that_no_calendar_has_is_told_in_milliseconds(ms: int) -> None:
    assert when(ms) == f"{number(ms)} ms after 1970"


def test_a_chart_of_rates_is_made_from_counts() -> None:
    samples = [{"sample": count, "timestamp": at} for at, count in ((30_000, 700), (20_000, 300), (10_000, 100))]
    chart = json.loads(of_rates({"publish_details": {"rate": 0.0, "samples": samples}}))
    assert chart["labels"][0] == "Published"
    assert chart["data"][0] == [20.0, 30.0]
    assert chart["data"][1] == [20.0, 40.0]
    assert chart["data"][2] == [None, None]


def test_a_chart_without_samples_is_empty() -> None:
    assert json.loads(of_depths({}))["data"][0] == []
