"""Connections to a database server: a pool, deadlines, and what to do about each class of failure (ADR 15).

A `Driver` makes the connections and sorts the errors into classes. Nothing else below the journal tries anything twice.
"""

from __future__ import annotations

import asyncio
import logging
import random
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
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
from broker.config.server_hosts import Address
from broker.errors import BrokerError, ConfigError, StoreError, StoreFull, StoreUnavailable
from broker.store.server.addresses import Servers
from broker.store.sql.fencing import HAS_LOCAL_LOCKS

_log = structlog.get_logger(__name__)
# The pool logs a traceback for each connection that it cannot close properly; errors that matter are raised.
logging.getLogger("sqlalchemy.pool").addHandler(logging.NullHandler())
logging.getLogger("sqlalchemy.pool").propagate = False

T = TypeVar("T")

_TRIES: Final = 10
_AFTER_CONFLICT: Final = Backoff(0.005, 1.0)
_LOOK_PAUSE: Final = 5.0
"""Seconds between two looks for hung sessions."""
_CLOSE_TIMEOUT: Final = 1.0
"""Seconds in which idle connections are closed properly; then their sockets are closed."""

_AUTOCOMMIT: Final[dict[str, Any]] = {"isolation_level": "AUTOCOMMIT", "skip_autocommit_rollback": True}

_KEEP_ALIVE: Final = (
    (socket.SOL_SOCKET, "SO_KEEPALIVE", 1),
    (socket.IPPROTO_TCP, "TCP_KEEPIDLE", 10),
    (socket.IPPROTO_TCP, "TCP_KEEPINTVL", 5),
    (socket.IPPROTO_TCP, "TCP_KEEPCNT", 3),
    (socket.IPPROTO_TCP, "TCP_USER_TIMEOUT", 25_000),
)


class Failure(Enum):
    """The class of an error, which says what to do about it."""

    CONFLICT = auto()  # a deadlock or a lock wait: roll back, and try the whole transaction again at once
    LOST = auto()  # the connection broke or could not be made: try later on another one
    FULL = auto()  # the database has no room for more rows
    BUSY = auto()  # the server has no connections or memory left, or is not ready: try later
    READ_ONLY = auto()  # the server takes no writes: another one may have become the primary, so connect anew
    REFUSED = auto()  # credentials, names or rights are wrong: an operator must correct them
    BUG = auto()  # the statement is wrong and will never succeed


class NotReplicated(Exception):
    """A commit is done, but the server did not wait until a standby has it: it is in doubt as one without an answer."""


class Driver(Protocol):
    """What differs between database servers besides their statements."""

    engine: str
    """SQLAlchemy's URL for dialect and driver."""
    where: str
    """Servers and database for log lines, without anything secret."""
    servers: Servers

    async def connect(self, address: Address) -> Any:
        """Return a connection of the driver to one server, with its session set up. Raises what the driver raises, or
        `StoreUnavailable` when the server does not take what the session is for, such as writes.
        """
        ...

    async def identity(self, raw: Any) -> int | None:
        """Return the number of the database that the server has (`sql.identity`), None where it has no tables."""
        ...

    def has_local_locks(self, raw: Any) -> bool:
        """Return whether another server that takes writes does not know of the locks of this connection."""
        ...

    sessions_may_hang: bool
    """Are there sessions that keep locks for ever, because the server waits for the rest of a request?"""

    async def end_hung_sessions(self, raw: Any) -> int:
        """End those of brokers; return how many there were. Only where `sessions_may_hang`."""
        ...

    def refuse_unreplicated(self, raw: Any) -> None:
        """Raise `NotReplicated` when the server has told of a commit over `raw`, since the last call, that it did not
        wait for the standby that its settings demand.
        """
        ...

    async def write_anyway(self, connection: AsyncConnection) -> None:
        """Write something, so that the commit waits as that of any change does, whether or not anything was changed.

        On a server that takes no writes it does nothing.
        """
        ...

    def abort(self, raw: Any) -> None:
        """Close the socket at once; a call that waits for an answer gets an error."""
        ...

    def failure(self, error: BaseException) -> Failure:
        """Return the class of an error of the driver."""
        ...


