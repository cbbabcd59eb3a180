"""Time, as the rest of the broker sees it.

Only the edges hold a `Clock`; pure code gets times as numbers.
"""

from __future__ import annotations

import time
from math import inf
from typing import Final, Protocol


class Clock(Protocol):
    """Where an edge asks for the time."""

    def monotonic(self) -> float:
        """Seconds that never step back."""
        ...

    def wall_ms(self) -> int:
        """Milliseconds since 1970 UTC. That of the machine may step in either direction, a `StoreClock` never does."""
        ...


class SystemClock:
    """The machine's clock."""

    monotonic = staticmethod(time.monotonic)

    def wall_ms(self) -> int:
        return time.time_ns() // 1_000_000


_SLEW: Final = 0.01
"""By how much of the time that passes the clock may go faster or slower than that to come nearer to the store's."""
_MS: Final = 1000.0


class StoreClock:
    """The store's time, which is one for all nodes: the machine's monotonic time and a distance, measured now and then.

    It never steps and never goes back. When it is wrong it goes a hundredth faster or slower until it is right, so a
    wall clock that jumps, the store's or the machine's, moves nothing by more than that (ADR 46).
    """

    def __init__(self, machine: Clock) -> None:
        """Until the first observation it shows the machine's wall clock."""
        self.monotonic = machine.monotonic
        # At `_at` it showed `_ms`, and since then it goes at `_rate` milliseconds a second, until `_until`.
        self._at = machine.monotonic()
        self._ms = float(machine.wall_ms())
        self._rate = _MS
        self._until = inf
        self._is_set = False

    def wall_ms(self) -> int:
        now = self.monotonic()
        if now >= self._until:
            self._at, self._ms = self._until, self._ms + (self._until - self._at) * self._rate
            self._rate, self._until = _MS, inf
        return int(self._ms + (now - self._at) * self._rate)

    def observe(self, store_ms: int, sent_at: float, received_at: float) -> float:
        """Take over that the store answered with its time `store_ms` what was asked and answered at these monotonic
        times. Returns by how many seconds this clock was behind the store's, 0.0 if the answer does not tell.

        The store read its clock at some moment between the two: an answer that took long says little, and changes
        nothing as long as the time that this clock shows, or is on the way to, is possible.
        """
        self.wall_ms()
        now = self.monotonic()
        own = self._ms + (now - self._at) * self._rate
        earliest = store_ms + (now - received_at) * _MS
        latest = earliest + (received_at - sent_at) * _MS + 1.0  # the store's time has no fractions
        middle = (earliest + latest) / 2.0
        if not self._is_set:
            self._is_set = True
            self._at, self._ms = now, middle
            return (middle - own) / _MS
        heading_for = own if self._until == inf else own + (self._until - now) * (self._rate - _MS)
        if earliest <= heading_for <= latest:
            return 0.0
        off = 0.0 if earliest <= own <= latest else middle - own
        self._at, self._ms = now, own
        self._rate = _MS * (1.0 + _SLEW if off > 0.0 else 1.0 - _SLEW)
        self._until = now + abs(off) / (_MS * _SLEW)
        return off / _MS
