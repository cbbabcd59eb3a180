"""Logins by tokens of OAuth 2 in the place of passwords, beside those of users (ADR 55).

What a token says was decided by its issuer, so nothing about it is kept but for speed: tokens that were verified are
remembered by a keyed digest, as passwords are, until they end or the keys change. A token appears in no log.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

import structlog

from broker.auth.identity import Authenticator, Identity, LoginResult, Refused, is_token
from broker.auth.signing_keys import SigningKeys
from broker.auth.token_claims import ClaimRules, Subject, TokenRefused, subject_of
from broker.auth.token_signatures import Parsed, Signatures, key_id

_log = structlog.get_logger(__name__)

MOST_TOKENS: Final = 10_000
MOST_OCTETS: Final = 16 << 20
"""How many verified tokens are remembered, and how long they may be together."""


@dataclass(frozen=True, slots=True)
class _Verified:
    subject: Subject
    octets: int


class VerifiedTokens:
    """Tokens that were verified, by a digest that nobody can make elsewhere."""

    def __init__(self, key: bytes, most_octets: int = MOST_OCTETS) -> None:
        """`key` is 32 octets of chance, made anew for each start."""
        self._key = key
        self._most_octets = most_octets
        self._by_digest: OrderedDict[bytes, _Verified] = OrderedDict()
        self.octets = 0

    def __len__(self) -> int:
        """How many are remembered."""
        return len(self._by_digest)

    def digest(self, token: str) -> bytes:
        """Return 16 octets that stand for a token, here and in this process only."""
        return blake2b(token.encode("utf-8", "surrogateescape"), key=self._key, digest_size=16).digest()

    def find(self, digest: bytes, now: float) -> Subject | None:
        """Return whom a token is for that was verified and has not ended. `now` is in seconds since 1970."""
        found = self._by_digest.get(digest)
        if found is None or now >= found.subject.good_until:
            return None
        self._by_digest.move_to_end(digest)
        return found.subject

    def add(self, digest: bytes, subject: Subject, octets: int) -> None:
        """Remember a token of so many octets."""
        before = self._by_digest.pop(digest, None)
        self.octets += octets - (before.octets if before is not None else 0)
        self._by_digest[digest] = _Verified(subject, octets)
        while self._by_digest and (self.octets > self._most_octets or len(self._by_digest) > MOST_TOKENS):
            self.octets -= self._by_digest.popitem(last=False)[1].octets

    def forget(self) -> None:
        """Forget all: the keys have changed."""
        self._by_digest.clear()
        self.octets = 0


class TokenLogins:
    """Lets clients log in by tokens; whoever brings something else is handed to `users`."""

    def __init__(
        self,
        users: Authenticator,
        rules: ClaimRules,
        signatures: Signatures,
        keys: SigningKeys,
        verified: VerifiedTokens,
        *,
        monotonic: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        """`wall` is the time in seconds since 1970, by which tokens end."""
        self._users = users
        self._rules = rules
        self._signatures = signatures
        self._keys = keys
        self._verified = verified
        self._monotonic = monotonic
        self._wall = wall
        keys.on_change = verified.forget

    def log_in(
        self, name: str, password: str, *, address: str, is_loopback: bool
    ) -> LoginResult | Coroutine[Any, Any, LoginResult]:
        """Return who that is. Of a token the name that the client says does not count."""
        if not is_token(password):
            return self._users.log_in(name, password, address=address, is_loopback=is_loopback)
        return self._identify(password, address, is_loopback)

    def known(self, name: str, *, is_loopback: bool) -> LoginResult | Coroutine[Any, Any, LoginResult]:
        """Return the user whom a certificate names: that is nobody of a token's."""
        return self._users.known(name, is_loopback=is_loopback)

    async def _renew(self, identity: Identity, secret: str, address: str) -> Identity | None:
        found = self._identify(secret, address, identity.is_loopback)
        renewed = await found if isinstance(found, Coroutine) else found
        if not isinstance(renewed, Identity):
            return None
        if renewed.user != identity.user:
            _refused(address, "it is for another user than the connection")
            return None
        return renewed

    def _identify(self, token: str, address: str, is_loopback: bool) -> LoginResult | Coroutine[Any, Any, LoginResult]:
        digest = self._verified.digest(token)
        subject = self._verified.find(digest, self._wall())
        if subject is not None:
            return self._identity(subject, is_loopback)
        try:
            parsed = self._signatures.parse(token)
        except TokenRefused as error:
            return _refused(address, error)
        if self._keys.needs_reading(key_id(parsed)):
            return self._identify_later(parsed, digest, len(token), address, is_loopback)
        return self._verify(parsed, digest, len(token), address, is_loopback)

    async def _identify_later(
        self, parsed: Parsed, digest: bytes, octets: int, address: str, is_loopback: bool
    ) -> LoginResult:
        await self._keys.read_for(key_id(parsed))
        return self._verify(parsed, digest, octets, address, is_loopback)

    def _verify(self, parsed: Parsed, digest: bytes, octets: int, address: str, is_loopback: bool) -> LoginResult:
        key = self._keys.find(key_id(parsed))
        try:
            if key is None:
                raise TokenRefused("its key (kid) is not known")
            subject = subject_of(self._signatures.claims(parsed, key), self._rules, self._wall())
        except TokenRefused as error:
            return _refused(address, error)
        self._verified.add(digest, subject, octets)
        return self._identity(subject, is_loopback)

    def _identity(self, subject: Subject, is_loopback: bool) -> Identity:
        good_until = self._monotonic() + (subject.good_until - self._wall())
        return Identity(subject.user, is_loopback, grants=subject.grants, good_until=good_until, renew=self._renew)


def _refused(address: str, reason: object) -> Refused:
    _log.warning("a token was refused", peer=address, reason=str(reason))
    return Refused(f"the token: {reason}")
