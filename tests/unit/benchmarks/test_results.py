import pytest

from benchmarks.results import Row, latency_values, percentile


def test_the_median_and_spread_are_over_the_rounds():
    row = Row("case", "name", ["rate"])
    for rate in (300.0, 100.0, 200.0):
        row.add("ours", {"rate": rate})

    assert row.median("ours", "rate") == 200.0
    assert row.spread("ours", "rate") == (100.0, 300.0)


def test_a_ratio_of_rates_is_ours_over_theirs():
    row = Row("case", "name", ["rate"])
    row.add("ours", {"rate": 500.0})
    row.add("peer", {"rate": 200.0})

    assert row.ratio("ours", "peer", "rate") == 2.5


def test_a_ratio_of_costs_is_theirs_over_ours():
    row = Row("case", "name", ["p99_ms"])
    row.add("ours", {"p99_ms": 2.0})
    row.add("peer", {"p99_ms": 3.0})

    assert row.ratio("ours", "peer", "p99_ms") == 1.5


def test_a_broker_without_a_result_has_no_ratio():
    row = Row("case", "name", ["rate"])
    row.add("ours", {"rate": 500.0})

    assert row.ratio("ours", "peer", "rate") is None


@pytest.mark.parametrize(("fraction", "expected"), [(0.5, 50), (0.95, 95), (0.99, 99), (1.0, 100), (0.0, 1)])
def test_a_percentile_is_a_sample(fraction, expected):
    assert percentile(range(1, 101), fraction) == expected


def test_latencies_are_given_in_milliseconds():
    values = latency_values("confirm_", [1_000_000, 2_000_000, 3_000_000])

    assert values["confirm_p50_ms"] == 2.0
    assert values["confirm_max_ms"] == 3.0
