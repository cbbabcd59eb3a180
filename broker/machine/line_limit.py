"""How many lines of one kind the log gets: what others cause without end must not fill it.

Pure: reads no clock.
"""

from __future__ import annotations

from typing import Final

MOST_LINES: Final = 10
"""In `SECONDS`."""
SECONDS: Final = 10.0


class LineLimit:
    """Lets so many lines through in a time, and counts the others."""

    def __init__(self) -> None:
        self._since = 0.0
        self._lines = 0
        self._left_out = 0

    def take(self, now: float) -> int | None:
        """Return how many lines were left out since the last one that was let through; None to leave this one out."""
        if now >= self._since + SECONDS:
            self._since, self._lines = now, 0
        if self._lines >= MOST_LINES:
            self._left_out += 1
            return None
        self._lines += 1
        left_out, self._left_out = self._left_out, 0
        return left_out
