"""An event loop whose time passes only when everybody waits, and then at once: what takes hours takes no time.

Knows no sockets and no threads. A wait that nothing can end is an error, not a hang.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence


class VirtualLoop(asyncio.BaseEventLoop):
    """Runs callbacks and timers in the order of their times."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 1000.0
        self._selector = self

    def time(self) -> float:
        return self._now

    def monotonic(self) -> float:
        """The loop is a `Clock` too."""
        return self._now

    def wall_ms(self) -> int:
        return 1_800_000_000_000 + round(self._now * 1000)

    def select(self, timeout: float | None) -> Sequence[object]:
        """Called between two rounds of callbacks; `timeout` is how long nothing is to be done."""
        if timeout is None:
            raise RuntimeError("everybody waits, and nothing will ever happen")
        self._now += timeout
        return ()

    def _process_events(self, events: Sequence[object]) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        """Nobody is to be woken: there are no other threads."""


class VirtualTimePolicy(asyncio.DefaultEventLoopPolicy):
    """For the fixture `event_loop_policy` of tests that wait."""

    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        return VirtualLoop()
