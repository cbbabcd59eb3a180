"""Until when the deliveries of a queue are to be answered (contract B30). Reads no clock: callers pass the time."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any, Final, Protocol

_SPANS: Final = 32
"""Deliveries of one channel in the same 32nd part of the timeout have one deadline."""
_FEW: Final = 64


class Holder(Protocol):
    """A channel, which holds deliveries by their tags."""

    @property
    def holds_any(self) -> bool:
        """Is any of its deliveries outstanding?"""
        ...

    def take_back(self, queue: Any, first: int, last: int) -> int:
        """Give back the deliveries of `queue` with the tags `first` to `last`, as far as they are outstanding; return
        how many these are.
        """
        ...


@dataclass(slots=True)
class Span:
    """Deliveries with the tags `first` to `last`, of which one may be the latest until `end`, in milliseconds."""

    holder: Holder
    first: int
    last: int
    end: int


class AckDeadlines:
    """The deadlines of one queue: 32 for each channel that was sent something, however many deliveries there are."""

    __slots__ = ("_newest", "_room", "_spans", "_step", "_timeout")

    def __init__(self, timeout_ms: int) -> None:
        self.set_timeout(timeout_ms)
        self._spans: deque[Span] = deque()
        self._newest: dict[Holder, Span] = {}
        self._room = _FEW

    def set_timeout(self, timeout_ms: int) -> None:
        """Deliveries have this time from now on, outstanding ones from when they were delivered."""
        self._timeout = timeout_ms
        self._step = max(timeout_ms // _SPANS, 1)

    def __len__(self) -> int:
        return len(self._spans)

    def note(self, holder: Holder, first: int, last: int, now_ms: int) -> bool:
        """`holder` has got the deliveries `first` to `last`; return whether there was no deadline before."""
        span = self._newest.get(holder)
        if span is not None and now_ms < span.end:
            span.last = last
            return False
        if len(self._spans) >= self._room:
            self._forget_answered()
        self._newest[holder] = span = Span(holder, first, last, now_ms + self._step)
        self._spans.append(span)
        return len(self._spans) == 1

    def next_due(self) -> int | None:
        """Return the next deadline, in milliseconds; it may be that of deliveries that are answered by now."""
        return self._spans[0].end + self._timeout if self._spans else None

    def take_due(self, now_ms: int) -> list[Span]:
        """Remove and return the deliveries whose deadline has come, answered ones among them."""
        due = []
        while self._spans and self._spans[0].end + self._timeout <= now_ms:
            span = self._spans.popleft()
            if self._newest.get(span.holder) is span:
                del self._newest[span.holder]
            due.append(span)
        return due

    def _forget_answered(self) -> None:
        """Drop the deadlines of channels that hold nothing."""
        self._spans = deque(span for span in self._spans if span.holder.holds_any)
        self._newest = {span.holder: span for span in self._spans}
        self._room = max(2 * len(self._spans), _FEW)


class AckTimeouts:
    """The deadlines of one queue, by its own timeout and by those that consumers have asked for."""

    __slots__ = ("_of_consumers", "_of_queue")

    def __init__(self) -> None:
        self._of_queue: AckDeadlines | None = None
        self._of_consumers: dict[int, AckDeadlines] = {}

    def set_timeout(self, timeout_ms: int | None) -> None:
        """This is the queue's own timeout from now on, for outstanding deliveries too."""
        if timeout_ms is None:
            self._of_queue = None
        elif self._of_queue is None:
            self._of_queue = AckDeadlines(timeout_ms)
        else:
            self._of_queue.set_timeout(timeout_ms)

    def note(self, holder: Holder, first: int, last: int, now_ms: int, timeout_ms: int = 0) -> bool:
        """`holder` has got the deliveries `first` to `last`, with this timeout or the queue's own; return whether a
        deadline may have come nearer.
        """
        deadlines = self._of_queue
        if timeout_ms:
            deadlines = self._of_consumers.get(timeout_ms)
            if deadlines is None:
                deadlines = self._of_consumers[timeout_ms] = AckDeadlines(timeout_ms)
        return deadlines is not None and deadlines.note(holder, first, last, now_ms)

    def next_due(self) -> int | None:
        """Return the next deadline, in milliseconds."""
        return min(filter(None, (deadlines.next_due() for deadlines in self._all())), default=None)

    def take_due(self, now_ms: int) -> list[Span]:
        """Remove and return the deliveries whose deadline has come, answered ones among them."""
        due = [span for deadlines in self._all() for span in deadlines.take_due(now_ms)]
        self._of_consumers = {timeout: each for timeout, each in self._of_consumers.items() if len(each)}
        return due

    def _all(self) -> list[AckDeadlines]:
        own = () if self._of_queue is None else (self._of_queue,)
        return [*own, *self._of_consumers.values()]
