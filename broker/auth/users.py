"""Users that a node keeps in memory, with their passwords."""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from dataclasses import dataclass

from broker.auth.identity import Identity


@dataclass(frozen=True, slots=True)
class User:
    """A user with a password. One that is `loopback_only` is refused from other machines (contract C7)."""

    name: str
    password: str
    loopback_only: bool = False


class Users:
    """The users of this node."""

    def __init__(self, users: Iterable[User]) -> None:
        self._users = {user.name: user for user in users}

    def log_in(self, name: str, password: str, *, is_loopback: bool) -> Identity | None:
        """Return who that is, None unless this is the password of a user who may come from there.

        An unknown name takes as long as a known one, and no password is never the right one.
        """
        user = self._users.get(name, User("", ""))
        is_right = hmac.compare_digest(user.password.encode(), password.encode())
        return self.known(name, is_loopback=is_loopback) if is_right and password != "" else None

    def known(self, name: str, *, is_loopback: bool) -> Identity | None:
        """Return who that is, None unless there is a user of this name who may come from there."""
        user = self._users.get(name)
        if user is None or (user.loopback_only and not is_loopback):
            return None
        return Identity(name, is_loopback)
