"""Time, as the rest of the broker sees it.

Only the edges hold a `Clock`; pure code gets times as numbers.
"""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Where an edge asks for the time."""

    def monotonic(self) -> float:
        """Seconds that never step back."""
        ...

    def wall_ms(self) -> int:
        """Milliseconds since 1970 UTC; may step in either direction."""
        ...


class SystemClock:
    """The machine's clock."""

    def monotonic(self) -> float:
        return time.monotonic()

    def wall_ms(self) -> int:
        return time.time_ns() // 1_000_000
