"""Waits between tries: how they grow, where they end, how they spread."""

from __future__ import annotations

from broker.backoff import Backoff


def waits(backoff: Backoff, count: int) -> list[float]:
    found = []
    for _ in range(count):
        found.append(backoff.delay)
        backoff = backoff.longer()
    return found


def test_each_wait_is_twice_as_long_as_the_one_before_up_to_the_maximum() -> None:
    assert waits(Backoff(0.1, 1.0), 6) == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]


def test_the_factor_says_how_fast_waits_grow() -> None:
    assert waits(Backoff(1.0, 10.0, factor=3.0), 4) == [1.0, 3.0, 9.0, 10.0]


def test_waits_stay_at_the_maximum_however_often_a_try_fails() -> None:
    assert waits(Backoff(0.1, 5.0), 2000)[-1] == 5.0


def test_a_policy_without_waits_never_waits() -> None:
    assert waits(Backoff(0.0, 0.0), 3) == [0.0, 0.0, 0.0]


def test_a_longer_wait_leaves_the_first_one_as_it_was() -> None:
    first = Backoff(0.1, 1.0)
    first.longer()
    assert first.delay == 0.1


def test_jitter_spreads_a_wait_from_half_of_it_to_all_of_it() -> None:
    backoff = Backoff(4.0, 8.0)
    assert [backoff.jittered(chance) for chance in (0.0, 0.5, 1.0)] == [2.0, 3.0, 4.0]


def test_jitter_may_spread_a_wait_beyond_all_of_it() -> None:
    backoff = Backoff(4.0, 8.0)
    assert [backoff.jittered(chance, most=1.5) for chance in (0.0, 0.5, 1.0)] == [2.0, 4.0, 6.0]
