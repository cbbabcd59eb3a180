"""Who uses the console: sessions that begin with the login form, and the marks by which forms are known to be ours.

A session is a random name in a cookie; what it stands for is in memory and ends with the incarnation. A form carries a
mark that only the session knows, so that a page of another site cannot send one.
"""

from __future__ import annotations

import hmac
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from broker.management.http.call import HttpCaller

COOKIE: Final = "cordillera-console"
IDLE: Final = 30 * 60.0
"""Seconds without a request after which a session is over."""
LONGEST: Final = 12 * 3600.0
MOST: Final = 1000
"""Sessions at once: the one that was used longest ago makes room."""


@dataclass(slots=True)
class ConsoleSession:
    """One login."""

    caller: HttpCaller
    since: float
    used: float
    asked: float
    """When it was last asked whether the user may still log in."""
    mark: str
    """What shows that a form is one of the session's own."""
    closed_pages: frozenset[str] = frozenset()
    """The addresses of pages that have nothing for the user."""
    notice: tuple[str, str] | None = None
    """What the next page says once: its kind, and the words."""

    def knows(self, mark: str) -> bool:
        """Is this the mark of the session's own forms?"""
        return hmac.compare_digest(self.mark.encode(), mark.encode("utf-8", "surrogateescape"))

    def take_notice(self) -> tuple[str, str] | None:
        """Return what is to be said, once."""
        notice, self.notice = self.notice, None
        return notice


class Sessions:
    """The sessions of one node."""

    def __init__(self, monotonic: Callable[[], float], new_secret: Callable[[], str]) -> None:
        """`new_secret` returns letters and digits that nobody can guess."""
        self._monotonic = monotonic
        self._new_secret = new_secret
        self._by_name: OrderedDict[str, ConsoleSession] = OrderedDict()

    def begin(self, caller: HttpCaller) -> str:
        """Begin a session; return its name, which is a secret."""
        name, now = self._new_secret(), self._monotonic()
        self._by_name[name] = ConsoleSession(caller, now, now, now, self._new_secret())
        while len(self._by_name) > MOST:
            self._by_name.popitem(last=False)
        return name

    def find(self, name: str) -> ConsoleSession | None:
        """Return the session with this name, if it is not over."""
        session = self._by_name.get(name)
        if session is None:
            return None
        now = self._monotonic()
        is_over = now - session.used > IDLE or now - session.since > LONGEST
        if is_over or now > session.caller.identity.good_until:
            del self._by_name[name]
            return None
        session.used = now
        self._by_name.move_to_end(name)
        return session

    def end(self, name: str) -> None:
        """The user has logged out, or may not log in any more."""
        self._by_name.pop(name, None)

    def __len__(self) -> int:
        return len(self._by_name)


class Draft:
    """Definitions that somebody has tried to import, and what that would do: kept until they are imported."""

    def __init__(self, drafts: Drafts, session: str) -> None:
        self._drafts = drafts
        self._session = session

    def get(self) -> TriedDefinitions | None:
        """Return what this session has tried last, if it is still kept."""
        return self._drafts.tried if self._drafts.session == self._session else None

    def put(self, tried: TriedDefinitions | None) -> None:
        """Keep what this session has tried, in the place of what anybody has tried before; None forgets it."""
        if tried is not None or self.get() is not None:
            self._drafts.session, self._drafts.tried = self._session, tried


@dataclass(frozen=True, slots=True)
class TriedDefinitions:
    """Definitions, the virtual host that they are for (none is all), and what importing them would do."""

    octets: bytes
    vhost: str
    outcome: Mapping[str, Any]


class Drafts:
    """What was tried last, by whomever: one draft for all sessions, as it may have twenty megabytes."""

    def __init__(self) -> None:
        self.session = ""
        self.tried: TriedDefinitions | None = None

    def of(self, session: str) -> Draft:
        """Return the draft of one session."""
        return Draft(self, session)
