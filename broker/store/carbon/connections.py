"""Connections to a database that holds WSO2's tables: few, with short deadlines, beside those of the broker's store."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

from sqlalchemy import Connection, NullPool, create_engine, event
from sqlalchemy.exc import DBAPIError

from broker.config.connection_options import connection_options
from broker.config.datasources import PoolConfiguration
from broker.errors import ConfigError, StoreUnavailable
from broker.store.server.engine import Engine, PoolLimits, SessionTimeouts
from broker.store.server.opening import dialect_of

T = TypeVar("T")

DEADLINE: Final = 4.0
"""Seconds until a statement must have been answered. Logins wait for it."""
_CONNECTIONS: Final = 4


class Connections(Protocol):
    """Runs functions, each in a transaction of its own."""

    where: str
    """Server and database, or the file, for log lines."""

    async def open(self) -> None:
        """Begin to accept work."""
        ...

    async def close(self) -> None:
        """Finish the work under way and let go of everything."""
        ...

    async def run(self, function: Callable[[Connection], T]) -> T:
        """Return what `function` returns. It may be run twice, and must have the effect of once.

        Raises `StoreUnavailable`, `StoreError`, or at the first contact `ConfigError`.
        """
        ...


class ServerConnections:
    """Connections to MariaDB, MySQL or PostgreSQL."""

    def __init__(self, datasource: PoolConfiguration) -> None:
        url = datasource.store_url
        options, _ = connection_options(url)
        limits = PoolLimits(
            max_active=min(datasource.max_active, _CONNECTIONS),
            max_wait=DEADLINE,
            connect_timeout=min(options.connect_timeout, DEADLINE),
            socket_timeout=min(options.socket_timeout, DEADLINE),
            ping_after=datasource.validation_interval_ms / 1000 if datasource.test_on_borrow else None,
        )
        dialect = dialect_of(url, SessionTimeouts(DEADLINE, DEADLINE, DEADLINE), needs_writes=False)
        self._engine = Engine(dialect, limits)
        self.where = dialect.where

    async def open(self) -> None:
        await self._engine.open()

    async def close(self) -> None:
        await self._engine.close()

    async def run(self, function: Callable[[Connection], T]) -> T:
        result = await self._engine.run(function)
        self._engine.is_proven = True
        return result


class SqliteConnections:
    """A file of SQLite, in a thread."""

    def __init__(self, path: Path) -> None:
        self.where = str(path)
        self._path = path
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="users")
        self._engine = create_engine(f"sqlite:///{path}", poolclass=NullPool, hide_parameters=True)
        event.listen(self._engine, "connect", _set_up)

    async def open(self) -> None:
        """There is nothing to do."""

    async def close(self) -> None:
        await asyncio.to_thread(self._thread.shutdown)
        self._engine.dispose()

    async def run(self, function: Callable[[Connection], T]) -> T:
        if not self._path.is_file():
            raise ConfigError(f"{self.where} is not there: make it with dbscripts/, or choose another dataSource")

        def work() -> T:
            with self._engine.begin() as connection:
                return function(connection)

        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except DBAPIError as error:
            raise StoreUnavailable(f"{self.where}: {error.orig}") from error


def _set_up(raw: sqlite3.Connection, _: Any) -> None:
    raw.execute("PRAGMA foreign_keys = ON")
    raw.execute(f"PRAGMA busy_timeout = {int(DEADLINE * 1000)}")


def connections_to(datasource: PoolConfiguration) -> Connections:
    """Return connections to the database of a datasource, not open yet. Raises `ConfigError` without its driver."""
    url = datasource.store_url
    if url.path is not None:
        return SqliteConnections(url.path)
    return ServerConnections(datasource)
