"""Decides when a thread beats in place of the event loop, which cannot while something holds it (ADR 40).

A beat shows that the process lives and may go on as soon as the loop is free. It must not do so for a loop that never
is: the thread beats only while the loop's last sign of life is young. Pure: does no I/O and reads no clock;
`beat_thread` makes the beats.
"""

from __future__ import annotations

from math import inf
from typing import Final

from broker.coordination.membership.pending_request import trust_of

_LATE: Final = 1.25
"""Heartbeat intervals after a beat when the next one is late; the loop's own is due after one."""
_LEAST_HOLD: Final = 10.0
_MOST_HOLD: Final = 4
"""Heartbeat intervals, or `_LEAST_HOLD` seconds if that is longer, for which a loop may be held and counts as alive."""


class Deputy:
    """What thread and loop both know: the last beat, whoever made it, and the loop's last sign of life.

    Either side only sets numbers, which needs no lock.
    """

    __slots__ = ("_alive_at", "_beaten_at", "_is_over", "_late_after", "_most_hold", "_trust", "trusted_until")

    def __init__(self, heartbeat_interval: float) -> None:
        self.trusted_until = -inf
        """Until when this node is trusted for a beat of the thread."""
        self._late_after = _LATE * heartbeat_interval
        self._most_hold = max(_LEAST_HOLD, _MOST_HOLD * heartbeat_interval)
        self._trust = trust_of(heartbeat_interval)
        self._beaten_at = inf
        self._alive_at = -inf
        self._is_over = False

    def on_alive(self, now: float) -> None:
        """The loop runs."""
        self._alive_at = now

    def on_own_beat(self, asked_at: float) -> None:
        """The store has granted a beat of the loop."""
        self._beaten_at = asked_at

    def is_due(self, now: float) -> bool:
        """Must the thread beat now?"""
        is_late = now - self._beaten_at >= self._late_after
        return is_late and now - self._alive_at < self._most_hold and not self._is_over

    def on_granted(self, asked_at: float) -> None:
        """The store has granted a beat of the thread. As for any beat, trust counts from the question."""
        self._beaten_at = asked_at
        self.trusted_until = asked_at + self._trust

    def is_trusted(self, now: float) -> bool:
        """Is this node trusted for a beat of the thread?"""
        return now < self.trusted_until and not self._is_over

    def end(self) -> None:
        """The incarnation is over, or leaves: nothing is trusted any more."""
        self._is_over = True
