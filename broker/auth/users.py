"""Users with passwords, and their login."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import structlog

from broker.auth.identity import Identity, LoginResult, Refused, shown_user
from broker.auth.password_hash import Public
from broker.auth.passwords import Passwords
from broker.auth.remembered import Proof

_log = structlog.get_logger(__name__)

_GIVE_A_PASSWORD: Final = "give the user another password: python -m broker admin change-password"
_USE_THE_GENERATED: Final = (
    "use the password in the file that the start of the node names, or set one: python -m broker admin change-password"
)
NO_SUCH_USER: Final = Refused("there is no such user")
WRONG_PASSWORD: Final = Refused("the password is wrong")
HELD_BACK: Final = Refused("held back after wrong passwords")
NOT_FROM_THERE: Final = Refused("this user may log in from the node's machine only")
DEFAULT_PASSWORD: Final = Refused("the default password is good from the node's machine only")


@dataclass(frozen=True, slots=True)
class User:
    """A user with a password. One that is `loopback_only` is refused from other machines (contract C7)."""

    name: str
    password_hash: str
    """One of the forms in `auth/password_hash.py`."""
    loopback_only: bool = False
    default_password: str = ""
    """A password that everybody knows, which is good too, but from this machine only."""


class Users:
    """Lets users log in by their passwords."""

    def __init__(
        self,
        find: Callable[[str], User | None],
        passwords: Passwords,
        renew: Callable[[User, str], None] | None = None,
    ) -> None:
        """`find` returns the user of a name. `renew` stores a new hash for a user who has just logged in with a weaker
        one; without it nobody's is changed.
        """
        self._find = find
        self._passwords = passwords
        self._renew = renew

    def log_in(
        self, name: str, password: str, *, address: str, is_loopback: bool
    ) -> LoginResult | Coroutine[Any, Any, LoginResult]:
        """Return who that is, and why it is refused unless this is the password of a user who may come from there.

        An unknown name takes as long as a known one, and no password is never the right one.
        """
        user = self._find(name)
        refused = WRONG_PASSWORD if user is not None else NO_SUCH_USER
        if self._passwords.is_held_back(name, address):
            refused = HELD_BACK
        if user is not None and user.loopback_only and not is_loopback:
            refused = NOT_FROM_THERE
            _warn("this user may log in from this machine only", name, address, _GIVE_A_PASSWORD)
            user = None
        stored, renew = None, None
        if user is not None:
            stored = user.password_hash
            if user.default_password and password == user.default_password:
                if is_loopback:
                    stored = Public(password).text
                else:
                    refused = DEFAULT_PASSWORD
                    _warn("the default password is good from this machine only", name, address, _USE_THE_GENERATED)
            renew = partial(self._renew, user) if self._renew is not None else None
        proof = self._passwords.check(name, password, stored, address, renew)
        if isinstance(proof, Coroutine):
            return _identity_later(proof, name, is_loopback, refused)
        return _identity(proof, name, is_loopback, refused)

    def known(self, name: str, *, is_loopback: bool) -> Identity | None:
        """Return who that is, None unless there is a user of this name who may come from there."""
        user = self._find(name)
        if user is None or ((user.loopback_only or user.default_password) and not is_loopback):
            return None
        return Identity(name, is_loopback)


def _warn(event: str, name: str, address: str, remedy: str) -> None:
    _log.warning(event, user=shown_user(name), peer=address, remedy=remedy)


def _identity(proof: Proof | None, name: str, is_loopback: bool, refused: Refused) -> LoginResult:
    return refused if proof is None else Identity(name, is_loopback, proof)


async def _identity_later(
    proof: Coroutine[Any, Any, Proof | None], name: str, is_loopback: bool, refused: Refused
) -> LoginResult:
    return _identity(await proof, name, is_loopback, refused)
