"""Connections to a database server: made, pooled, bounded in time, and every driver's error given its class.

Knows SQLAlchemy's pool and what to do about each class of failure (reliability.md §3.6); how a connection is made, and
which class an error belongs to, a `Driver` knows. The only place below the journal that tries anything twice.
"""

from __future__ import annotations

import asyncio
import logging
import random
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final, Protocol, TypeVar
from weakref import WeakSet

import structlog
from sqlalchemy import Connection, event
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from broker.backoff import Backoff
from broker.errors import BrokerError, ConfigError, StoreError, StoreFull, StoreUnavailable

_log = structlog.get_logger(__name__)
# The pool writes a traceback for each connection that it cannot close in order; what matters is raised.
logging.getLogger("sqlalchemy.pool").addHandler(logging.NullHandler())

T = TypeVar("T")

_TRIES: Final = 10
_AFTER_CONFLICT: Final = Backoff(0.005, 1.0)
_CLOSE_TIMEOUT: Final = 1.0
"""Seconds in which the server must have taken leave of the connections that nobody uses."""

_KEEP_ALIVE: Final = (
    (socket.SOL_SOCKET, "SO_KEEPALIVE", 1),
    (socket.IPPROTO_TCP, "TCP_KEEPIDLE", 10),
    (socket.IPPROTO_TCP, "TCP_KEEPINTVL", 5),
    (socket.IPPROTO_TCP, "TCP_KEEPCNT", 3),
    (socket.IPPROTO_TCP, "TCP_USER_TIMEOUT", 25_000),
)


class Failure(Enum):
    """What kind of thing went wrong, and with it what to do (reliability.md §3.6)."""

    CONFLICT = auto()  # deadlock, lock wait: roll back and try the whole transaction again now
    LOST = auto()  # the connection is gone, or was never made: later, with another one
    FULL = auto()  # no room for rows
    BUSY = auto()  # out of connections or memory, or not taking writes: later
    REFUSED = auto()  # credentials, names, rights: only a human can mend that
    BUG = auto()  # the statement is wrong: it never will succeed


class Driver(Protocol):
    """What differs between database servers besides their statements."""

    engine: str
    """SQLAlchemy's URL for dialect and driver."""
    where: str
    """Server and database for log lines, without anything secret."""

    async def connect(self) -> Any:
        """Return a connection of the driver with its session set up. Raises what the driver raises."""
        ...

    def abort(self, raw: Any) -> None:
        """Close the socket at once; whoever waits for an answer gets an error."""
        ...

    def failure(self, error: BaseException) -> Failure:
        """Return the class of an error of the driver."""
        ...


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """Bounds of the pool: connections, seconds to wait for one, and for the answer to a login or a statement.

    A connection that was idle for `ping_after` seconds is asked before it is lent; None for never.
    """

    max_active: int = 50
    max_wait: float = 60.0
    connect_timeout: float = 5.0
    socket_timeout: float = 10.0
    ping_after: float | None = 30.0


