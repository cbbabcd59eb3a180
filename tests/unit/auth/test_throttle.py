"""Who is held back after wrong passwords, and who is not."""

from __future__ import annotations

import pytest

from broker.auth.throttle import SOURCE, USER_ANYWHERE, USER_AT_SOURCE, Allowance, Throttle, source_of

NEAR, FAR = "192.0.2.1", "192.0.2.2"


def fail(throttle: Throttle, source: str, user: str, times: int, now: float = 0.0) -> float:
    return [throttle.on_wrong(source, user, now) for _ in range(times)][-1]


def seconds_held(throttle: Throttle, source: str, user: str, now: float = 0.0) -> float:
    """Return after how many seconds the next password may be tried, to a tenth."""
    tenths = 0
    while not throttle.may_try(source, user, now + tenths / 10):
        tenths += 1
    return tenths / 10


def test_a_few_failures_are_free() -> None:
    throttle = Throttle()
    assert fail(throttle, NEAR, "ann", USER_AT_SOURCE.free - 1) == 0.0
    assert throttle.may_try(NEAR, "ann", 0.0)


def test_then_each_failure_doubles_the_wait_up_to_a_bound() -> None:
    throttle = Throttle()
    fail(throttle, NEAR, "ann", USER_AT_SOURCE.free - 1)
    waits = [throttle.on_wrong(NEAR, "ann", 0.0) for _ in range(9)]
    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]
    assert seconds_held(throttle, NEAR, "ann") == 60.0


def test_waits_do_not_overflow() -> None:
    assert Allowance(1, 1.0, 60.0, 1.0).wait_after(1e12) == 60.0


def test_failures_are_forgiven_one_by_one() -> None:
    throttle = Throttle()
    fail(throttle, NEAR, "ann", USER_AT_SOURCE.free + 2)
    later = 3 * USER_AT_SOURCE.forgiven_in
    assert throttle.on_wrong(NEAR, "ann", later) == 1.0
    assert throttle.on_wrong(NEAR, "ann", 100 * later) == 0.0


def test_a_guesser_who_waits_has_one_guess_a_minute() -> None:
    throttle, now, guesses = Throttle(), 0.0, 0
    while now < 3600.0:
        now += seconds_held(throttle, NEAR, "ann", now)
        throttle.on_wrong(NEAR, "ann", now)
        guesses += 1
    assert guesses <= 75


def test_others_at_the_same_source_are_not_held_back_by_one_users_failures() -> None:
    throttle = Throttle()
    fail(throttle, NEAR, "ann", 20)
    assert not throttle.may_try(NEAR, "ann", 0.0)
    assert throttle.may_try(NEAR, "bob", 0.0)


def test_one_source_cannot_lock_a_user_out_at_another() -> None:
    throttle = Throttle()
    fail(throttle, NEAR, "ann", 20)
    assert throttle.may_try(FAR, "ann", 0.0)


def test_a_source_that_tries_many_users_is_held_back_for_all_it_does_not_know() -> None:
    throttle = Throttle()
    throttle.on_right(NEAR, "known")
    for number in range(SOURCE.free + 2):
        throttle.on_wrong(NEAR, f"user {number}", 0.0)
    assert seconds_held(throttle, NEAR, "bob") == 2.0
    assert throttle.may_try(NEAR, "known", 0.0)
    assert throttle.may_try(FAR, "bob", 0.0)


def test_many_sources_that_try_one_user_hold_it_back_where_it_is_not_known() -> None:
    throttle = Throttle()
    throttle.on_right(NEAR, "ann")
    for number in range(USER_ANYWHERE.free + 20):
        throttle.on_wrong(f"198.51.100.{number}", "ann", 0.0)
    assert seconds_held(throttle, FAR, "ann") == USER_ANYWHERE.most
    assert throttle.may_try(NEAR, "ann", 0.0)
    assert throttle.may_try(FAR, "bob", 0.0)


def test_who_is_known_may_not_guess_without_end_either() -> None:
    throttle = Throttle()
    throttle.on_right(NEAR, "ann")
    fail(throttle, NEAR, "ann", USER_AT_SOURCE.free)
    assert not throttle.may_try(NEAR, "ann", 0.0)


def test_a_right_password_forgives_the_own_failures_and_not_those_of_the_source() -> None:
    throttle = Throttle()
    for number in range(SOURCE.free - 1):
        throttle.on_wrong(NEAR, f"user {number}", 0.0)
    fail(throttle, NEAR, "ann", 1)
    throttle.on_right(NEAR, "ann")
    assert throttle.on_wrong(NEAR, "ann", 0.0) == 1.0, "the wait of the source"
    throttle = Throttle()
    fail(throttle, NEAR, "ann", USER_AT_SOURCE.free - 1)
    throttle.on_right(NEAR, "ann")
    assert throttle.on_wrong(NEAR, "ann", 0.0) == 0.0


def test_refusals_in_close_succession_are_told_late() -> None:
    throttle = Throttle()
    assert [throttle.on_refused(NEAR, 0.0) for _ in range(7)] == [0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0]
    assert throttle.on_refused(FAR, 0.0) == 0.0
    assert throttle.on_refused(NEAR, 60.0) == 0.0


def test_memory_is_bounded_and_known_users_are_not_displaced_by_failures() -> None:
    throttle = Throttle(entries=10)
    throttle.on_right(NEAR, "ann")
    for number in range(1000):
        source = f"198.51.{number // 256}.{number % 256}"
        throttle.on_wrong(source, f"user {number}", 0.0)
        throttle.on_refused(source, 0.0)
    assert len(throttle) == 4 * 10 + 1
    fail(throttle, NEAR, "bob", 50)
    assert throttle.may_try(NEAR, "ann", 0.0)
    for number in range(10):
        throttle.on_right(NEAR, f"user {number}")
    assert not throttle.may_try(NEAR, "ann", 0.0), "the one who logged in longest ago is forgotten"


@pytest.mark.parametrize(
    ("address", "source"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("local", "local"),
    ],
)
def test_one_client_has_a_whole_network_of_ipv6(address: str, source: str) -> None:
    assert source_of(address) == source
