"""Rings of samples."""

from __future__ import annotations

from broker.management.figures.series import (
    FINE,
    MINUTES,
    NONE_KEPT,
    OF_OBJECTS,
    SHORT,
    Series,
    Tier,
    octets_of,
)


def growing(tiers: tuple[Tier, ...], ticks: range) -> Series:
    """Return a series of one figure that is ten times its tick, and has changed at each of these."""
    series = Series(None, (10 * (ticks.start - 1),), ticks.start - 1)
    series.keep(tiers)
    for tick in ticks:
        series.note(tick, (10 * tick,), tick)
    return series


def test_a_sample_is_found_by_its_tick() -> None:
    series = growing((FINE,), range(1000, 1100))
    assert [series.at(0, tick) for tick in (1000, 1042, 1099)] == [10_000, 10_420, 10_990]


def test_what_does_not_change_stays_what_it_was() -> None:
    series = growing((FINE,), range(1000, 1010))
    series.note(None, (77,), 1020)
    assert [series.at(0, tick) for tick in (1009, 1010, 1019, 1020, 1500)] == [10_090, 10_090, 10_090, 77, 77]


def test_a_ring_that_is_full_forgets_the_oldest() -> None:
    series = growing((SHORT,), range(1000, 1100))
    assert series.at(0, 1099 - SHORT.size + 1) == 10 * (1099 - SHORT.size + 1)
    assert series.at(0, 1000) == 10 * (1099 - SHORT.size + 1)


def test_older_samples_are_found_in_the_coarser_ring() -> None:
    series = growing(OF_OBJECTS, range(1200, 1800))
    assert series.at(0, 1799) == 17_990
    assert [series.at(0, tick) for tick in (1320, 1325, 1331, 1332)] == [13_200, 13_200, 13_200, 13_320]


def test_a_long_gap_is_filled_no_further_than_the_ring_reaches() -> None:
    series = growing(OF_OBJECTS, range(1200, 1212))
    series.note(None, (5,), 10_000_000)
    assert (series.at(0, 10_000_000), series.at(0, 9_999_999)) == (5, 12_110)


def test_growth_is_that_of_the_last_tick_alone() -> None:
    series = growing((), range(1000, 1003))
    assert (series.growth(0, 1002), series.growth(0, 1003)) == (10, 0)
    assert series.at(0, 990) == 10_010


def test_coarse_samples_are_those_of_their_time() -> None:
    series = growing((MINUTES,), range(1200, 1300))
    assert series.at(0, 1247) == 12_360


def test_more_samples_take_more_octets() -> None:
    assert octets_of(NONE_KEPT, 12) < 2000 < octets_of((SHORT,), 12) < 4000 < octets_of(OF_OBJECTS, 12) < 20_000
