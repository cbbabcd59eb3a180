"""Heartbeats of one connection, both ways (contract C10)."""

from __future__ import annotations

from math import inf
from typing import Final

_LOOK_AGAIN: Final = 0.5
"""Seconds after which a client is looked at again whose silence did not count."""


class Heartbeats:
    """When one is to be sent, and when the client has been silent for too long. Without an interval, never."""

    __slots__ = ("_interval", "_look_again_at", "allowed_silence")

    def __init__(self, interval: float, timeout_factor: float) -> None:
        """`interval` are seconds, 0 for no heartbeats; silence is allowed for `timeout_factor` intervals."""
        self._interval = interval
        self._look_again_at = 0.0
        self.allowed_silence = interval * max(timeout_factor, 1.0)

    def next_deadline(self, last_sent: float, last_received: float) -> float:
        """Return when a heartbeat is to be sent, or the client's silence to be judged."""
        if not self._interval:
            return inf
        return min(last_sent + self._interval / 2, max(last_received + self.allowed_silence, self._look_again_at))

    def is_due(self, now: float, last_sent: float) -> bool:
        """Is a heartbeat to be sent?"""
        return self._interval > 0 and now - last_sent >= self._interval / 2

    def is_overdue(self, now: float, last_received: float) -> bool:
        """Has the client been silent for too long?"""
        return self._interval > 0 and now - last_received > self.allowed_silence

    def put_off(self, now: float) -> None:
        """The silence does not count, for the node itself was late: judge it a little later."""
        self._look_again_at = now + _LOOK_AGAIN
