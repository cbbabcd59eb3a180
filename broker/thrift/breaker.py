"""The circuit breaker: a peer that does not answer is not called for a while."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

FAILURES_TO_OPEN: Final = 3


@dataclass(slots=True)
class CircuitBreaker:
    """Opens after three failures in a row, for `reconnect_timeout` seconds; then one call may try the peer again."""

    reconnect_timeout: float
    _failures: int = 0
    _open_until: float = 0.0

    def is_open(self, now: float) -> bool:
        """Return whether this call must fail at once.

        After `reconnect_timeout` seconds one call gets False and tries the peer; the calls beside it still get True.
        """
        if self._failures < FAILURES_TO_OPEN:
            return False
        if now < self._open_until:
            return True
        self._open_until = now + self.reconnect_timeout
        return False

    def on_answer(self) -> None:
        """The peer has answered: close the breaker."""
        self._failures = 0

    def on_failure(self, now: float) -> None:
        """The peer has not answered, or there was no connection to it."""
        self._failures += 1
        if self._failures >= FAILURES_TO_OPEN:
            self._open_until = now + self.reconnect_timeout
