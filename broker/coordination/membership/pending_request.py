"""One question to the store at a time: when the next is due, when one is given up, how long to pause after a failure.

Knows the times that follow from heartbeatInterval, and the question that is under way; knows neither what is asked nor
who answers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from broker.backoff import Backoff


class Question(Protocol):
    """What is asked of the store, when, and how long an answer counts."""

    @property
    def asked_at(self) -> float: ...

    @property
    def until(self) -> float: ...


Q = TypeVar("Q", bound=Question)


def timeout_of(heartbeat_interval: float) -> float:
    """Return how long a question may take: trust outlives an interval by 0.8 of one, and two tries fit into that."""
    return 0.4 * heartbeat_interval


class Inquiry(Generic[Q]):
    """Keeps the question that is under way and the time of the next one.

    An answer counts when it comes before the question is given up. What was given up may still be done by the store,
    seconds later: whoever asks next must expect that (reliability.md §3.7).
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
        """`jitter` gives numbers from 0 to 1."""
        self.heartbeat_interval = heartbeat_interval
        self.heartbeat_max_age = 2 * heartbeat_interval
        # A tenth less than others wait: clocks may run at rates that differ by nearly that much.
        self.trust = 0.9 * self.heartbeat_max_age
        self.timeout = timeout_of(heartbeat_interval)
        self.due = 0.0
        self.is_failing = False
        """Has the last question had no answer?"""
        self._jitter = jitter
        self._asked: Q | None = None
        self._first_backoff = self._backoff = Backoff(0.02 * heartbeat_interval, 0.5 * heartbeat_interval)

    @property
    def deadline(self) -> float:
        """When the question is given up, or the next one is due."""
        return self.due if self._asked is None else self._asked.until

    def is_under_way(self, now: float) -> bool:
        """Return whether an answer may still come."""
        return self._asked is not None and now < self._asked.until

    def ask(self, question: Q) -> Q:
        """Note `question` as the one that is under way."""
        self._asked = question
        return question

    def answer(self, asked_at: float, now: float) -> Q | None:
        """Return the question that was asked at that time, unless its answer comes too late."""
        question = self._asked
        if question is None or question.asked_at != asked_at or now >= question.until:
            return None
        self._asked = None
        self.is_failing = False
        self._backoff = self._first_backoff
        self.due = now
        return question

    def give_up(self, now: float) -> Q | None:
        """Return the question that has no answer, and put the next one off."""
        question = self._asked
        if question is not None:
            self._asked = None
            self.is_failing = True
            self.due = now + self._backoff.jittered(self._jitter())
            self._backoff = self._backoff.longer()
        return question

    def is_asked(self, asked_at: float) -> bool:
        """Return whether the question under way is the one that was asked at that time."""
        return self._asked is not None and self._asked.asked_at == asked_at

    def drop(self) -> None:
        """Forget the question that is under way: its answer counts no more."""
        self._asked = None

    def next_poll(self, asked_at: float) -> float:
        """Return when to look again after the look of `asked_at`: within half an interval, each node at its own pace.

        The jitter only shortens: half an interval, `heartbeat_max_age` and the wait must stay below 15.5 s.
        """
        return asked_at + self.heartbeat_interval * (0.35 + 0.1 * self._jitter())
