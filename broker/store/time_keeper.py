"""Measures the store's time, by which all nodes of a store count (ADR 46)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import structlog

from broker.clock import StoreClock
from broker.errors import StoreUnavailable
from broker.machine.faults import MachineFaults
from broker.message import published_ms

_log = structlog.get_logger(__name__)

_INTERVAL: Final = 30.0
"""Seconds between two measurements: good clocks drift apart by a millisecond meanwhile."""
_FIRST: Final = 3
"""Measurements at the start, of which the quickest counts: the first opens a connection."""
_TOLD: Final = 1.0
"""Seconds that the clock must be wrong for a line in the log."""

_LONGEST_WAIT: Final = 2.0
"""Seconds that a node waits before it gives out ids: those of a second may have been used before it starts."""


class TimedStore(Protocol):
    """A store that tells its time."""

    async def time_ms(self) -> int: ...


class TimeKeeper:
    """Sets `clock` by the time of `store`."""

    def __init__(
        self, store: TimedStore, clock: StoreClock, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self._store = store
        self._clock = clock
        self._sleep = sleep
        self._is_wrong = False

    async def begin(self) -> None:
        """Set the clock. Raises `StoreUnavailable`."""
        answers = [await self._ask() for _ in range(_FIRST)]
        off = self._clock.observe(*min(answers, key=lambda answer: answer[2] - answer[1]))
        if abs(off) >= _TOLD:
            _log.info("the store's clock and this machine's differ", seconds=round(off, 3))

    async def wait_until_past(self, message_id: int) -> None:
        """Return when messages that come now have a greater id, and not because ids run ahead of the clock.

        Times to live are counted from the time in the id. A clock that is far behind was set back: nobody waits for it.
        """
        ahead = (published_ms(message_id) + 1 - self._clock.wall_ms()) / 1000
        if ahead > _LONGEST_WAIT:
            _log.warning("message ids are ahead of the clock: messages live longer until it has passed", seconds=ahead)
        elif ahead > 0.0:
            await self._sleep(ahead)

    async def run(self) -> None:
        """Measure again and again until cancelled; while the store is away the clock goes on by itself."""
        faults = MachineFaults("the measuring of the store's time")
        while True:
            await self._sleep(_INTERVAL)
            with faults:
                try:
                    self._tell(self._clock.observe(*await self._ask()))
                except StoreUnavailable:
                    continue

    async def _ask(self) -> tuple[int, float, float]:
        sent_at = self._clock.monotonic()
        store_ms = await self._store.time_ms()
        return store_ms, sent_at, self._clock.monotonic()

    def _tell(self, off: float) -> None:
        """Say once that the store's clock has jumped, until it goes well again."""
        is_wrong = abs(off) >= _TOLD
        if is_wrong and not self._is_wrong:
            _log.warning(
                "the store's clock has jumped: this node follows by a hundredth of the time that passes,"
                " or with its next start",
                seconds=round(off, 3),
            )
        self._is_wrong = is_wrong
