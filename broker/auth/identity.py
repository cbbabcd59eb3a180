"""Who a client is, and who finds that out at its login."""

from __future__ import annotations

from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Identity:
    """A user who has logged in on one connection."""

    user: str
    is_loopback: bool
    """Does the client run on this machine?"""
    proof: object = field(default=None, compare=False, repr=False)
    """What the login wants kept as long as the connection is there: what was found out about its credentials."""


class Authenticator(Protocol):
    """Tells who it is that logs in."""

    def log_in(
        self, name: str, password: str, *, address: str, is_loopback: bool
    ) -> Identity | Coroutine[Any, Any, Identity | None] | None:
        """Return who that is, None when the login is refused; a coroutine when that takes time.

        `address` is the client's, without its port. Raises `ConnectionForced` when it cannot be found out now.
        """
        ...

    def known(self, name: str, *, is_loopback: bool) -> Identity | Coroutine[Any, Any, Identity | None] | None:
        """Return who the user is whom a verified certificate names, None when there is no such user or it may not come
        from there; a coroutine when a store has to be asked.
        """
        ...
