"""How late the event loop is: what its clients feel of everything that holds it up."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

_EVERY: Final = 0.25
"""Seconds between two looks."""
_KEPT: Final = 60
"""Looks whose latest is told: 15 seconds."""


class LoopLag:
    """Sleeps for a moment, again and again, and looks how much longer that was."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._late: deque[float] = deque(maxlen=_KEPT)

    @property
    def worst(self) -> float:
        """Seconds by which the loop was late at the most, in the last 15 seconds."""
        return max(self._late, default=0.0)

    async def run(self, sleep: Callable[[float], Awaitable[None]]) -> None:
        """Look until cancelled."""
        while True:
            due = self._monotonic() + _EVERY
            await sleep(_EVERY)
            self._late.append(max(self._monotonic() - due, 0.0))
