"""Logins of users whom WSO2's tables hold.

Whose password is known to be right, and whose row is fresh, is answered at once; everybody else after a look at the
database. While that is away, who is remembered goes on and others are told to come again.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Final

import structlog

from broker.auth.carbon.accounts import Accounts, KnownAccount
from broker.auth.carbon.names import Login, login_of
from broker.auth.carbon.rules import LoginRules
from broker.auth.identity import Identity, shown_user
from broker.auth.password_hash import wso2
from broker.auth.passwords import Passwords
from broker.auth.remembered import Proof
from broker.errors import ConnectionForced, InvalidPasswordHash, StoreUnavailable
from broker.ports.user_database import Account, StoreRules

_log = structlog.get_logger(__name__)

_AWAY: Final = "the user database is away, and this user is not known here yet: try again later"
_DEFAULT_PASSWORD: Final = "admin"


class CarbonUsers:
    """Lets the users of WSO2's tables log in; an `Authenticator`."""

    def __init__(self, accounts: Accounts, passwords: Passwords, rules: StoreRules) -> None:
        self._accounts = accounts
        self._passwords = passwords
        self._rules = rules
        self._login_rules = LoginRules(rules)

    def log_in(
        self, name: str, password: str, *, address: str, is_loopback: bool
    ) -> Identity | Coroutine[Any, Any, Identity | None] | None:
        """Return who that is, None unless this is the password of a user.

        Raises `ConnectionForced`, now or later, while the database is away and the user is not known.
        """
        login, password = login_of(name), self._rules.password_of(password)
        why = self._login_rules.what_is_wrong(login, password) or self._only_here(login, password, is_loopback)
        if why:
            _log.info("nobody can log in like this", user=shown_user(name), peer=address, reason=why)
            return self._checked(login, password, None, address, is_loopback)
        entry = self._accounts.fresh(login.user)
        if entry is not None and (stored := self._stored(entry.account)) is not None:
            proof = self._passwords.recall(self._rules.key(login.user), password, stored, address)
            if proof is not None:
                return _identity(entry, proof, is_loopback)
        if self._passwords.is_held_back(self._rules.key(login.user), address) or self._accounts.is_unknown(login.user):
            return self._checked(login, password, None, address, is_loopback)
        return self._look_up(login, password, address, is_loopback)

    async def known(self, name: str, *, is_loopback: bool) -> Identity | None:
        """Return who that is, None unless there is such a user who may log in."""
        login = login_of(name)
        if self._login_rules.what_is_wrong(login, None):
            return None
        entry = await self._entry(login)
        if entry is None or entry.account.must_change:
            return None
        return _identity(entry, Proof(), is_loopback)

    def _only_here(self, login: Login, password: str, is_loopback: bool) -> str:
        is_default = password == _DEFAULT_PASSWORD and self._rules.key(login.user) == self._rules.key(
            self._rules.admin_user
        )
        return "the default password is good from this machine only" if is_default and not is_loopback else ""

    async def _look_up(self, login: Login, password: str, address: str, is_loopback: bool) -> Identity | None:
        entry = await self._entry(login)
        answer = self._checked(login, password, entry, address, is_loopback)
        return await answer if isinstance(answer, Coroutine) else answer

    async def _entry(self, login: Login) -> KnownAccount | None:
        try:
            return await self._accounts.load(login.user)
        except StoreUnavailable as error:
            entry = self._accounts.recall(login.user)
            if entry is None:
                _log.warning("the user database is away", user=shown_user(login.user), reason=str(error))
                raise ConnectionForced(_AWAY) from error
            return entry

    def _checked(
        self, login: Login, password: str, entry: KnownAccount | None, address: str, is_loopback: bool
    ) -> Identity | Coroutine[Any, Any, Identity | None] | None:
        """Check a password, at the same cost whether there is such a user or not."""
        stored = None if entry is None else self._stored(entry.account)
        proof = self._passwords.check(self._rules.key(login.user), password, stored, address)
        if isinstance(proof, Coroutine):
            return _later(proof, entry, is_loopback)
        return None if entry is None or proof is None else _identity(entry, proof, is_loopback)

    def _stored(self, account: Account) -> str | None:
        """Return what is stored of the password as a text of `auth/password_hash`; None when none is right."""
        if account.must_change:
            _log.warning("a user cannot log in before the password is changed (UM_REQUIRE_CHANGE)", user=account.name)
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


async def _later(
    proof: Coroutine[Any, Any, Proof | None], entry: KnownAccount | None, is_loopback: bool
) -> Identity | None:
    found = await proof
    return None if entry is None or found is None else _identity(entry, found, is_loopback)
