"""Logins of users whom WSO2's tables hold.

Whose password is known to be right, and whose row is fresh, is answered at once; everybody else after a look at the
database. While that is away, who is remembered goes on and others are told to come again.
"""

from __future__ import annotations

from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Final

import structlog

from broker.auth.carbon.accounts import Accounts, KnownAccount
from broker.auth.carbon.names import login_of
from broker.auth.carbon.rules import LoginRules
from broker.auth.identity import Identity, LoginResult, Refused, shown_user
from broker.auth.password_hash import wso2
from broker.auth.passwords import Passwords
from broker.auth.remembered import Proof
from broker.auth.users import DEFAULT_PASSWORD, HELD_BACK, NO_SUCH_USER, WRONG_PASSWORD
from broker.errors import ConnectionForced, InvalidPasswordHash, StoreUnavailable
from broker.ports.user_database import Account, StoreRules

_log = structlog.get_logger(__name__)

_AWAY: Final = "the user database is away, and this user is not known here yet: try again later"
_DEFAULT_PASSWORD: Final = "admin"
MUST_CHANGE: Final = Refused("the password must be changed first (UM_REQUIRE_CHANGE)")


@dataclass(frozen=True, slots=True, repr=False)
class _Attempt:
    """A login: `key` stands for the name, in whatever case it was written."""

    user: str
    key: str
    password: str
    address: str
    is_loopback: bool


class CarbonUsers:
    """Lets the users of WSO2's tables log in; an `Authenticator`."""

    def __init__(self, accounts: Accounts, passwords: Passwords, rules: StoreRules) -> None:
        self._accounts = accounts
        self._passwords = passwords
        self._rules = rules
        self._login_rules = LoginRules(rules)

    def log_in(
        self, name: str, password: str, *, address: str, is_loopback: bool
    ) -> LoginResult | Coroutine[Any, Any, LoginResult]:
        """Return who that is, and why it is refused unless this is the password of a user.

        Raises `ConnectionForced`, now or later, while the database is away and the user is not known.
        """
        login, password = login_of(name), self._rules.password_of(password)
        attempt = _Attempt(login.user, self._rules.key(login.user), password, address, is_loopback)
        if why := self._login_rules.what_is_wrong(login, password):
            return self._refused(attempt, Refused(why))
        if not is_loopback and self._has_default_password(attempt):
            return self._refused(attempt, DEFAULT_PASSWORD)
        entry = self._accounts.fresh(login.user)
        if entry is not None and (stored := self._stored(entry.account)) is not None:
            proof = self._passwords.recall(attempt.key, password, stored, address)
            if proof is not None:
                return _identity(entry, proof, is_loopback)
        if self._passwords.is_held_back(attempt.key, address):
            return self._refused(attempt, HELD_BACK)
        if self._accounts.is_unknown(login.user):
            return self._refused(attempt, NO_SUCH_USER)
        return self._look_up(attempt)

    async def known(self, name: str, *, is_loopback: bool) -> Identity | None:
        """Return who that is, None unless there is such a user who may log in."""
        login = login_of(name)
        if self._login_rules.what_is_wrong(login, None):
            return None
        entry = await self._entry(login.user)
        if entry is None or entry.account.must_change:
            return None
        return _identity(entry, Proof(), is_loopback)

    def _has_default_password(self, attempt: _Attempt) -> bool:
        return attempt.password == _DEFAULT_PASSWORD and attempt.key == self._rules.key(self._rules.admin_user)

    def _refused(self, attempt: _Attempt, refused: Refused) -> LoginResult | Coroutine[Any, Any, LoginResult]:
        """Refuse a login at the cost of one with a wrong password."""
        proof = self._passwords.check(attempt.key, attempt.password, None, attempt.address)
        return _refused_later(proof, refused) if isinstance(proof, Coroutine) else refused

    async def _look_up(self, attempt: _Attempt) -> LoginResult:
        entry = await self._entry(attempt.user)
        stored = None if entry is None else self._stored(entry.account)
        proof = self._passwords.check(attempt.key, attempt.password, stored, attempt.address)
        if isinstance(proof, Coroutine):
            proof = await proof
        if entry is None:
            return NO_SUCH_USER
        if proof is None:
            return MUST_CHANGE if entry.account.must_change else WRONG_PASSWORD
        return _identity(entry, proof, attempt.is_loopback)

    async def _entry(self, user: str) -> KnownAccount | None:
        try:
            return await self._accounts.load(user)
        except StoreUnavailable as error:
            entry = self._accounts.recall(user)
            if entry is None:
                _log.warning("the user database is away", user=shown_user(user), reason=str(error))
                raise ConnectionForced(_AWAY) from error
            return entry

    def _stored(self, account: Account) -> str | None:
        """Return what is stored of the password as a text of `auth/password_hash`; None when none is right."""
        if account.must_change:
            return None
        rules = self._rules
        try:
            return wso2(
                account.password,
                account.salt,
                rules.password_digest,
                store_salted_password=rules.store_salted_password,
            ).text
        except InvalidPasswordHash as error:
            _log.error("a user cannot log in: the stored password cannot be read", user=account.name, reason=str(error))
            return None


def _identity(entry: KnownAccount, proof: Proof, is_loopback: bool) -> Identity:
    return Identity(entry.account.name, is_loopback, (proof, entry))


async def _refused_later(proof: Coroutine[Any, Any, Proof | None], refused: Refused) -> LoginResult:
    await proof
    return refused
