"""What the claims of a token say: who it is for, until when it is good, and what it permits.

Pure. The claims come from a token whose signature was verified; they are judged all the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from broker.auth.scopes import TokenGrants
from broker.errors import BrokerError

MAX_USER: Final = 255
"""Octets of the name of a user."""
MAX_SCOPES: Final = 2048
_UNKNOWN: Final = "unknown"
"""The user of a token that names none, as RabbitMQ has it."""
_REQUESTING_PARTY: Final = "authorization.permissions.scopes"
"""Where Keycloak puts the scopes of a requesting party token."""


class TokenRefused(BrokerError):
    """A token that is not accepted; the text says why, and has nothing of the token in it."""


@dataclass(frozen=True, slots=True)
class ClaimRules:
    """What is configured of claims (`authentication/oauth2` of `broker.xml`)."""

    resource_server_id: str
    scope_prefix: str
    """What scopes begin with that are for this broker."""
    additional_scopes_keys: Sequence[str] = ()
    """Paths of claims that hold scopes too, with dots between their names."""
    user_claims: Sequence[str] = ("sub", "client_id")
    """The claims that may name the user; the first that does counts."""
    verify_aud: bool = True
    issuer: str = ""
    """Who must have issued it; anybody with a key if empty."""
    clock_skew: float = 0.0
    """Seconds by which the issuer's clock and this machine's may differ."""
    aliases: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """The scopes that a scope stands for."""


@dataclass(frozen=True, slots=True)
class Subject:
    """Whom a token is for, and what it permits."""

    user: str
    grants: TokenGrants
    good_until: float
    """When the token ends, with the skew, in seconds since 1970."""


def subject_of(claims: Mapping[str, Any], rules: ClaimRules, now: float) -> Subject:
    """Return whom the claims are for. `now` is in seconds since 1970. Raises `TokenRefused`."""
    if rules.issuer and claims.get("iss") != rules.issuer:
        raise TokenRefused("it has another issuer")
    _check_audience(claims.get("aud"), rules)
    good_until = _moment(claims, "exp") + rules.clock_skew
    if now >= good_until:
        raise TokenRefused("it has expired")
    if "nbf" in claims and now < _moment(claims, "nbf") - rules.clock_skew:
        raise TokenRefused("it is not good yet")
    return Subject(_user(claims, rules), TokenGrants(_scopes(claims, rules), claims), good_until)


def _check_audience(audience: object, rules: ClaimRules) -> None:
    if not rules.verify_aud:
        return
    if audience is None:
        raise TokenRefused("it names no audience (aud)")
    if rules.resource_server_id not in _words(audience):
        raise TokenRefused("it is for another audience (aud)")


def _moment(claims: Mapping[str, Any], name: str) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TokenRefused(f"it has no time in the claim '{name}'")
    return float(value)


def _user(claims: Mapping[str, Any], rules: ClaimRules) -> str:
    user = next((value for name in rules.user_claims if isinstance(value := claims.get(name), str) and value), _UNKNOWN)
    if len(user.encode("utf-8", "replace")) > MAX_USER:
        raise TokenRefused(f"the name of the user is longer than {MAX_USER} octets")
    return user.encode("utf-8", "replace").decode()


def _scopes(claims: Mapping[str, Any], rules: ClaimRules) -> list[str]:
    """Return the scopes for this broker, without their prefix, each once."""
    given = _words(claims.get("scope"))
    for path in (_REQUESTING_PARTY, *rules.additional_scopes_keys):
        for value in _at(claims, [name for name in path.split(".") if name]):
            given += _scopes_in(value, rules.resource_server_id)
    given += [scope for alias in given for scope in rules.aliases.get(alias, ())]
    prefix = rules.scope_prefix
    scopes = dict.fromkeys(scope.removeprefix(prefix) for scope in given if scope.startswith(prefix))
    if len(scopes) > MAX_SCOPES:
        raise TokenRefused(f"it has more than {MAX_SCOPES} scopes")
    return list(scopes)


def _at(value: object, names: Sequence[str]) -> Iterator[object]:
    """Yield what is at a path of names; on the way a list stands for each of its elements."""
    if not names:
        yield value
    elif isinstance(value, Mapping):
        if names[0] in value:
            yield from _at(value[names[0]], names[1:])
    elif isinstance(value, list):
        for each in value:
            if isinstance(each, Mapping):
                yield from _at(each, names)


def _scopes_in(value: object, resource_server_id: str) -> list[str]:
    """Return the scopes that a claim holds: words, or, by the name of this broker, words without the prefix."""
    if isinstance(value, Mapping):
        return [f"{resource_server_id}.{scope}" for scope in _words(value.get(resource_server_id))]
    return _words(value)


def _words(value: object) -> list[str]:
    """Return the words of a text or a list."""
    if isinstance(value, str):
        return value.split(" ")
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []
