"""Who a client is, and who finds that out at its login."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from math import inf
from typing import Any, Protocol, TypeAlias

from broker.errors import clip


class CredentialGrants(Protocol):
    """What credentials themselves permit, whatever the directory says."""

    @property
    def may_impersonate(self) -> bool:
        """May messages have the user-id of somebody else?"""
        ...

    def require(self, user: str, vhost: str) -> Any:
        """Return the `Permissions` in a virtual host; raise `NotAllowed` if it may not be opened."""
        ...


Renew: TypeAlias = "Callable[[Identity, str, str], Coroutine[Any, Any, Identity | None]]"


@dataclass(frozen=True, slots=True)
class Identity:
    """A user who has logged in on one connection."""

    user: str
    is_loopback: bool
    """Does the client run on this machine?"""
    proof: object = field(default=None, compare=False, repr=False)
    """What the login wants kept as long as the connection is there: what was found out about its credentials."""
    grants: CredentialGrants | None = field(default=None, compare=False, repr=False)
    """What a token permits; None for a user of the directory."""
    good_until: float = field(default=inf, compare=False)
    """When the credentials end (monotonic): the connection does too, unless they are renewed."""
    renew: Renew | None = field(default=None, compare=False, repr=False)
    """Takes another secret (connection.update-secret) and the client's address, and returns who that is, None when it
    is refused. Without it the credentials do not end, and another secret changes nothing.
    """


@dataclass(frozen=True, slots=True)
class Refused:
    """A login that is refused, with the reason for the log: the client is told none."""

    reason: str


LoginResult: TypeAlias = Identity | Refused | None


@dataclass(slots=True)
class LoginCounts:
    """How many logins there were by one protocol since the start of the node."""

    succeeded: int = 0
    failed: int = 0


class Authenticator(Protocol):
    """Tells who it is that logs in. Refuses with None for a wrong password, or with a reason."""

    def log_in(
        self, name: str, password: str, *, address: str, is_loopback: bool
    ) -> LoginResult | Coroutine[Any, Any, LoginResult]:
        """Return who that is, or that the login is refused; a coroutine when that takes time.

        `address` is the client's, without its port. Raises `ConnectionForced` when it cannot be found out now.
        """
        ...

    def known(self, name: str, *, is_loopback: bool) -> LoginResult | Coroutine[Any, Any, LoginResult]:
        """Return who the user is whom a verified certificate names, None when there is no such user or it may not come
        from there; a coroutine when a store has to be asked.
        """
        ...


def is_token(secret: str) -> bool:
    """Is this a token rather than a password: a JSON object in Base64 (RFC 7515), and two or four more parts?"""
    return secret.startswith("eyJ") and secret.count(".") in (2, 4)


def shown_user(name: str) -> str:
    """Return a name that a client says, for the log: cut, and not if it is a token."""
    return "(a token)" if is_token(name) else clip(name, 256)
