"""When a peer is left alone, and when it is tried again."""

from __future__ import annotations

from broker.thrift.breaker import CircuitBreaker


def failed_three_times(now: float) -> CircuitBreaker:
    breaker = CircuitBreaker(reconnect_timeout=5.0)
    for _ in range(3):
        breaker.on_failure(now)
    return breaker


def test_a_breaker_is_closed_at_first() -> None:
    assert not CircuitBreaker(reconnect_timeout=5.0).is_open(100.0)


def test_two_failures_do_not_open_it() -> None:
    breaker = CircuitBreaker(reconnect_timeout=5.0)
    breaker.on_failure(100.0)
    breaker.on_failure(100.0)

    assert not breaker.is_open(100.0)


def test_an_answer_between_failures_begins_the_count_anew() -> None:
    breaker = CircuitBreaker(reconnect_timeout=5.0)
    breaker.on_failure(100.0)
    breaker.on_failure(100.0)
    breaker.on_answer()
    breaker.on_failure(100.0)

    assert not breaker.is_open(100.0)


def test_three_failures_open_it_for_the_reconnect_timeout() -> None:
    breaker = failed_three_times(100.0)

    assert breaker.is_open(104.9)
    assert not breaker.is_open(105.0)


def test_one_call_alone_tries_whether_the_peer_is_back() -> None:
    breaker = failed_three_times(100.0)

    assert [breaker.is_open(105.0), breaker.is_open(105.0)] == [False, True]


def test_a_trial_that_fails_opens_it_again() -> None:
    breaker = failed_three_times(100.0)
    breaker.is_open(105.0)
    breaker.on_failure(107.0)

    assert breaker.is_open(111.9)
    assert not breaker.is_open(112.0)


def test_a_trial_that_is_answered_closes_it() -> None:
    breaker = failed_three_times(100.0)
    breaker.is_open(105.0)
    breaker.on_answer()

    assert [breaker.is_open(105.0), breaker.is_open(105.0)] == [False, False]
