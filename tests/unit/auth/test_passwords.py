"""The order in which a password is checked, what it costs, and whom it costs nothing: ADR 49."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import structlog

from broker.auth.password_hash import Argon2id, new_argon2id, new_rabbitmq, parse
from broker.auth.passwords import LATE, LATE_OF_A_SOURCE, Passwords, Verdict, hashed
from broker.auth.remembered import LIFETIME, Proof
from broker.auth.throttle import SOURCE, USER_AT_SOURCE, Throttle
from tests.support.clock import FakeClock
from tests.support.logins import SALT, InlineHashing, new_passwords
from tests.support.stage import drive

NEAR, FAR = "192.0.2.1", "192.0.2.2"
ARGON2ID = new_argon2id("secret", SALT).text


def stored(password: str) -> str:
    return new_rabbitmq(password, "rabbit_password_hashing_sha256", b"salt").text


SECRET = stored("secret")


class Checks:
    """The passwords of a node, with what they have cost."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.hashing = InlineHashing()
        self.throttle = Throttle()
        self.passwords: Passwords = new_passwords(self.hashing, self.clock, self.throttle)
        self.renewed: list[str] = []

    def begin(
        self,
        password: str,
        hash_text: str | None = SECRET,
        *,
        user: str = "ann",
        address: str = NEAR,
        renew: Callable[[str], None] | None = None,
    ) -> Proof | Coroutine[Any, Any, Proof | None] | None:
        return self.passwords.check(user, password, hash_text, address, renew)

    def check(self, *arguments: Any, **options: Any) -> bool:
        """Check a password to the end; return whether it is right."""
        answer = self.begin(*arguments, **options)
        return (drive(answer) if isinstance(answer, Coroutine) else answer) is not None


@pytest.fixture
def checks() -> Checks:
    return Checks()


def test_the_right_password_is_right_and_no_other(checks: Checks) -> None:
    assert checks.check("secret")
    assert not checks.check("Secret")
    assert not checks.check("secret ")


def test_an_empty_password_is_never_right_and_costs_nothing(checks: Checks) -> None:
    assert not checks.check("", stored(""))
    assert not checks.check("", "$public$")
    assert not checks.check("", None)
    assert checks.hashing.hashed == 0


def test_right_credentials_are_hashed_once(checks: Checks) -> None:
    for _ in range(500):
        assert checks.check("secret")
    assert checks.hashing.hashed == 1


def test_a_remembered_login_is_answered_in_the_same_turn(checks: Checks) -> None:
    checks.check("secret")
    assert isinstance(checks.begin("secret"), Proof)


def test_what_is_remembered_is_forgotten_with_the_stored_hash(checks: Checks) -> None:
    assert checks.check("secret")
    other = stored("other")
    assert not checks.check("secret", other)
    assert checks.check("other", other)
    assert checks.hashing.hashed == 3


def test_minutes_after_the_last_use_a_login_is_hashed_again(checks: Checks) -> None:
    checks.check("secret")
    checks.clock.advance(LIFETIME)
    assert checks.check("secret")
    assert checks.hashing.hashed == 2


def test_an_unknown_user_costs_what_a_known_one_costs(checks: Checks) -> None:
    assert not checks.check("wrong")
    assert not checks.check("wrong", None, user="nobody")
    assert not checks.check("wrong", "", user="no password")
    assert checks.hashing.hashed == 3


def test_a_password_that_everybody_knows_is_answered_at_once_and_never_held_back(checks: Checks) -> None:
    for number in range(100):
        assert not checks.check(f"guess {number}", "$public$guest", user="guest")
    assert checks.check("guest", "$public$guest", user="guest")
    assert checks.hashing.hashed == 0


def test_a_hash_that_cannot_be_read_is_an_error_in_the_log_and_costs_what_another_costs(checks: Checks) -> None:
    with structlog.testing.capture_logs() as logs:
        assert not checks.check("secret", "$2b$12$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW")
    (line,) = logs
    assert line["log_level"] == "error"
    assert line["user"] == "ann"
    assert "$2b$…" in line["reason"]
    assert "R9h" not in str(line)
    assert checks.hashing.hashed == 1


# Brute force


def test_a_flood_of_wrong_passwords_is_hashed_a_few_times(checks: Checks) -> None:
    for number in range(2000):
        assert not checks.check(f"guess {number}")
        checks.clock.advance(0.001)
    assert checks.hashing.hashed <= USER_AT_SOURCE.free + 4


def test_a_flood_for_many_users_is_hashed_a_few_times(checks: Checks) -> None:
    for number in range(2000):
        assert not checks.check("guess", None, user=f"user {number}")
        checks.clock.advance(0.001)
    assert checks.hashing.hashed <= SOURCE.free + 6


def test_a_flood_holds_back_neither_other_addresses_nor_users_who_are_known_at_this_one(checks: Checks) -> None:
    assert checks.check("secret", user="bob")
    for number in range(1000):
        checks.check("guess", None, user=f"user {number}")
        checks.check(f"guess {number}")
    hashed_before = checks.hashing.hashed
    assert checks.check("secret", user="bob")
    assert checks.check("secret", address=FAR)
    assert checks.hashing.hashed == hashed_before + 1


