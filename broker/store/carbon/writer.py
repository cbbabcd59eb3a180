"""What is to be written into one database of WSO2's: in order, beside the loop, and again while it is away."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

import structlog
from sqlalchemy import Connection

from broker.backoff import Backoff
from broker.errors import BrokerError, StoreUnavailable
from broker.store.carbon.connections import DEADLINE, Connections

_log = structlog.get_logger(__name__)

MOST_WAITING: Final = 10_000
"""Changes that wait for a database that is away. Further ones are dropped, and that is told."""
_RETRY: Final = Backoff(0.5, 10.0)


@dataclass(frozen=True, slots=True)
class Job:
    """Something to write. `on_done` is called with what it has returned, if it was written."""

    what: str
    function: Callable[[Connection], Any]
    on_done: Callable[[Any], object]
    done: asyncio.Future[None]


class CarbonWriter:
    """Writes one thing after the other."""

    def __init__(self, connections: Connections, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._connections = connections
        self._sleep = sleep
        self._waiting: deque[Job] = deque()
        self._wanted = asyncio.Event()
        self.is_away = False
        """Was the database away at the last try?"""

    @property
    def last(self) -> asyncio.Future[None] | None:
        """What ends when everything that waits now was written; None when nothing waits."""
        return self._waiting[-1].done if self._waiting else None

    def __len__(self) -> int:
        """How much waits."""
        return len(self._waiting)

    def put(
        self, what: str, function: Callable[[Connection], Any], on_done: Callable[[Any], object] = bool
    ) -> asyncio.Future[None]:
        """Have `function` run, which may happen twice; return what ends when it was, or was given up.

        `what` names it for the log.
        """
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if len(self._waiting) >= MOST_WAITING:
            _log.error("not written: too much waits for a database of WSO2's", what=what, where=self._connections.where)
            done.set_result(None)
            return done
        self._waiting.append(Job(what, function, on_done, done))
        self._wanted.set()
        return done

    async def run(self) -> None:
        """Write what comes, until cancelled."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            while self._waiting:
                await self._write(self._waiting[0])
                self._waiting.popleft()

    async def drain(self, seconds: float) -> None:
        """Return when nothing waits any more, or after so many seconds."""
        try:
            async with asyncio.timeout(seconds):
                while self._waiting:
                    await asyncio.wait([self._waiting[-1].done])
        except TimeoutError:
            return

    def tell_what_is_left(self) -> None:
        """Say what will never be written."""
        if self._waiting:
            changes = [job.what for job in self._waiting]
            _log.error("not written: the node stops", where=self._connections.where, changes=changes)

    async def _write(self, job: Job) -> None:
        backoff = _RETRY
        while True:
            try:
                async with asyncio.timeout(DEADLINE):
                    result = await self._connections.run(job.function)
            except (StoreUnavailable, TimeoutError) as error:
                self._tell_away(error)
                await self._sleep(backoff.delay)
                backoff = backoff.longer()
            except BrokerError as error:
                _log.error("not written into a database of WSO2's", what=job.what, reason=str(error))
                break
            else:
                self._tell_back()
                job.on_done(result)
                break
        if not job.done.done():
            job.done.set_result(None)

    def _tell_away(self, error: Exception) -> None:
        if not self.is_away:
            self.is_away = True
            _log.warning(
                "a database of WSO2's is away, what is to be written there waits",
                where=self._connections.where,
                reason=str(error) or "no answer in time",
            )

    def _tell_back(self) -> None:
        if self.is_away:
            self.is_away = False
            _log.info("a database of WSO2's is back", where=self._connections.where)
