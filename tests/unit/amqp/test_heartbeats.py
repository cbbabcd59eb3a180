"""Contract C10."""

from __future__ import annotations

from math import inf

from broker.amqp.heartbeats import Heartbeats


def test_the_next_is_due_after_half_an_interval_of_our_silence() -> None:
    heartbeats = Heartbeats(10.0, 2.0)
    assert heartbeats.next_deadline(last_sent=100.0, last_received=100.0) == 105.0
    assert not heartbeats.is_due(104.9, 100.0)
    assert heartbeats.is_due(105.0, 100.0)


def test_the_clients_silence_is_judged_after_the_intervals_that_are_allowed() -> None:
    heartbeats = Heartbeats(10.0, 3.0)
    assert heartbeats.next_deadline(last_sent=140.0, last_received=100.0) == 130.0
    assert not heartbeats.is_overdue(130.0, 100.0)
    assert heartbeats.is_overdue(130.1, 100.0)


def test_one_interval_of_silence_is_always_allowed() -> None:
    assert Heartbeats(10.0, 0.5).allowed_silence == 10.0


def test_silence_that_does_not_count_is_judged_a_little_later() -> None:
    heartbeats = Heartbeats(10.0, 2.0)
    heartbeats.put_off(150.0)
    assert heartbeats.next_deadline(last_sent=150.0, last_received=100.0) == 150.5
    assert heartbeats.is_overdue(150.5, 100.0)


def test_without_an_interval_nothing_is_due() -> None:
    heartbeats = Heartbeats(0.0, 2.0)
    assert heartbeats.next_deadline(0.0, 0.0) == inf
    assert not heartbeats.is_due(1e9, 0.0)
    assert not heartbeats.is_overdue(1e9, 0.0)
