"""Who a client is, and who finds that out at its login."""

from __future__ import annotations

from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Identity:
    """A user who has logged in on one connection."""

    user: str
    is_loopback: bool
    """Does the client run on this machine?"""


class Authenticator(Protocol):
    """Tells who it is that logs in."""

    def log_in(
        self, name: str, password: str, *, is_loopback: bool
    ) -> Identity | Coroutine[Any, Any, Identity | None] | None:
        """Return who that is, None when the login is refused; a coroutine when a store has to be asked."""
        ...

    def known(self, name: str, *, is_loopback: bool) -> Identity | Coroutine[Any, Any, Identity | None] | None:
        """Return who the user is whom a verified certificate names, None when there is no such user or it may not come
        from there; a coroutine when a store has to be asked.
        """
        ...
