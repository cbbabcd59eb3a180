"""What the scopes of a token permit, as RabbitMQ reads them.

`read:<virtual host>/<name>`, `write:…` and `configure:…` permit exchanges and queues; with `/<routing key>` behind it
keys of topic exchanges too, which nothing else permits. `*` stands for anything, everything else for itself and may be
written as in a URL. `{vhost}` is the virtual host, `{sub}` and the like are claims of the token. `tag:<word>` is a tag.
"""

from __future__ import annotations

import re
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Final, TypeAlias
from urllib.parse import quote, unquote_plus

from broker.auth.access import AccessControl, Permission, Permissions, Purpose, ResourceKind, UserLimits
from broker.auth.identity import Identity
from broker.auth.recorded_access import IMPERSONATOR
from broker.errors import NotAllowed

Wildcard: TypeAlias = tuple[str, ...]
"""The texts between the stars."""

_VARIABLE: Final = re.compile(r"\{([^{}]*)\}")
_BAD_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_PERMISSIONS: Final = frozenset(permission.value for permission in Permission)
_TAG: Final = "tag:"
_MOST_VERDICTS: Final = 1000
_MOST_VHOSTS: Final = 100


def wildcard(text: str) -> Wildcard | None:
    """Return a pattern, None for one that is not written as in a URL."""
    if _BAD_ESCAPE.search(text):
        return None
    return tuple(unquote_plus(part, errors="surrogateescape") for part in text.split("*"))


def matches(pattern: Wildcard, name: str) -> bool:
    """Does the pattern match all of `name`? It takes time that is linear in both."""
    first, *others = pattern
    if not others:
        return name == first
    *middle, last = others
    end = len(name) - len(last)
    position = len(first)
    if position > end or not name.startswith(first) or not name.endswith(last):
        return False
    for part in middle:
        found = name.find(part, position, end)
        if found < 0:
            return False
        position = found + len(part)
    return True


Grant: TypeAlias = tuple[str, Wildcard, Wildcard | None]
"""A permission, the names it is for, and the routing keys, if any."""


class ScopePermissions:
    """What scopes permit in one virtual host. Those that permit the same are equal."""

    __slots__ = ("_grants", "_hash", "_verdicts")
    asks_for_purpose: ClassVar[bool] = False

    def __init__(self, grants: Iterable[Grant]) -> None:
        self._grants = frozenset(grants)
        self._hash = hash(self._grants)
        self._verdicts: dict[tuple[str, str, str | None], bool] = {}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ScopePermissions) and self._grants == other._grants

    def __hash__(self) -> int:
        return self._hash

    def permits(self, permission: Permission, kind: ResourceKind, name: str, purpose: Purpose | None = None) -> bool:
        """May this be done with the exchange or queue?"""
        return self._verdict(permission.value, name, None)

    def permits_key(self, permission: Permission, exchange: str, routing_key: str) -> bool:
        """May this key be used at the topic exchange? A scope without a key permits none."""
        return self._verdict(permission.value, exchange, routing_key)

    def _verdict(self, permission: str, name: str, key: str | None) -> bool:
        place = permission, name, key
        verdict = self._verdicts.get(place)
        if verdict is None:
            verdict = any(
                permission == permitted
                and matches(names, name)
                and (key is None or (keys is not None and matches(keys, key)))
                for permitted, names, keys in self._grants
            )
            if len(self._verdicts) >= _MOST_VERDICTS:
                self._verdicts.clear()
            self._verdicts[place] = verdict
        return verdict


class TokenGrants:
    """What a token permits, in all virtual hosts."""

    def __init__(self, scopes: Sequence[str], claims: Mapping[str, Any]) -> None:
        """`scopes` have no prefix any more; `claims` are those of the token."""
        self._scopes = [_with_claims(scope, claims) for scope in scopes if not scope.startswith(_TAG)]
        self._permissions: dict[str, ScopePermissions] = {}
        self.tags: Final = tuple(sorted({scope.removeprefix(_TAG) for scope in scopes if scope.startswith(_TAG)}))

    @property
    def may_impersonate(self) -> bool:
        """May messages have the user-id of somebody else (contract B6)?"""
        return IMPERSONATOR in self.tags

    def require(self, user: str, vhost: str) -> Permissions:
        """Return what is permitted in a virtual host; raise `NotAllowed` if it may not be opened."""
        known = self._permissions.get(vhost)
        if known is None:
            grants = [grant for scope in self._scopes for grant in _grants(scope, vhost)]
            if not grants:
                raise NotAllowed(f"access to vhost '{vhost}' refused for user '{user}'")
            if len(self._permissions) >= _MOST_VHOSTS:
                self._permissions.clear()
            known = self._permissions[vhost] = ScopePermissions(grants)
        return known


class GrantedAccess:
    """Answers by the grants of whoever has a token; an `AccessControl` before that of users."""

    def __init__(self, others: AccessControl) -> None:
        self._others = others

    def permissions(self, identity: Identity, vhost: str) -> Permissions | Coroutine[Any, Any, Permissions]:
        if identity.grants is None:
            return self._others.permissions(identity, vhost)
        granted: Permissions = identity.grants.require(identity.user, vhost)
        return granted

    def permissions_now(self, identity: Identity, vhost: str) -> Permissions:
        """Return what `identity`, which has opened `vhost` before, may do there now: a token's grants do not change."""
        if identity.grants is None:
            return self._others.permissions_now(identity, vhost)
        granted: Permissions = identity.grants.require(identity.user, vhost)
        return granted

    def limits(self, user: str) -> UserLimits:
        return self._others.limits(user)

    def may_impersonate(self, identity: Identity) -> bool:
        return self._others.may_impersonate(identity) if identity.grants is None else identity.grants.may_impersonate


def _grants(scope: str, vhost: str) -> Iterable[Grant]:
    """Yield what a scope permits in a virtual host: nothing, or one thing."""
    permission, _, resource = scope.replace("{vhost}", quote(vhost, safe="", errors="surrogateescape")).partition(":")
    parts = [wildcard(part) for part in resource.split("/")]
    if permission not in _PERMISSIONS or len(parts) not in (2, 3) or None in parts:
        return
    vhosts, names, *keys = (part for part in parts if part is not None)
    if matches(vhosts, vhost):
        yield permission, names, keys[0] if keys else None


def _with_claims(scope: str, claims: Mapping[str, Any]) -> str:
    """Replace variables by claims, which mean themselves: a star in one is a star."""

    def value(found: re.Match[str]) -> str:
        claim = claims.get(found[1])
        text = claim if isinstance(claim, str) else found[1]
        return found[0] if found[1] == "vhost" else quote(text, safe="", errors="replace")

    return _VARIABLE.sub(value, scope)
