"""Who has how many of the requests that are served at once: as soon as half of them are taken, one user, or one address
before it has logged in, gets no more than a share, so that others are served.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from broker.auth.throttle import source_of
from broker.management.http.call import HttpRefusal

MAX_REQUESTS: Final = 64
"""Requests that are served at once; streams do not count."""
SHARE: Final = 16
"""Of one user or address. Whoever is alone gets half of all; with an address of its own then a share more."""
_AGAIN: Final = {"Retry-After": "1"}


class Shares:
    """The requests that are being served."""

    def __init__(self, most: int = MAX_REQUESTS, share: int = SHARE) -> None:
        self._most = most
        self._share = share
        self._by_owner: Counter[tuple[str, str]] = Counter()
        self.total = 0

    def enter(self, address: str) -> RequestPlace:
        """A request has come. Raises `HttpRefusal` if there is no room for it."""
        if self.total >= self._most:
            raise HttpRefusal(503, "service_unavailable", "too many requests at once", _AGAIN)
        source = source_of(address)
        owner = ("address", source)
        self._take(owner, f"address {source} has too many requests without a login")
        self.total += 1
        return RequestPlace(self, owner)

    def hand_over(self, place: RequestPlace, user: str) -> None:
        """A request is that of a user. Raises `HttpRefusal` if that user has too many."""
        owner = ("user", user)
        self._take(owner, f"user '{user}' has too many requests")
        self._give(place.owner)
        place.owner = owner

    def leave(self, place: RequestPlace) -> None:
        """A request has been served."""
        self.total -= 1
        self._give(place.owner)

    def _take(self, owner: tuple[str, str], what: str) -> None:
        if self._by_owner[owner] >= self._share and 2 * self.total > self._most:
            raise HttpRefusal(429, "too_many_requests", f"{what} under way: wait for one of them", _AGAIN)
        self._by_owner[owner] += 1

    def _give(self, owner: tuple[str, str]) -> None:
        self._by_owner[owner] -= 1
        if not self._by_owner[owner]:
            del self._by_owner[owner]


class RequestPlace:
    """One request's."""

    __slots__ = ("_shares", "owner")

    def __init__(self, shares: Shares, owner: tuple[str, str]) -> None:
        self._shares = shares
        self.owner = owner

    def on_login(self, user: str) -> None:
        """The request is that of a user. Raises `HttpRefusal`."""
        self._shares.hand_over(self, user)

    def leave(self) -> None:
        """It has been served."""
        self._shares.leave(self)
