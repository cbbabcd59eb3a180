"""How many deliveries limits allow, and when the next one is due."""

from __future__ import annotations

import pytest

from broker.queue.pace import DeliveryAllowance, Pace


@pytest.mark.parametrize("rate", [0.5, 1, 3, 10, 100, 1000, 50_000])
def test_no_second_has_many_more_deliveries_than_the_rate_and_none_is_lost(rate: float) -> None:
    pace, made = Pace(rate), []
    for now in range(0, 20_000, 10):  # as often as deadlines are looked at
        count = pace.room(now)
        pace.spend(count, now)
        made.append(count)
    most = max(sum(made[start : start + 100]) for start in range(len(made) - 100))
    assert most <= rate + max(1, rate * 0.02) + 1
    assert sum(made) >= 20 * rate * 0.99 - 1


def test_the_next_delivery_is_due_when_it_is_allowed() -> None:
    pace = Pace(10)
    assert pace.room(1000) == 1
    pace.spend(1, 1000)
    assert (pace.room(1000), pace.next_at()) == (0, 1100)
    assert (pace.room(1099), pace.room(1100)) == (0, 1)


def test_a_queue_that_was_idle_gives_no_more_at_once_than_another() -> None:
    pace = Pace(10)
    pace.spend(1, 0)
    assert pace.room(1_000_000) == 1


def test_what_holds_consumers_up_is_told_once() -> None:
    now, held = [0], []
    allowance = DeliveryAllowance(
        None, 10, unacked=lambda: 0, now_ms=lambda: now[0], on_held=lambda: held.append(now[0])
    )
    assert allowance.room(5) == 1
    allowance.spend(1)
    assert [allowance.room(5), allowance.room(5)] == [0, 0]
    assert (held, allowance.held_until) == ([0], 100)
    now[0] = 100
    assert (allowance.room(5), allowance.held_until) == (1, None)


def test_what_clients_hold_counts_against_the_limit() -> None:
    unacked = [3]
    allowance = DeliveryAllowance(5, None, unacked=lambda: unacked[0], now_ms=lambda: 0, on_held=lambda: None)
    assert allowance.room(10) == 2
    unacked[0] = 7
    assert allowance.room(10) == 0
