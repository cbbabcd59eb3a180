"""When a node's batches were committed, for the one who must tell which of them are lost."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Final

_APART: Final = 0.1
"""Seconds between two batches whose times are kept."""
_KEPT: Final = 36_000


class CommitTimes:
    """The times of some batches of one incarnation, a tenth of a second apart, of the last hour at least."""

    def __init__(self, wall: Callable[[], float] = time.time) -> None:
        self._wall = wall
        self.began = wall()
        self._noted: deque[tuple[int, float]] = deque(maxlen=_KEPT)
        self._note_again = float("-inf")
        self._last = self.began

    def note(self, number: int) -> None:
        """The batch `number` is committed now."""
        now = self._last = self._wall()
        if now >= self._note_again:
            self._note_again = now + _APART
            self._noted.append((number, now))

    def span_after(self, number: int) -> tuple[float, float]:
        """Return from when to when batches after `number` were committed, in seconds since 1970; it may begin a tenth
        of a second early.
        """
        first = self.began
        for noted, at in reversed(self._noted):
            if noted <= number:
                first = at
                break
        return first, self._last