class Engine:
    """The pool of one store, and the home of the tasks that use it: a caller that is cancelled cancels no commit."""

    def __init__(
        self,
        driver: Driver,
        limits: PoolLimits,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.driver = driver
        self.limits = limits
        self._sleep = sleep
        self._chance = chance
        self._tasks: asyncio.TaskGroup | None = None
        self.is_proven = False
        """Has the database accepted this broker? Then what it refuses later, somebody is changing: time may mend it."""
        self._connections: WeakSet[Any] = WeakSet()
        # SQLAlchemy keeps five of the connections; the others are closed when they are given back.
        kept = min(limits.max_active, 5)
        self._pool = create_async_engine(
            driver.engine,
            async_creator=self._connect_in_time,
            pool_size=kept,
            max_overflow=limits.max_active - kept,
            pool_timeout=limits.max_wait,
            pool_recycle=1800,
            pool_reset_on_return=None,  # whoever borrows one ends the transaction, or it is closed: no round trip more
        )
        if limits.ping_after is not None:
            event.listen(self._pool.sync_engine, "checkin", self._on_given_back)
            event.listen(self._pool.sync_engine, "checkout", self._on_borrowed)

    async def open(self) -> None:
        """Begin to accept work."""
        self._tasks = asyncio.TaskGroup()
        await self._tasks.__aenter__()

    async def close(self) -> None:
        """Finish the work that was begun, as far as one statement's time allows, and close every connection."""
        if self._tasks is not None:
            tasks, self._tasks = self._tasks, None
            timer = asyncio.get_running_loop().call_later(self.limits.socket_timeout, self._abort_all)
            await tasks.__aexit__(None, None, None)
            timer.cancel()
        with suppress(Exception):
            async with asyncio.timeout(_CLOSE_TIMEOUT):
                await self._pool.dispose()
        self._abort_all()

    async def own(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what `work` returns, which goes on when the caller is cancelled."""
        if self._tasks is None:
            work.close()
            raise StoreError(f"the store {self.driver.where} is not open")
        result: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._tasks.create_task(_report(work, result))
        return await result

    async def run(self, function: Callable[[Connection], T], *, deadline: float | None = None) -> T:
        """Run `function` in a transaction of its own, again after a conflict and after a stale connection.

        It must do the same when it is done twice: a commit whose answer was lost is not told from one that failed.
        """

        async def once() -> T:
            async with self.connection(deadline) as connection, connection.begin():
                return await connection.run_sync(function)

        return await self.own(self.retrying(once, again=Failure.LOST))

    @asynccontextmanager
    async def connection(self, deadline: float | None = None) -> AsyncIterator[AsyncConnection]:
        """Lend a connection of the pool; after an error it is closed instead of given back."""
        connection = await self._pool.connect().start()
        raw = (await connection.get_raw_connection()).driver_connection
        with self.deadline(raw, deadline):
            try:
                yield connection
            except BaseException:
                self.driver.abort(raw)
                with suppress(Exception):
                    await connection.invalidate()
                raise
            finally:
                await connection.close()

    @asynccontextmanager
    async def raw(self, deadline: float | None = None) -> AsyncIterator[Any]:
        """Lend a connection of the pool as the driver has it."""
        async with self.connection(deadline) as connection:
            yield (await connection.get_raw_connection()).driver_connection

    def _on_given_back(self, _: Any, record: Any) -> None:
        record.info["idle_since"] = asyncio.get_running_loop().time()

    def _on_borrowed(self, adapted: Any, record: Any, _: Any) -> None:
        loop = asyncio.get_running_loop()
        assert self.limits.ping_after is not None
        if loop.time() - record.info.get("idle_since", loop.time()) < self.limits.ping_after:
            return
        timer = loop.call_later(self.limits.socket_timeout, self.driver.abort, adapted.driver_connection)
        try:
            self._pool.dialect.do_ping(adapted)
        except Exception as error:
            raise DisconnectionError(str(error)) from error  # the pool lends another one
        finally:
            timer.cancel()

    async def connect(self) -> Any:
        """Return a connection of its own for somebody who keeps it. Raises a `StoreError` or `ConfigError`."""
        with self.translated():
            return await self._connect_in_time()

    async def _connect_in_time(self, *_: Any, **__: Any) -> Any:
        async with asyncio.timeout(self.limits.connect_timeout):
            raw = await self.driver.connect()
        self._connections.add(raw)
        return raw

    def _abort_all(self) -> None:
        for raw in list(self._connections):
            self.driver.abort(raw)

    @contextmanager
    def deadline(self, raw: Any, seconds: float | None = None) -> Iterator[None]:
        """Close the connection `raw` when the block takes longer: nothing is cancelled, so no commit is either."""
        allowed = self.limits.socket_timeout if seconds is None else seconds
        expired = False

        def expire() -> None:
            nonlocal expired
            expired = True
            self.driver.abort(raw)

        timer = asyncio.get_running_loop().call_later(allowed, expire)
        try:
            yield
        except BaseException as error:
            if expired and isinstance(error, Exception):
                raise StoreUnavailable(f"{self.driver.where} has not answered for {allowed:g} s") from error
            raise
        finally:
            timer.cancel()

    async def retrying(self, once: Callable[[], Awaitable[T]], *, again: Failure | None = None) -> T:
        """Do `once` until it succeeds or fails for a reason that trying at once does not mend.

        Conflicts are tried ten times within five seconds, a failure of class `again` one more time.
        """
        backoff = _AFTER_CONFLICT
        for _ in range(_TRIES - 1):
            try:
                return await once()
            except Exception as error:
                failure = self._failure(error)
                if failure is not None and failure is again:
                    again = None
                elif failure is Failure.CONFLICT:
                    _log.info("conflict in the store, trying again", reason=_line(error))
                    await self._sleep(backoff.jittered(self._chance(), most=1.5))
                    backoff = backoff.longer()
                else:
                    raise self.translate(error) from error
        with self.translated():
            return await once()

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Above this nobody knows a driver's exceptions."""
        try:
            yield
        except Exception as error:
            raise self.translate(error) from error

    def translate(self, error: Exception) -> Exception:
        """Return what the store's callers are told of `error`."""
        failure = self._failure(error)
        text = f"{self.driver.where}: {_line(error)}"
        if failure is None:
            return StoreUnavailable(str(error)) if self.is_proven and isinstance(error, ConfigError) else error
        if failure is Failure.REFUSED and not self.is_proven:
            return ConfigError(f"the database refuses this broker, correct the datasource or the database: {text}")
        if failure is Failure.FULL:
            return StoreFull(text)
        return StoreError(text) if failure is Failure.BUG else StoreUnavailable(text)

    def _failure(self, error: Exception) -> Failure | None:
        """Return the class of `error`, None when it is one of ours already."""
        if isinstance(error, BrokerError):
            return None
        if isinstance(error, PoolTimeout):
            return Failure.BUSY
        return self.driver.failure(_cause(error))


def keep_alive(transport: asyncio.BaseTransport) -> None:
    """Let the system close a connection whose server has vanished for 25 s, however long its statement may take."""
    raw = transport.get_extra_info("socket")
    if raw is not None and raw.family in (socket.AF_INET, socket.AF_INET6):
        for level, name, value in _KEEP_ALIVE:
            if hasattr(socket, name):
                raw.setsockopt(level, getattr(socket, name), value)


async def _report(work: Coroutine[Any, Any, T], result: asyncio.Future[T]) -> None:
    """Hand over what came of `work`; an error nobody waits for is not lost on the way."""
    try:
        value = await work
    except BaseException as error:
        if result.cancelled():
            # An outage is told of by those who still wait; anything else is told of nowhere but here.
            log = _log.debug if isinstance(error, StoreUnavailable) else _log.warning
            log("work on the store failed after its caller had gone", reason=_line(error))
        else:
            result.set_exception(error)
    else:
        if not result.cancelled():
            result.set_result(value)


def _cause(error: BaseException) -> BaseException:
    """Return the driver's own error below SQLAlchemy's wrapping."""
    if isinstance(error, DBAPIError) and error.orig is not None:
        # For asyncpg SQLAlchemy puts a layer of its own in between.
        return error.orig.__cause__ or error.orig
    return error


def _line(error: BaseException) -> str:
    cause = _cause(error)
    if isinstance(cause.__cause__, OSError):  # the driver's own text only says that it cannot connect
        cause = cause.__cause__
    if isinstance(cause, TimeoutError) and not str(cause):
        return "no answer in time"
    if len(cause.args) == 2 and isinstance(cause.args[0], int):
        return " ".join(f"{cause.args[1]} ({cause.args[0]})".split())
    return " ".join(str(cause).split()) or type(cause).__name__
