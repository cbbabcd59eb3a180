"""What claims say."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from broker.auth.access import Permission
from broker.auth.token_claims import MAX_SCOPES, ClaimRules, Subject, TokenRefused, subject_of
from broker.errors import NotAllowed
from tests.support.tokens import claims_of

NOW = 1_800_000_000.0
RULES = ClaimRules("rabbitmq", "rabbitmq.")


def subject(rules: ClaimRules = RULES, **claims: Any) -> Subject:
    return subject_of(claims_of(now=NOW, **claims), rules, NOW)


def may_read(found: Subject, name: str) -> bool:
    try:
        return bool(found.grants.require(found.user, "/").permits(Permission.READ, "queue", name))
    except NotAllowed:
        return False


def test_a_token_is_for_its_user_until_it_ends() -> None:
    found = subject(sub="ann", exp=NOW + 60)
    assert (found.user, found.good_until) == ("ann", NOW + 60)
    assert may_read(found, "q")


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"exp": NOW}, "it has expired"),
        ({"exp": NOW - 1000}, "it has expired"),
        ({"exp": None}, "it has no time in the claim 'exp'"),
        ({"exp": "tomorrow"}, "it has no time in the claim 'exp'"),
        ({"exp": True}, "it has no time in the claim 'exp'"),
        ({"exp": float("inf")}, "it has no time in the claim 'exp'"),
        ({"exp": [NOW + 60]}, "it has no time in the claim 'exp'"),
        ({"nbf": NOW + 1}, "it is not good yet"),
        ({"nbf": "soon"}, "it has no time in the claim 'nbf'"),
        ({"aud": None}, "it names no audience (aud)"),
        ({"aud": []}, "it is for another audience (aud)"),
        ({"aud": "rabbit"}, "it is for another audience (aud)"),
        ({"aud": ["other", "rabbitmq2"]}, "it is for another audience (aud)"),
        ({"aud": {"rabbitmq": 1}}, "it is for another audience (aud)"),
        ({"sub": "a" * 256}, "the name of the user is longer than 255 octets"),
        ({"scope": [f"rabbitmq.read:*/{number}" for number in range(MAX_SCOPES + 1)]}, "it has more than 2048 scopes"),
    ],
)
def test_what_is_not_for_this_broker_now_is_refused(claims: dict[str, Any], reason: str) -> None:
    with pytest.raises(TokenRefused) as refused:
        subject(**claims)
    assert str(refused.value) == reason


@pytest.mark.parametrize("aud", ["rabbitmq", ["rabbitmq"], ["account", "rabbitmq"], "account rabbitmq"])
def test_the_audience_is_a_word_or_several(aud: object) -> None:
    assert subject(aud=aud).user == "ann"


def test_the_audience_may_be_left_alone() -> None:
    assert subject(replace(RULES, verify_aud=False), aud=None).user == "ann"


def test_the_issuer_is_asked_for_if_it_is_configured() -> None:
    rules = replace(RULES, issuer="https://issuer")
    assert subject(rules, iss="https://issuer").user == "ann"
    for other in (None, "https://issuer/", 1):
        with pytest.raises(TokenRefused, match="it has another issuer"):
            subject(rules, iss=other)


def test_clocks_may_differ_by_the_skew() -> None:
    rules = replace(RULES, clock_skew=10.0)
    assert subject(rules, exp=NOW - 9, nbf=NOW + 10).good_until == NOW + 1
    with pytest.raises(TokenRefused, match="it has expired"):
        subject(rules, exp=NOW - 10)
    with pytest.raises(TokenRefused, match="it is not good yet"):
        subject(rules, nbf=NOW + 11)


@pytest.mark.parametrize(
    ("claims", "user"),
    [
        ({"sub": "ann", "client_id": "app"}, "ann"),
        ({"sub": None, "client_id": "app"}, "app"),
        ({"sub": "", "client_id": "app"}, "app"),
        ({"sub": 7, "client_id": ["app"]}, "unknown"),
        ({"sub": None}, "unknown"),
    ],
)
def test_the_first_claim_that_names_a_user_does(claims: dict[str, Any], user: str) -> None:
    assert subject(**claims).user == user


def test_which_claims_name_the_user_is_configured() -> None:
    rules = replace(RULES, user_claims=("preferred_username", "sub"))
    assert subject(rules, preferred_username="Ann").user == "Ann"


@pytest.mark.parametrize("scope", ["rabbitmq.read:*/a other.read:*/b", ["rabbitmq.read:*/a", "other.read:*/b", 7],
                                   " rabbitmq.read:*/a  rabbitmq.read:*/a "])  # fmt: skip
def test_scopes_are_those_with_the_prefix(scope: object) -> None:
    found = subject(scope=scope)
    assert may_read(found, "a")
    assert not may_read(found, "b")


@pytest.mark.parametrize(
    "scope", [None, "", [], 7, {"rabbitmq": ["read:*/*"]}, "read:*/*", "rabbitmq.", "Rabbitmq.read:*/*"]
)
def test_without_scopes_nothing_is_permitted(scope: object) -> None:
    found = subject(scope=scope)
    assert not may_read(found, "q")
    assert found.grants.tags == ()


def test_the_prefix_may_be_another() -> None:
    found = subject(replace(RULES, scope_prefix="api://mq:"), scope="api://mq:read:*/a rabbitmq.read:*/b")
    assert may_read(found, "a")
    assert not may_read(found, "b")


@pytest.mark.parametrize(
    "claims",
    [
        {"roles": ["rabbitmq.read:*/a"]},
        {"roles": "rabbitmq.read:*/a x"},
        {"roles": {"rabbitmq": ["read:*/a"]}},
        {"roles": {"rabbitmq": "read:*/a write:*/b"}},
        {"realm_access": {"roles": ["rabbitmq.read:*/a"]}},
        {"realm_access": [{"x": 1}, {"roles": ["rabbitmq.read:*/a"]}, "y"]},
        {"authorization": {"permissions": [{"scopes": ["rabbitmq.read:*/a"]}, {"rsid": "x"}]}},
    ],
)
def test_other_claims_may_hold_scopes_too(claims: dict[str, Any]) -> None:
    rules = replace(RULES, additional_scopes_keys=("roles", "realm_access.roles"))
    found = subject(rules, scope="rabbitmq.read:*/own", **claims)
    assert may_read(found, "a")
    assert may_read(found, "own")
    assert not may_read(found, "b")


def test_a_scope_may_stand_for_others() -> None:
    rules = replace(RULES, aliases={"admin": ("rabbitmq.tag:administrator", "rabbitmq.read:*/*")})
    found = subject(rules, scope="admin")
    assert may_read(found, "q")
    assert found.grants.tags == ("administrator",)
    assert not may_read(subject(rules, scope="rabbitmq.admin"), "q")
