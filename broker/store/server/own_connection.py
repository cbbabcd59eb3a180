"""Connections outside the pool, for short calls that must not wait: beats and the coordinator's lease.

Publishers can keep the pool, the writing connection and the disk busy; a node must renew its row and its lease all the
same (ADR 16). On a network that loses packets an answer may be late: the connection is kept for the next call, because
a new one needs more round trips than a call has time for (ADR 40).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, TypeVar

from sqlalchemy import Connection

from broker.errors import StoreUnavailable
from broker.store.server.engine import Driver, Engine, Failure, PoolLimits

T = TypeVar("T")

_CONNECTIONS: Final = 2
_LATE_TIMEOUT: Final = 4.5
"""Deadlines for which a connection with a late answer is kept: as long as a beat gives trust."""


class OwnConnection:
    """A connection that is made when it is first needed, and a second one while an answer on the first is late.

    `deadline` bounds what a caller waits: for a connection, for the answer, and for a second try after a conflict.
    """

    def __init__(self, driver: Driver, deadline: float) -> None:
        self._deadline = deadline
        self._late_timeout = _LATE_TIMEOUT * deadline
        limits = PoolLimits(
            max_active=_CONNECTIONS,
            max_wait=deadline,
            # With several servers one that is silent leaves time for the next.
            connect_timeout=self._late_timeout / len(driver.servers.in_order()),
            socket_timeout=deadline,
            ping_after=None,
        )
        self._driver = driver
        self._engine = Engine(driver, limits, is_autocommitting=True)
        # The store has been opened before this is used, so a refusal of the database can be passing.
        self._engine.is_proven = True

    async def open(self) -> None:
        """Begin to accept work."""
        await self._engine.open()

    async def close(self) -> None:
        """Finish the calls under way, within the deadline, and close the connections."""
        await self._engine.close()

    async def run(self, function: Callable[[Connection], T], *, repeatable: bool, is_single: bool = False) -> T:
        """Return what `function` returns, called in a transaction of its own; raise `StoreUnavailable` after the
        deadline.

        A `repeatable` one is called again when the connection turns out to be dead. One that `is_single` executes one
        statement; when its answer is late, or its caller is cancelled, the connection is kept, and the statement may be
        done. Any other one is cut off: its transaction would hold locks.
        """
        call = _Call(self._engine, function, self._late_timeout, is_single=is_single)
        again = Failure.LOST if repeatable else None
        try:
            async with asyncio.timeout(self._deadline):
                return await self._engine.own(self._engine.retrying(call.once, again=again))
        except TimeoutError as error:
            raise StoreUnavailable(f"{self._driver.where} has not answered for {self._deadline:g} s") from error
        finally:
            call.leave()


class _Call:
    """One call, which goes on when nobody waits for it any more."""

    def __init__(
        self, engine: Engine, function: Callable[[Connection], Any], late_timeout: float, *, is_single: bool
    ) -> None:
        self._engine = engine
        self._function = function
        self._late_timeout = late_timeout
        self._is_single = is_single
        self._is_left = False
        self._lent: Any = None

    def leave(self) -> None:
        """Nobody waits any more."""
        self._is_left = True
        if self._lent is not None and not self._is_single:
            self._engine.driver.abort(self._lent)

    def _is_over(self) -> bool:
        return self._is_left

    async def once(self) -> Any:
        if self._is_over():
            raise StoreUnavailable("nobody waits for it any more")
        async with self._engine.connection(self._late_timeout) as connection:
            if self._is_over():
                return None  # the connection came too late for this call, and is there for the next one
            self._lent = (await connection.get_raw_connection()).driver_connection
            try:
                if not self._is_single:
                    await connection.execution_options(isolation_level="READ COMMITTED")
                async with self._engine.committing(connection, is_single=self._is_single):
                    return await connection.run_sync(self._function)
            finally:
                self._lent = None
