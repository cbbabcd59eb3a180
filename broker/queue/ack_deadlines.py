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
