"""How fast connections and channels may be opened: so many at once, and as many in each second after that.

Pure. One number is kept for each: when the next opening would be due if all came evenly.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

USERS: Final = 10_000
"""Of how many users openings are remembered; the one whose last is longest ago is forgotten."""


class OpeningRate:
    """The openings of one user, or of one connection."""

    __slots__ = ("_due", "_interval", "_lead")

    def __init__(self, per_second: int) -> None:
        self._interval = 1.0 / per_second
        self._lead = 1.0 - self._interval / 2  # half an interval of slack: sums of fractions are not exact
        self._due = float("-inf")

    def allows(self, now: float) -> bool:
        """May one more be opened now? One that may not does not count."""
        due = max(self._due, now)
        if due - now > self._lead:
            return False
        self._due = due + self._interval
        return True


class OpeningRates:
    """The openings of each user."""

    def __init__(self, per_second: int, users: int = USERS) -> None:
        self.per_second: Final = per_second
        self._users = users
        self._by_user: OrderedDict[str, OpeningRate] = OrderedDict()

    def __len__(self) -> int:
        """How many users are remembered."""
        return len(self._by_user)

    def allows(self, user: str, now: float) -> bool:
        """May the user open one more now?"""
        rate = self._by_user.get(user)
        if rate is None:
            if len(self._by_user) >= self._users:
                self._by_user.popitem(last=False)
            rate = self._by_user[user] = OpeningRate(self.per_second)
        self._by_user.move_to_end(user)
        return rate.allows(now)