def test_a_user_who_is_held_back_is_refused_with_the_right_password_too(checks: Checks) -> None:
    """Otherwise nothing would be slowed: each guess would have its answer."""
    assert checks.check("secret")
    for number in range(USER_AT_SOURCE.free):
        checks.check(f"guess {number}")
    assert not checks.check("secret")
    checks.clock.advance(1.1)
    assert checks.check("secret")


def test_a_client_with_an_old_password_that_tries_for_ever_is_hashed_once_and_harms_nobody(checks: Checks) -> None:
    """One of many clients behind one address has not learned of the user's new password."""
    for _ in range(1000):
        assert not checks.check("old")
        checks.clock.advance(0.1)
    assert checks.hashing.hashed == 1
    assert checks.check("secret")


def test_a_check_whose_source_is_held_back_when_its_turn_comes_is_not_hashed(checks: Checks) -> None:
    checks.hashing.gate.is_open = False
    waiting: list[Coroutine[Any, Any, Proof | None]] = []
    for number in range(100):
        answer = checks.begin(f"guess {number}")
        assert isinstance(answer, Coroutine)
        waiting.append(answer)
        answer.send(None)
    checks.hashing.gate.is_open = True
    for each in waiting:
        with pytest.raises(StopIteration) as end:
            each.send(None)
        assert end.value.value is None
    assert checks.hashing.hashed == USER_AT_SOURCE.free


def test_who_is_held_back_is_named_in_the_log_once_for_each_guess_that_was_hashed(checks: Checks) -> None:
    with structlog.testing.capture_logs() as logs:
        for number in range(100):
            checks.check(f"guess {number}", user="x" * 1000)
    (line,) = logs
    assert line == {
        "event": "logins are held back after wrong passwords",
        "log_level": "warning",
        "peer": NEAR,
        "user": "x" * 256,
        "seconds": 1.0,
    }


# Late answers


def test_refusals_in_close_succession_are_answered_late(checks: Checks) -> None:
    for _ in range(6):
        checks.check("old")
    assert checks.hashing.pauses == [1.0, 1.0]


def test_only_a_few_refusals_of_a_source_wait_at_the_same_time(checks: Checks) -> None:
    for _ in range(4):
        checks.check("old")
    answers = [checks.begin("old") for _ in range(100)]
    waiting = [answer for answer in answers if isinstance(answer, Coroutine)]
    assert len(waiting) == LATE_OF_A_SOURCE
    for each in waiting:
        assert drive(each) is None
    again = checks.begin("old")
    assert isinstance(again, Coroutine)
    assert drive(again) is None


def test_only_some_refusals_wait_together(checks: Checks) -> None:
    waiting = []
    for source in range(20):
        address = f"198.51.100.{source}"
        checks.check("old", address=address)
        answers = [checks.begin("old", address=address) for _ in range(20)]
        waiting += [answer for answer in answers if isinstance(answer, Coroutine)]
    assert len(waiting) == LATE
    for each in waiting:
        assert drive(each) is None


# Renewal


def test_a_weaker_hash_is_renewed_at_the_login_and_the_new_one_is_known(checks: Checks) -> None:
    assert checks.check("secret", renew=checks.renewed.append)
    assert checks.renewed == ["$public$renewed"]
    assert checks.check("secret", renew=checks.renewed.append)
    assert len(checks.renewed) == 1


def test_a_wrong_password_renews_nothing(checks: Checks) -> None:
    assert not checks.check("wrong", renew=checks.renewed.append)
    assert checks.renewed == []


def test_what_is_known_to_be_right_is_not_hashed(checks: Checks) -> None:
    proof = checks.passwords.remember("ann", "secret", SECRET)
    checks.clock.advance(100 * LIFETIME)
    assert checks.check("secret")
    assert checks.hashing.hashed == 0
    del proof


# What is computed beside the loop


def test_each_check_makes_one_argon2id_and_the_right_one_may_be_a_renewal() -> None:
    old = parse(SECRET)
    assert hashed(old, "wrong", SALT, True) == Verdict(False)
    assert hashed(old, "secret", SALT, False) == Verdict(True)
    renewed = hashed(old, "secret", SALT, True)
    assert renewed == Verdict(True, ARGON2ID)
    assert hashed(None, "secret", SALT, True) == Verdict(False)
    assert hashed(parse(ARGON2ID), "secret", SALT, True) == Verdict(True)
    assert hashed(parse(ARGON2ID), "wrong", SALT, True) == Verdict(False)


def test_a_weaker_argon2id_is_renewed() -> None:
    weak = parse("$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4")
    verdict = hashed(weak, "password", SALT, True)
    assert verdict == Verdict(True, new_argon2id("password", SALT).text)
    assert isinstance(parse(verdict.renewed), Argon2id)