@dataclass(frozen=True, slots=True)
class SessionTimeouts:
    """Seconds after which the server ends what a session leaves there, so that a node that hangs does not keep locks.

    `idle` is for a transaction in which nothing is asked, `lock` for a wait for one lock, `statement` for a statement.
    """

    idle: float = 10.0
    lock: float = 5.0
    statement: float = 600.0


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """Bounds of the pool: connections, and the seconds to wait for one, for a login at one server and for the answer to
    a statement.

    A connection that was idle for `ping_after` seconds is pinged before it is lent; None means never.
    """

    max_active: int = 50
    max_wait: float = 60.0
    connect_timeout: float = 5.0
    socket_timeout: float = 10.0
    ping_after: float | None = 30.0


class Engine:
    """The connections of one store, and the tasks that use them: cancelling a caller does not cancel its commit."""

    def __init__(
        self,
        driver: Driver,
        limits: PoolLimits,
        *,
        is_autocommitting: bool = False,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """With `is_autocommitting` a statement outside a transaction is one, and costs one round trip."""
        self.driver = driver
        self.limits = limits
        self._sleep = sleep
        self._chance = chance
        self._tasks: asyncio.TaskGroup | None = None
        self.is_proven = False
        """Whether the database has accepted this broker once. A later refusal is then `StoreUnavailable`, not fatal."""
        self._connections: WeakSet[Any] = WeakSet()
        self._looks_again_at = 0.0
        """When to look for hung sessions again, by the loop's clock."""
        self._doubts = self._resolved = 0
        """How many blocks ended without telling what came of their commits, and how many of these were before a commit
        that was waited for.
        """
        self._age = 0
        """Grows when a server has said that it takes no writes any more: connections of an earlier age are closed."""
        # SQLAlchemy keeps five of the connections; the others are closed when they are given back.
        kept = min(limits.max_active, 5)
        self._pool = create_async_engine(
            driver.engine,
            hide_parameters=True,  # an error that is logged shows no message
            async_creator=self._connect_in_time,
            pool_size=kept,
            max_overflow=limits.max_active - kept,
            pool_timeout=limits.max_wait,
            pool_recycle=1800,
            pool_reset_on_return=None,  # a borrower ends its transaction, or the connection is closed
            **(_AUTOCOMMIT if is_autocommitting else {}),
        )
        event.listen(self._pool.sync_engine, "connect", self._on_connected)
        event.listen(self._pool.sync_engine, "checkout", self._on_borrowed)
        if limits.ping_after is not None:
            event.listen(self._pool.sync_engine, "checkin", self._on_given_back)

    async def open(self) -> None:
        """Begin to accept work."""
        self._tasks = asyncio.TaskGroup()
        await self._tasks.__aenter__()

    async def close(self) -> None:
        """Finish the work under way, within the time of one statement, and close every connection."""
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
        """Return what `work` returns; `work` goes on when the caller is cancelled."""
        if self._tasks is None:
            work.close()
            raise StoreError(f"the store {self.driver.where} is not open")
        result: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._tasks.create_task(_report(work, result))
        return await result

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Begin `work` and do not wait for it; that it fails is only logged."""
        if self._tasks is None:
            work.close()
            return
        result: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        result.cancel()
        self._tasks.create_task(_report(work, result))

    async def run(
        self, function: Callable[[Connection], T], *, deadline: float | None = None, isolation: str | None = None
    ) -> T:
        """Run `function` in a transaction of its own, and again after a conflict or a lost connection.

        Doing it twice must have the effect of doing it once: after a commit without an answer it is done again.
        `isolation` is SQLAlchemy's name of the transaction's isolation level, if it is another one than the session's.
        """

        async def once() -> T:
            async with self.connection(deadline) as connection:
                if isolation is not None:
                    await connection.execution_options(isolation_level=isolation)
                async with self.committing(connection):
                    return await connection.run_sync(function)

        return await self.own(self.retrying(once, again=Failure.LOST))

    @asynccontextmanager
    async def connection(self, deadline: float | None = None) -> AsyncIterator[AsyncConnection]:
        """Lend a connection of the pool; after an error in the block it is closed, not given back."""
        connection = await self._pool.connect().start()
        raw = (await connection.get_raw_connection()).driver_connection
        with self.deadline(raw, deadline):
            try:
                yield connection
                self.driver.refuse_unreplicated(raw)
            except BaseException as error:
                if self._failure(error) in (None, Failure.LOST, Failure.BUSY):
                    self._doubts += 1
                self.driver.abort(raw)
                with suppress(Exception):
                    await connection.invalidate()
                raise
            finally:
                await connection.close()

    @asynccontextmanager
    async def committing(self, connection: AsyncConnection, *, is_single: bool = False) -> AsyncIterator[None]:
        """Commit what the block does: in one transaction, or its one statement by itself if it `is_single`.

        While a commit is in doubt it may be that what the block finds done is on this server only, and that it has
        nothing to write for which its commit would wait. So something is written then.
        """
        async with nullcontext() if is_single else connection.begin():
            yield
            doubts = self._doubts
            if doubts != self._resolved:
                await self.driver.write_anyway(connection)
        self.driver.refuse_unreplicated((await connection.get_raw_connection()).driver_connection)
        self._resolved = max(self._resolved, doubts)

    @asynccontextmanager
    async def raw(self, deadline: float | None = None) -> AsyncIterator[Any]:
        """Lend the driver's own connection below one of the pool."""
        async with self.connection(deadline) as connection:
            yield (await connection.get_raw_connection()).driver_connection

    def _on_connected(self, adapted: Any, record: Any) -> None:
        record.info["age"] = self._age
        record.info[HAS_LOCAL_LOCKS] = self.driver.has_local_locks(adapted.driver_connection)

    def _on_given_back(self, _: Any, record: Any) -> None:
        record.info["idle_since"] = asyncio.get_running_loop().time()

    def _on_borrowed(self, adapted: Any, record: Any, _: Any) -> None:
        if record.info["age"] != self._age:
            raise DisconnectionError("the server takes no writes any more")  # the pool makes another one
        if self.limits.ping_after is None:
            return
        loop = asyncio.get_running_loop()
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
        """Return a connection outside the pool, for the caller to keep. Raises `StoreError` or `ConfigError`."""
        with self.translated():
            return await self._connect_in_time()

    async def _connect_in_time(self, *_: Any, **__: Any) -> Any:
        """Connect to the first server that takes the connection."""
        servers, errors = self.driver.servers, []
        for address in servers.in_order():
            try:
                async with asyncio.timeout(self.limits.connect_timeout):
                    raw = await self._connect_to(address)
            except Exception as error:
                servers.on_failed(address)
                errors.append((address, error))
            else:
                servers.on_connected(address)
                self._connections.add(raw)
                return raw
        raise self._none_of(errors)

    async def _connect_to(self, address: Address) -> Any:
        """Connect to one server. Raises `StoreUnavailable` when it has another database."""
        raw = await self.driver.connect(address)
        servers = self.driver.servers
        if servers.identity is None:
            return raw
        try:
            if reason := servers.why_not(address, await self.driver.identity(raw)):
                raise StoreUnavailable(reason)
        except BaseException:
            self.driver.abort(raw)
            raise
        return raw

    def _none_of(self, errors: list[tuple[Address, Exception]]) -> Exception:
        """Return the error for servers none of which takes the connection."""
        first = errors[0][1]
        is_final = all(self._is_for_an_operator(error) for _, error in errors)
        if is_final or (len(errors) == 1 and not isinstance(first, StoreUnavailable)):
            return first
        names = self.driver.servers
        return StoreUnavailable("; ".join(f"{names.name(address)}: {_line(error)}" for address, error in errors))

    def _is_for_an_operator(self, error: Exception) -> bool:
        return isinstance(error, ConfigError) or self._failure(error) is Failure.REFUSED

    def _abort_all(self) -> None:
        for raw in list(self._connections):
            self.driver.abort(raw)

    @contextmanager
    def deadline(self, raw: Any, seconds: float | None = None) -> Iterator[None]:
        """Close the connection `raw` when the block takes longer than `seconds`; raise `StoreUnavailable` then.
        Raise `NotReplicated` when a commit in the block did not wait for its standby.

        Closing the socket cancels nothing: a commit that was sent may still be done.
        """
        allowed = self.limits.socket_timeout if seconds is None else seconds
        expired = False

        def expire() -> None:
            nonlocal expired
            expired = True
            self.driver.abort(raw)

        timer = asyncio.get_running_loop().call_later(allowed, expire)
        try:
            yield
            self.driver.refuse_unreplicated(raw)
        except BaseException as error:
            if expired and isinstance(error, Exception):
                raise StoreUnavailable(f"{self.driver.where} has not answered for {allowed:g} s") from error
            raise
        finally:
            timer.cancel()

    async def retrying(self, once: Callable[[], Awaitable[T]], *, again: Failure | None = None) -> T:
        """Do `once`, and again after a conflict: up to ten times within five seconds.

        After a failure of class `again` it is tried one more time. Any other error is raised, translated.
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
                    self._look_for_hung_sessions()
                    await self._sleep(backoff.jittered(self._chance(), most=1.5))
                    backoff = backoff.longer()
                else:
                    raise self.translate(error) from error
        with self.translated():
            return await once()

    def _look_for_hung_sessions(self) -> None:
        """Something was locked: perhaps by a session that the server would never end."""
        now = asyncio.get_running_loop().time()
        if self.driver.sessions_may_hang and now >= self._looks_again_at:
            self._looks_again_at = now + _LOOK_PAUSE
            self.start(self._end_hung_sessions())

    async def _end_hung_sessions(self) -> None:
        raw = await self.connect()  # those of the pool may all be waiting
        try:
            with self.deadline(raw):
                count = await self.driver.end_hung_sessions(raw)
        finally:
            self.driver.abort(raw)
        if count:
            _log.warning("sessions of brokers that stand still were ended: they kept locks", count=count)

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Raise a driver's exception from the block as one of the broker's own."""
        try:
            yield
        except Exception as error:
            raise self.translate(error) from error

    def translate(self, error: Exception) -> Exception:
        """Return the broker's own error for `error`."""
        failure = self._failure(error)
        if failure is Failure.READ_ONLY:
            self._age += 1
        text = f"{self.driver.where}: {_line(error)}"
        if failure is None:
            return StoreUnavailable(str(error)) if self.is_proven and isinstance(error, ConfigError) else error
        if failure is Failure.REFUSED and not self.is_proven:
            return ConfigError(f"the database refuses this broker, correct the datasource or the database: {text}")
        if failure is Failure.FULL:
            return StoreFull(text)
        return StoreError(text) if failure is Failure.BUG else StoreUnavailable(text)

    def _failure(self, error: BaseException) -> Failure | None:
        """Return the class of `error`; None when it is one of the broker's own already, or no error."""
        if isinstance(error, BrokerError) or not isinstance(error, Exception):
            return None
        if isinstance(error, NotReplicated):
            return Failure.LOST
        if isinstance(error, PoolTimeout | MemoryError):
            return Failure.BUSY
        return self.driver.failure(_cause(error))


def keep_alive(transport: asyncio.BaseTransport) -> None:
    """Let the system close a connection whose server has been silent on the network for 25 s.

    A statement may take longer than that: the server's system answers the probes meanwhile.
    """
    raw = transport.get_extra_info("socket")
    if raw is not None and raw.family in (socket.AF_INET, socket.AF_INET6):
        for level, name, value in _KEEP_ALIVE:
            if hasattr(socket, name):
                raw.setsockopt(level, getattr(socket, name), value)


async def _report(work: Coroutine[Any, Any, T], result: asyncio.Future[T]) -> None:
    """Do `work` and pass its result to `result`; log an error that no caller waits for any more."""
    try:
        value = await work
    except BaseException as error:
        if result.cancelled():
            # Other callers report an outage; any other error is reported nowhere but here.
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
        # For asyncpg, SQLAlchemy wraps the driver's error once more.
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
