"""Logins by tokens beside those by passwords: ADR 55."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
from structlog.testing import capture_logs

from broker.auth.access import Permission
from broker.auth.directory import Directory
from broker.auth.identity import Identity, LoginResult, Refused, is_token, shown_user
from broker.auth.recorded_access import RecordedAccess
from broker.auth.scopes import GrantedAccess
from broker.auth.signing_keys import SigningKeys
from broker.auth.token_claims import ClaimRules
from broker.auth.token_signatures import Signatures
from broker.auth.tokens import TokenLogins, VerifiedTokens
from broker.auth.users import NOT_FROM_THERE, WRONG_PASSWORD
from broker.config.authentication import ALGORITHMS
from broker.errors import NotAllowed
from tests.support.clock import FakeClock
from tests.support.logins import public_user, users_of
from tests.support.tokens import claims_of, ec_key, key_set, rsa_key, signed

KEY = bytes(32)


class CountingSignatures(Signatures):
    """Counts what is verified."""

    verified = 0

    def claims(self, *arguments: Any) -> Any:
        self.verified += 1
        return super().claims(*arguments)


class Logins:
    """Logins by tokens of one issuer, whose published keys can change."""

    def __init__(self, **rules: Any) -> None:
        self.clock = FakeClock()
        self.published = key_set(ec_key())
        self.signatures = CountingSignatures(ALGORITHMS)
        self.keys = SigningKeys({}, lambda: self.published, self.clock.monotonic)
        self.verified = VerifiedTokens(KEY)
        self.logins = TokenLogins(
            users_of(public_user("guest", "guest", loopback_only=True), public_user("ann", "secret")),
            ClaimRules("rabbitmq", "rabbitmq.", **rules),
            self.signatures,
            self.keys,
            self.verified,
            monotonic=self.clock.monotonic,
            wall=self.wall,
        )

    def wall(self) -> float:
        return self.clock.wall_ms() / 1000

    def token(self, key: Any = None, **claims: Any) -> str:
        key = key or ec_key()
        return signed(claims_of(now=self.wall(), **claims), key, "RS256" if key is rsa_key() else "ES256")

    def at_once(self, token: str, name: str = "") -> Any:
        return self.logins.log_in(name, token, address="192.0.2.1", is_loopback=False)

    async def log_in(self, token: str, name: str = "") -> LoginResult:
        answer = self.at_once(token, name)
        return await answer if isinstance(answer, Coroutine) else answer

    async def renewed(self, identity: Identity, secret: str) -> Identity | None:
        assert identity.renew is not None
        return await identity.renew(identity, secret, "192.0.2.1")


async def test_a_token_is_the_login_of_the_user_it_names_whatever_the_client_says() -> None:
    logins = Logins()
    identity = await logins.log_in(logins.token(sub="ann", exp=logins.wall() + 60), "somebody else")
    assert identity == Identity("ann", is_loopback=False)
    assert identity is not None
    assert identity.good_until == logins.clock.monotonic() + 60
    assert identity.grants is not None
    permissions = identity.grants.require("ann", "/")
    assert permissions.permits(Permission.WRITE, "queue", "q")


async def test_passwords_and_certificates_are_those_of_users() -> None:
    logins = Logins()
    assert await logins.log_in("secret", "ann") == Identity("ann", False)
    assert await logins.log_in("wrong", "ann") == WRONG_PASSWORD
    assert await logins.log_in("guest", "guest") == NOT_FROM_THERE
    assert logins.logins.known("ann", is_loopback=False) == Identity("ann", False)
    assert logins.keys.reads == 0


async def test_a_token_that_was_verified_is_known_until_it_ends() -> None:
    logins = Logins()
    token = logins.token(exp=logins.wall() + 60)
    await logins.log_in(token)
    again = logins.at_once(token)
    assert isinstance(again, Identity)
    assert logins.signatures.verified == 1
    logins.clock.advance(59)
    assert logins.at_once(token).good_until == logins.clock.monotonic() + 1
    logins.clock.advance(1)
    with capture_logs() as logs:
        assert isinstance(logins.at_once(token), Refused)
    assert [(line["event"], line["peer"], line["reason"]) for line in logs] == [
        ("a token was refused", "192.0.2.1", "it has expired")
    ]


async def test_other_keys_make_forget_what_the_old_ones_verified() -> None:
    logins = Logins()
    token = logins.token()
    assert await logins.log_in(token) is not None
    logins.published = key_set(rsa_key())
    logins.clock.advance(10)
    assert await logins.log_in(logins.token(rsa_key())) is not None
    assert isinstance(await logins.log_in(token), Refused)
    assert len(logins.verified) == 1


async def test_a_stranger_who_names_keys_makes_nobody_ask_the_issuer_more_often() -> None:
    logins = Logins()
    stranger = [logins.token(ec_key(f"unknown {number}")) for number in range(5)]
    answers = await asyncio.gather(*(logins.log_in(token) for token in stranger))
    assert answers == [Refused("the token: its key (kid) is not known")] * 5
    assert logins.keys.reads == 1
    assert isinstance(logins.at_once(stranger[0]), Refused)
    assert isinstance(logins.at_once(logins.token()), Identity)


@pytest.mark.parametrize("scopes", [[], ["rabbitmq.read:other/*"], ["other.read:*/*"]])
async def test_a_token_without_a_scope_for_a_virtual_host_does_not_open_it(scopes: list[str]) -> None:
    logins = Logins()
    identity = await logins.log_in(logins.token(scopes=scopes))
    assert isinstance(identity, Identity)
    access = GrantedAccess(RecordedAccess(Directory()))
    with pytest.raises(NotAllowed, match="access to vhost '/' refused for user 'ann'"):
        access.permissions(identity, "/")


async def test_a_token_renews_another_of_the_same_user_only() -> None:
    logins = Logins()
    identity = await logins.log_in(logins.token(exp=logins.wall() + 60))
    assert isinstance(identity, Identity)
    renewed = await logins.renewed(identity, logins.token(exp=logins.wall() + 600))
    assert renewed is not None
    assert renewed.good_until == identity.good_until + 540
    with capture_logs() as logs:
        assert await logins.renewed(identity, logins.token(sub="eve")) is None
        assert await logins.renewed(identity, "a password") is None
    assert [line["reason"] for line in logs] == [
        "it is for another user than the connection",
        "it is no JSON Web Token with a signature",
    ]
    user = await logins.log_in("secret", "ann")
    assert user is not None
    assert user.renew is None


async def test_no_token_is_in_the_log() -> None:
    logins = Logins()
    good, bad, late = logins.token(), logins.token(aud="other"), logins.token(exp=1)
    with capture_logs() as logs:
        for token in (good, bad, late, good[:-5], good + "AAAA"):
            await logins.log_in(token, token)
            await logins.log_in("wrong", token)
    assert len(logs) >= 4
    for part in {part for token in (good, bad, late) for part in token.split(".")}:
        assert part not in str(logs)


def test_how_many_tokens_are_remembered_is_bounded_by_what_they_hold() -> None:
    verified = VerifiedTokens(KEY, most_octets=100)
    subjects: list[Any] = [type("Subject", (), {"good_until": 10.0})() for _ in range(4)]
    for number, subject in enumerate(subjects[:3]):
        verified.add(bytes([number]), subject, 40)
    assert [verified.find(bytes([number]), 0.0) for number in range(3)] == [None, *subjects[1:3]]
    verified.add(b"\1", subjects[3], 60)
    assert (verified.octets, len(verified)) == (100, 2)
    assert verified.find(b"\1", 0.0) is subjects[3]
    verified.add(b"\7", subjects[0], 101)
    assert (verified.octets, len(verified)) == (0, 0)
    assert verified.digest("x") != VerifiedTokens(bytes([1] * 32)).digest("x")


def test_what_looks_like_a_token_is_one_and_is_not_shown() -> None:
    assert is_token("eyJhbGciOiJFUzI1NiJ9.e30.AA")
    assert is_token("eyJhbGciOiJFUzI1NiJ9.x.e30.AA.y")
    assert not any(map(is_token, ("", "guest", "eyJ", "a.b.c", "eyJ.x")))
    assert shown_user("eyJhbGciOiJFUzI1NiJ9.e30.AA") == "(a token)"
    assert shown_user("ann" * 100) == ("ann" * 100)[:256]
