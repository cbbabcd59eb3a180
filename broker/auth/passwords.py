"""Checks the passwords of clients, so that it costs the others nothing (ADR 49).

Decides in this order: who has failed too often is refused; what is remembered is answered; everything else is hashed
beside the loop, in turn. Knows no loop and no thread: both are behind `Hashing`. Every check that is hashed costs one
Argon2id, whether there is such a user or not, and whatever its stored hash is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol

import structlog

from broker.auth.identity import shown_user
from broker.auth.password_hash import PasswordHash, Public, new_argon2id, parse
from broker.auth.remembered import Proof, Remembered
from broker.auth.throttle import Throttle, source_of
from broker.errors import InvalidPasswordHash

_log = structlog.get_logger(__name__)

LATE_OF_A_SOURCE: Final = 8
LATE: Final = 64
"""Refusals that are answered late at the same time, of one source and together. The others are answered at once: each
that waits keeps a connection.
"""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What hashing a password has shown."""

    is_right: bool
    renewed: str = ""
    """A new hash of the right password, if the stored one needs renewal."""


class Hashing(Protocol):
    """Hashes beside the loop."""

    async def run(
        self, key: bytes, source: str, job: Callable[[], Verdict], is_wanted: Callable[[], bool]
    ) -> Verdict | None:
        """Return what `job` returns, which may run in another thread; equal keys at the same time share one run.

        `is_wanted` is asked when its turn has come: if it says no, the answer is None.
        Raises `ConnectionForced` when too many wait.
        """
        ...

    async def pause(self, seconds: float) -> None:
        """Return after so many seconds, or when the node ends."""
        ...


def hashed(stored: PasswordHash | None, password: str, salt: bytes, wants_renewal: bool) -> Verdict:
    """Verify a password at the cost of an Argon2id, of which the right one may make a new hash."""
    is_right = stored is not None and stored.verify(password)
    needs_renewal = is_right and wants_renewal and stored is not None and stored.needs_renewal
    if stored is not None and stored.is_costly and not needs_renewal:
        return Verdict(is_right)
    new = new_argon2id(password, salt)
    return Verdict(is_right, new.text if needs_renewal else "")


class Passwords:
    """The checks of one node."""

    def __init__(
        self,
        hashing: Hashing,
        remembered: Remembered,
        throttle: Throttle,
        *,
        monotonic: Callable[[], float],
        new_salt: Callable[[], bytes],
        compute: Callable[[PasswordHash | None, str, bytes, bool], Verdict] = hashed,
    ) -> None:
        """`new_salt` returns `SALT_OCTETS` of chance. `compute` is what is run beside the loop."""
        self._hashing = hashing
        self._remembered = remembered
        self._throttle = throttle
        self._now = monotonic
        self._new_salt = new_salt
        self._compute = compute
        self._late: Counter[str] = Counter()

    def check(
        self,
        name: str,
        password: str,
        stored: str | None,
        address: str,
        renew: Callable[[str], None] | None = None,
    ) -> Proof | Coroutine[Any, Any, Proof | None] | None:
        """Return a proof, which the login keeps, if this is the password of the stored hash; a coroutine when this
        takes time.

        `stored` is None when nobody has this name, or may not come from there. `renew` is called with a new hash when
        the password is right and the stored hash is weaker than new ones; without it nothing is renewed.
        Raises `ConnectionForced` when too many checks wait.
        """
        try:
            known = parse(stored) if stored is not None else None
        except InvalidPasswordHash as error:
            _log.error(
                "a user cannot log in: the stored hash cannot be read",
                user=shown_user(name),
                peer=address,
                reason=str(error),
            )
            known, stored = None, None
        if isinstance(known, Public):
            return Proof() if password and known.verify(password) else None
        source = source_of(address)
        user = self._remembered.digest(name)
        if not self._throttle.may_try(source, user, self._now()) or not password:
            return self._refused(source)
        credentials = self._remembered.digest(name, stored or "", password)
        proof = self._remembered.find_right(credentials)
        if proof is not None:
            return proof
        if self._remembered.is_wrong(credentials):
            return self._refused(source)
        attempt = _Attempt(name, user, password, known, credentials, source, address, renew)
        return self._hash(attempt)

    def recall(self, name: str, password: str, stored: str, address: str) -> Proof | None:
        """Return a proof if this is known to be the password of the stored hash, and the login is not held back."""
        if not password or self.is_held_back(name, address):
            return None
        return self._remembered.find_right(self._remembered.digest(name, stored, password))

    def is_held_back(self, name: str, address: str) -> bool:
        """Is every login of this user from there refused unseen now?"""
        return not self._throttle.may_try(source_of(address), self._remembered.digest(name), self._now())

    def remember(self, name: str, password: str, stored: str) -> Proof:
        """Take this for the password of the stored hash, without hashing it; return a proof that keeps it known."""
        return self._remembered.add_right(self._remembered.digest(name, stored, password))

    async def _hash(self, attempt: _Attempt) -> Proof | None:
        salt = self._new_salt()
        verdict = None
        while verdict is None:
            if not self._may_try(attempt):
                await self._tell_late(attempt.source)
                return None
            verdict = await self._hashing.run(
                attempt.credentials,
                attempt.source,
                partial(self._compute, attempt.stored, attempt.password, salt, attempt.renew is not None),
                partial(self._may_try, attempt),
            )
        if verdict.is_right:
            return self._on_right(attempt, verdict.renewed)
        self._on_wrong(attempt)
        await self._tell_late(attempt.source)
        return None

    def _may_try(self, attempt: _Attempt) -> bool:
        return self._throttle.may_try(attempt.source, attempt.user, self._now())

    def _on_right(self, attempt: _Attempt, renewed: str) -> Proof:
        self._throttle.on_right(attempt.source, attempt.user)
        if renewed and attempt.renew is not None:
            self.remember(attempt.name, attempt.password, renewed)
            attempt.renew(renewed)
        return self._remembered.add_right(attempt.credentials)

    def _on_wrong(self, attempt: _Attempt) -> None:
        if not self._remembered.add_wrong(attempt.credentials):
            return  # others have brought the same: that is one guess
        seconds = self._throttle.on_wrong(attempt.source, attempt.user, self._now())
        if seconds > 0.0:
            _log.warning(
                "logins are held back after wrong passwords",
                peer=attempt.address,
                user=shown_user(attempt.name),
                seconds=seconds,
            )

    # Refusals

    def _refused(self, source: str) -> Coroutine[Any, Any, None] | None:
        """Refuse a login, at once or late: who tries again at once is slower so, and a guess takes longer."""
        seconds = self._throttle.on_refused(source, self._now())
        late = self._late
        if seconds <= 0.0 or late[source] >= LATE_OF_A_SOURCE or late.total() >= LATE:
            return None
        late[source] += 1
        return self._later(source, seconds)

    async def _later(self, source: str, seconds: float) -> None:
        try:
            await self._hashing.pause(seconds)
        finally:
            self._late[source] -= 1
            if not self._late[source]:
                del self._late[source]

    async def _tell_late(self, source: str) -> None:
        later = self._refused(source)
        if later is not None:
            await later


@dataclass(frozen=True, slots=True, repr=False)
class _Attempt:
    """A login whose password has to be hashed."""

    name: str
    user: bytes
    """The digest of the name: it is as long as the client wanted."""
    password: str
    stored: PasswordHash | None
    credentials: bytes
    source: str
    address: str
    renew: Callable[[str], None] | None
