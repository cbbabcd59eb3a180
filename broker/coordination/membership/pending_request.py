"""The one request to the store that is under way: when it is given up, and when the next one is due.

All times follow from heartbeatInterval.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from broker.backoff import Backoff


class Request(Protocol):
    """A request to the store: when it was made, and until when its answer counts, in monotonic seconds."""

    @property
    def asked_at(self) -> float: ...

    @property
    def until(self) -> float: ...


Q = TypeVar("Q", bound=Request)


def timeout_of(heartbeat_interval: float) -> float:
    """Return how many seconds a request may take.

    Trust lasts 0.8 of an interval longer than the pause between two beats, so a beat can be tried twice in that time.
    """
    return 0.4 * heartbeat_interval


def trust_of(heartbeat_interval: float) -> float:
    """Return for how many seconds from its question a beat or renewal gives trust.

    A tenth less than others wait before they evict: the clocks of two machines may differ in rate by nearly that.
    """
    return 0.9 * 2 * heartbeat_interval


class PendingRequest(Generic[Q]):
    """Remembers the request that is under way, and decides when the next one is due.

    An answer counts if it comes before the request is given up. The store may still do a request that was given up,
    seconds later; the next request must allow for that (ADR 16).
    """

    __slots__ = (
        "_asked",
        "_backoff",
        "_first_backoff",
        "_jitter",
        "due",
        "heartbeat_interval",
        "heartbeat_max_age",
        "is_failing",
        "timeout",
        "trust",
    )

    def __init__(self, heartbeat_interval: float, jitter: Callable[[], float]) -> None:
        """`jitter` returns random numbers from 0 to 1."""
        self.heartbeat_interval = heartbeat_interval
        self.heartbeat_max_age = 2 * heartbeat_interval
        self.trust = trust_of(heartbeat_interval)
        self.timeout = timeout_of(heartbeat_interval)
        self.due = 0.0
        self.is_failing = False
        """Whether the last request was given up."""
        self._jitter = jitter
        self._asked: Q | None = None
        self._first_backoff = self._backoff = Backoff(0.02 * heartbeat_interval, 0.5 * heartbeat_interval)

    @property
    def deadline(self) -> float:
        """When the request under way is given up; without one, when the next is due."""
        return self.due if self._asked is None else self._asked.until

    def is_under_way(self, now: float) -> bool:
        """Return whether an answer may still come."""
        return self._asked is not None and now < self._asked.until

    def ask(self, request: Q) -> Q:
        """Note `request` as the one that is under way."""
        self._asked = request
        return request

    def answer(self, asked_at: float, now: float) -> Q | None:
        """Take the answer to the request made at `asked_at`. Return that request, or None if the answer is too late."""
        request = self._asked
        if request is None or request.asked_at != asked_at or now >= request.until:
            return None
        self._asked = None
        self.is_failing = False
        self._backoff = self._first_backoff
        self.due = now
        return request

    def give_up(self, now: float) -> Q | None:
        """Give up the request under way and put off the next one. Return what was given up, if anything."""
        request = self._asked
        if request is not None:
            self._asked = None
            self.is_failing = True
            self.due = now + self._backoff.jittered(self._jitter())
            self._backoff = self._backoff.longer()
        return request

    def is_asked(self, asked_at: float) -> bool:
        """Return whether the request under way was made at `asked_at`."""
        return self._asked is not None and self._asked.asked_at == asked_at

    def drop(self) -> None:
        """Forget the request that is under way: its answer does not count any more."""
        self._asked = None

    def next_poll(self, asked_at: float) -> float:
        """Return when to read again after a read at `asked_at`: within half an interval, each node at its own pace.

        The jitter only shortens the pause. Half an interval, `heartbeat_max_age` and coordinatorEntryCreationWaitTime
        together stay below 15.5 s, the time in which a failed coordinator must be replaced.
        """
        return asked_at + self.heartbeat_interval * (0.35 + 0.1 * self._jitter())
