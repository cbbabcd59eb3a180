"""Waits of an agent, by the broker's clock."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from math import inf

from broker.clock import Clock


async def until(clock: Clock, deadline: float, event: asyncio.Event | None = None) -> None:
    """Return at the monotonic time `deadline`, perhaps a little early, or when `event` is set."""
    delay = None if deadline == inf else max(deadline - clock.monotonic(), 0.001)
    with suppress(TimeoutError):
        async with asyncio.timeout(delay):
            await (asyncio.Event() if event is None else event).wait()
