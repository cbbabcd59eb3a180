"""Logins without threads and chance: passwords are hashed at once, or when a test says so.

Knows no loop. What is hashed is counted, and pauses are written down instead of waited for.
"""

from __future__ import annotations

from collections.abc import Callable

from broker.auth.password_hash import PasswordHash, Public
from broker.auth.passwords import Passwords, Verdict
from broker.auth.remembered import Remembered
from broker.auth.throttle import Throttle
from broker.auth.users import User, Users
from tests.support.clock import FakeClock
from tests.support.stage import Gate

SALT = bytes(range(16))


class InlineHashing:
    """Does what it is asked to do when `gate` is open. Nothing is shared or dropped for want of room."""

    def __init__(self) -> None:
        self.gate = Gate()
        self.hashed = 0
        self.pauses: list[float] = []

    async def run(
        self, key: bytes, source: str, job: Callable[[], Verdict], is_wanted: Callable[[], bool]
    ) -> Verdict | None:
        await self.gate.passed()
        if not is_wanted():
            return None
        self.hashed += 1
        return job()

    async def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)


def at_no_cost(stored: PasswordHash | None, password: str, salt: bytes, wants_renewal: bool) -> Verdict:
    """Stand for `hashed` where the cost of a hash is counted, not paid."""
    is_right = stored is not None and stored.verify(password)
    return Verdict(is_right, "$public$renewed" if is_right and wants_renewal else "")


def new_passwords(hashing: InlineHashing, clock: FakeClock, throttle: Throttle | None = None) -> Passwords:
    return Passwords(
        hashing,
        Remembered(bytes(32), clock.monotonic),
        throttle or Throttle(),
        monotonic=clock.monotonic,
        new_salt=lambda: SALT,
        compute=at_no_cost,
    )


def public_user(name: str, password: str, *, loopback_only: bool = False) -> User:
    """Return a user whose password costs nothing to check."""
    return User(name, Public(password).text, loopback_only)


def users_of(*users: User, hashing: InlineHashing | None = None, clock: FakeClock | None = None) -> Users:
    by_name = {user.name: user for user in users}
    return Users(by_name.get, new_passwords(hashing or InlineHashing(), clock or FakeClock()))
