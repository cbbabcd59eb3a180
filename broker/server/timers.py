"""Deadlines at the edge: one heap and one timer of the loop for all that waits for a time to come.

An object says when its next deadline is, and is called when it has come. A deadline that moves later costs nothing: the
object is called at the old time, and asked again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from itertools import count
from math import inf
from typing import Any, Final, Protocol

from broker.machine.faults import MachineFaults

_RESOLUTION: Final = 0.01
"""Seconds between two looks at the heap, at least: deadlines that lie closer together are served together."""
_LATE: Final = 1.0
"""Seconds after a deadline from which on the loop itself was held up."""
_GARBAGE: Final = 64
"""The heap is rebuilt when it holds this many more stale entries than live ones."""


class Timed(Protocol):
    """Something with a deadline. It is hashable, and equal to itself only."""

    def next_deadline(self) -> float | None:
        """Return when `on_time` is to be called, in monotonic seconds; None for never."""
        ...

    def on_time(self, now: float) -> None:
        """Do what is due at `now`. The next deadline is asked for afterwards."""
        ...


class Timers:
    """Calls objects at their deadlines."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._heap: list[list[Any]] = []  # [time, sequence, object]; the object is None when the entry is garbage
        self._entries: dict[Timed, list[Any]] = {}
        self._sequence = count()
        self._garbage = 0
        self._wake = asyncio.Event()
        self._faults = MachineFaults("what was due at a time")
        self.is_late = False
        """Was the loop held up before the deadlines that are being served? What clients sent may not be read yet."""

    def watch(self, timed: Timed) -> None:
        """Call `timed` at its next deadline: it is new, or the deadline has come nearer."""
        deadline = timed.next_deadline()
        if deadline is None:
            return
        entry = self._entries.get(timed)
        if entry is not None:
            if entry[0] <= deadline:
                return
            self._discard(entry)
        self._push(timed, max(deadline, self._monotonic()))
        if self._heap[0][2] is timed:
            self._wake.set()

    def forget(self, timed: Timed) -> None:
        """Call `timed` no more."""
        entry = self._entries.pop(timed, None)
        if entry is not None:
            self._discard(entry)

    def __len__(self) -> int:
        """How many objects have a deadline."""
        return len(self._entries)

    @property
    def size(self) -> int:
        """Entries of the heap, garbage among them."""
        return len(self._heap)

    def run_due(self, now: float) -> None:
        """Call everything whose deadline has come."""
        heap = self._heap
        self._prune()
        self.is_late = bool(heap) and now - heap[0][0] > _LATE
        while heap and heap[0][0] <= now:
            entry = heappop(heap)
            timed = entry[2]
            if timed is None:
                self._garbage -= 1
                continue
            with self._faults:
                timed.on_time(now)
            if entry[2] is None:  # forgotten meanwhile
                self._garbage -= 1
                continue
            deadline = timed.next_deadline()
            if deadline is None:
                del self._entries[timed]
            else:
                self._push(timed, max(deadline, now + _RESOLUTION))

    async def run(self) -> None:
        """Serve deadlines until cancelled."""
        not_before = 0.0
        while True:
            self._wake.clear()
            self._prune()
            delay = max(self._heap[0][0], not_before) - self._monotonic() if self._heap else inf
            if delay > 0 and await self._is_woken(delay):
                continue
            now = self._monotonic()
            not_before = now + _RESOLUTION
            self.run_due(now)

    async def _is_woken(self, seconds: float) -> bool:
        """Wait so long; return whether a nearer deadline has ended that."""
        try:
            async with asyncio.timeout(seconds if seconds < inf else None):
                await self._wake.wait()
        except TimeoutError:
            return False
        return True

    def _push(self, timed: Timed, deadline: float) -> None:
        entry = self._entries[timed] = [deadline, next(self._sequence), timed]
        heappush(self._heap, entry)

    def _discard(self, entry: list[Any]) -> None:
        """Make garbage of an entry, and throw garbage away when there is too much of it."""
        entry[2] = None
        self._garbage += 1
        if self._garbage > len(self._entries) + _GARBAGE:
            self._heap[:] = [kept for kept in self._heap if kept[2] is not None]
            heapify(self._heap)
            self._garbage = 0

    def _prune(self) -> None:
        """Throw the garbage on top of the heap away."""
        heap = self._heap
        while heap and heap[0][2] is None:
            heappop(heap)
            self._garbage -= 1
