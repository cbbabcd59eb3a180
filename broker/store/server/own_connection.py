"""A connection outside the pool, for short calls that must not wait: beats and the coordinator's lease.

Publishers can keep the pool, the writing connection and the disk busy; a node must renew its row and its lease all the
same (ADR 16).
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
    """A connection that is made when it is first needed, and made anew after any failure.

    `deadline` bounds each call as a whole: waiting for the call before it, connecting, and trying again after a
    conflict are all part of it.
    """

    def __init__(self, driver: Driver, deadline: float) -> None:
        self._deadline = deadline
        limits = PoolLimits(
            max_active=1, max_wait=deadline, connect_timeout=deadline, socket_timeout=deadline, ping_after=None
        )
        self._driver = driver
        self._engine = Engine(driver, limits)
        # The store has been opened before this is used, so a refusal of the database can be passing.
        self._engine.is_proven = True

    async def open(self) -> None:
        """Begin to accept work."""
        await self._engine.open()

    async def close(self) -> None:
        """Finish the calls under way, within the deadline, and close the connection."""
        await self._engine.close()

    async def run(self, function: Callable[[Connection], T], *, repeatable: bool) -> T:
        """Return what `function` returns, called in a transaction of its own.

        A `repeatable` one is called again when the connection turns out to be dead. When the caller is cancelled, the
        connection is closed.
        """
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
