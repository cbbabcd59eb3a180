"""Decides which logins are held back after wrong passwords: brute force is slowed, and nobody else (ADR 49).

Knows names and times, and no password. Failures are counted for a user at one source, for a source, and for a user at
all sources; a source is an address, or the network that one client has of IPv6. Each count forgives failures one by one
as time goes on. A user who has logged in from a source is known there, and is held back by own failures there alone:
neither by those of other users at the same source, nor by what others do with that name elsewhere.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final

from broker.machine.address import network

_MOST_DOUBLINGS: Final = 30


@dataclass(frozen=True, slots=True)
class Allowance:
    """What failures cost: the first `free` of them nothing, then a wait of `first` seconds that doubles with each more,
    up to `most`. One failure is forgiven after each `forgiven_in` seconds.
    """

    free: int
    first: float
    most: float
    forgiven_in: float

    def wait_after(self, failures: float) -> float:
        """Return how many seconds nothing may be tried after so many failures."""
        over = int(failures) - self.free
        return 0.0 if over < 0 else min(self.first * 2.0 ** min(over, _MOST_DOUBLINGS), self.most)


USER_AT_SOURCE: Final = Allowance(free=5, first=1.0, most=60.0, forgiven_in=60.0)
SOURCE: Final = Allowance(free=30, first=0.5, most=30.0, forgiven_in=10.0)
USER_ANYWHERE: Final = Allowance(free=100, first=0.5, most=5.0, forgiven_in=5.0)
ANSWERS: Final = Allowance(free=5, first=1.0, most=1.0, forgiven_in=5.0)
"""Refusals of a source that are answered at once, and how late the next ones are."""
ENTRIES: Final = 4096
"""How many of each kind are remembered."""


def source_of(address: str) -> str:
    """Return whose logins are counted together: an IPv4 address, an IPv6 network of 64 bits, or the text itself."""
    try:
        return network(address)
    except ValueError:
        return address


@dataclass(slots=True)
class _Failures:
    """How many there were at a time, and until when nothing may be tried."""

    count: float
    at: float
    until: float


class _Counts:
    """Failures by key. When there are too many keys, the one whose last failure is longest ago is forgotten."""

    def __init__(self, allowance: Allowance, entries: int) -> None:
        self._allowance = allowance
        self._entries = entries
        self._by_key: OrderedDict[Hashable, _Failures] = OrderedDict()

    def __len__(self) -> int:
        return len(self._by_key)

    def is_waiting(self, key: Hashable, now: float) -> bool:
        """May nothing be tried yet?"""
        found = self._by_key.get(key)
        return found is not None and now < found.until

    def add(self, key: Hashable, now: float) -> float:
        """Count a failure; return how many seconds nothing may be tried now."""
        allowance = self._allowance
        found = self._by_key.pop(key, None)
        count = 1.0
        if found is not None:
            count += max(0.0, found.count - (now - found.at) / allowance.forgiven_in)
        elif len(self._by_key) >= self._entries:
            self._by_key.popitem(last=False)
        wait = allowance.wait_after(count)
        self._by_key[key] = _Failures(count, now, now + wait)
        return wait

    def forget(self, key: Hashable) -> None:
        self._by_key.pop(key, None)


class Throttle:
    """The failures of a node's clients. Users are whatever stands for their names."""

    def __init__(self, entries: int = ENTRIES) -> None:
        """`entries` is how many of each kind are remembered."""
        self._entries = entries
        self._pairs = _Counts(USER_AT_SOURCE, entries)
        self._sources = _Counts(SOURCE, entries)
        self._users = _Counts(USER_ANYWHERE, entries)
        self._answers = _Counts(ANSWERS, entries)
        self._known: OrderedDict[tuple[str, Hashable], None] = OrderedDict()

    def __len__(self) -> int:
        """How many entries there are."""
        counts = self._pairs, self._sources, self._users, self._answers
        return sum(len(each) for each in counts) + len(self._known)

    def may_try(self, source: str, user: Hashable, now: float) -> bool:
        """May a password be tried now?"""
        pair = source, user
        if self._pairs.is_waiting(pair, now):
            return False
        if pair in self._known:
            return True
        return not (self._sources.is_waiting(source, now) or self._users.is_waiting(user, now))

    def on_wrong(self, source: str, user: Hashable, now: float) -> float:
        """A password was wrong that was not tried before. Return for how many seconds this user, or this source, is
        held back now.
        """
        self._users.add(user, now)
        return max(self._pairs.add((source, user), now), self._sources.add(source, now))

    def on_right(self, source: str, user: Hashable) -> None:
        """The user has logged in from there: its own failures there are forgiven, those of others are not."""
        pair = source, user
        self._pairs.forget(pair)
        self._known.pop(pair, None)
        if len(self._known) >= self._entries:
            self._known.popitem(last=False)
        self._known[pair] = None

    def on_refused(self, source: str, now: float) -> float:
        """A login was refused, for whatever reason. Return how many seconds later the client is to be told."""
        return self._answers.add(source, now)
