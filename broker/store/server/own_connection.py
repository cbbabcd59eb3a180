"""One connection for short and urgent work: it waits for no pool, and nobody waits for it for long (design §5).

Knows deadlines; knows neither statements nor drivers. Publishers may have the pool and the writing connection to
themselves, and the disk busy: the coordinator still renews its lease.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any, TypeVar

from sqlalchemy import Connection

from broker.errors import StoreUnavailable
from broker.store.server.engine import Driver, Engine, Failure, PoolLimits

T = TypeVar("T")


class OwnConnection:
    """A connection that is made when it is needed, and again after any failure.

    `deadline` bounds each call as a whole, from the question to the answer: waiting for the call before it, connecting,
    trying again after a conflict.
    """

    def __init__(self, driver: Driver, deadline: float) -> None:
        self._deadline = deadline
        limits = PoolLimits(
            max_active=1, max_wait=deadline, connect_timeout=deadline, socket_timeout=deadline, ping_after=None
        )
        self._driver = driver
        self._engine = Engine(driver, limits)
        # Whoever uses this has opened the store before: what the database refuses now, time may mend.
        self._engine.is_proven = True

    async def open(self) -> None:
        """Begin to accept work."""
        await self._engine.open()

    async def close(self) -> None:
        """Finish what was begun, within the deadline, and close the connection."""
        await self._engine.close()

    async def run(self, function: Callable[[Connection], T], *, repeatable: bool) -> T:
        """Call `function` in a transaction of its own; when its caller has gone, the connection is dropped."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._deadline
        lent: Any = None

        async def once() -> T:
            nonlocal lent
            if loop.time() >= until:
                raise StoreUnavailable(f"{self._driver.where} has not answered for {self._deadline:g} s")
            async with AsyncExitStack() as stack:
                async with asyncio.timeout_at(until):
                    connection = await stack.enter_async_context(self._engine.connection())
                lent = (await connection.get_raw_connection()).driver_connection
                stack.callback(forget)
                stack.enter_context(self._engine.deadline(lent, round(until - loop.time(), 2)))
                await stack.enter_async_context(connection.begin())
                return await connection.run_sync(function)

        def forget() -> None:
            nonlocal lent
            lent = None

        try:
            again = Failure.LOST if repeatable else None
            return await self._engine.own(self._engine.retrying(once, again=again))
        except asyncio.CancelledError:
            until = loop.time()
            if lent is not None:
                self._driver.abort(lent)
            raise
