"""When a peer that does not answer is left alone for a while (reliability.md §3.9).

Decides from the results it is told and from `now`. Knows neither peer nor call.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

FAILURES_TO_OPEN: Final = 3


@dataclass(slots=True)
class CircuitBreaker:
    """Open after three failures in a row, for `reconnect_timeout` seconds; then one call may try."""

    reconnect_timeout: float
    _failures: int = 0
    _open_until: float = 0.0

    def is_open(self, now: float) -> bool:
        """Must this call fail at once? When not, and others would have to, this one is the trial."""
        if self._failures < FAILURES_TO_OPEN:
            return False
        if now < self._open_until:
            return True
        self._open_until = now + self.reconnect_timeout
        return False

    def on_answer(self) -> None:
        """The peer lives."""
        self._failures = 0

    def on_failure(self, now: float) -> None:
        """No answer, or no connection."""
        self._failures += 1
        if self._failures >= FAILURES_TO_OPEN:
            self._open_until = now + self.reconnect_timeout
