"""When a thread beats in place of the event loop, and what trust that gives: never for a loop that is held for ever."""

from __future__ import annotations

import pytest

from broker.coordination.membership.deputy import Deputy


def held(heartbeat_interval: float = 5.0) -> Deputy:
    """The loop has beaten and shown a sign of life at second 100, and is held since."""
    deputy = Deputy(heartbeat_interval)
    deputy.on_own_beat(100.0)
    deputy.on_alive(100.0)
    return deputy


def test_the_thread_beats_when_the_loops_own_beat_is_late() -> None:
    deputy = held()
    assert not deputy.is_due(106.2)
    assert deputy.is_due(106.25)


def test_after_a_beat_of_either_the_next_one_is_due_as_late() -> None:
    deputy = held()
    deputy.on_granted(106.25)
    assert not deputy.is_due(112.4)
    assert deputy.is_due(112.5)
    deputy.on_own_beat(112.0)
    assert not deputy.is_due(118.2)


def test_trust_counts_from_the_question_and_is_a_tenth_shorter_than_what_others_wait() -> None:
    deputy = held()
    assert not deputy.is_trusted(100.0)
    deputy.on_granted(106.25)
    assert deputy.is_trusted(115.2)
    assert not deputy.is_trusted(115.25)


@pytest.mark.parametrize(("heartbeat_interval", "seconds"), [(0.5, 10.0), (2.0, 10.0), (5.0, 20.0)])
def test_a_loop_that_shows_no_sign_of_life_for_long_is_not_beaten_for(
    heartbeat_interval: float, seconds: float
) -> None:
    deputy = held(heartbeat_interval)
    assert deputy.is_due(100.0 + seconds - 0.01)
    assert not deputy.is_due(100.0 + seconds)
    deputy.on_alive(100.0 + seconds)
    assert deputy.is_due(100.0 + seconds)


def test_trust_runs_out_for_a_loop_that_is_held_for_ever() -> None:
    deputy, now = held(2.0), 100.0
    while now < 200.0:
        now += 0.1
        if deputy.is_due(now):
            deputy.on_granted(now)
    assert 110.0 <= deputy.trusted_until <= 100.0 + 10.0 + 3.6


def test_nothing_is_due_before_the_first_beat_nor_trusted_after_the_end() -> None:
    deputy = Deputy(5.0)
    deputy.on_alive(100.0)
    assert not deputy.is_due(101.0)
    deputy = held()
    deputy.end()
    deputy.on_granted(107.0)
    assert not deputy.is_trusted(107.0)
    assert not deputy.is_due(120.0)
