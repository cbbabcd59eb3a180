"""Connections to a database that messages are moved from or to: few, for statements that may take long."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from sqlalchemy import Connection

from broker.config.connection_options import connection_options
from broker.config.datasources import PoolConfiguration
from broker.store.server.engine import Engine, PoolLimits, SessionTimeouts
from broker.store.server.opening import dialect_of

T = TypeVar("T")

_DEADLINE: Final = 600.0
"""Seconds for a statement over everything there is."""
_CONNECTIONS: Final = 2


class Database:
    """One database of a server."""

    def __init__(self, datasource: PoolConfiguration) -> None:
        """Raises `ConfigError` when the driver is not installed."""
        url = datasource.store_url
        options, _ = connection_options(url)
        dialect = dialect_of(url, SessionTimeouts(idle=_DEADLINE, lock=30.0, statement=_DEADLINE), needs_writes=False)
        limits = PoolLimits(
            _CONNECTIONS, connect_timeout=options.connect_timeout, socket_timeout=options.socket_timeout
        )
        self._engine = Engine(dialect, limits)
        self.where = dialect.where

    async def open(self) -> None:
        """Begin to accept work."""
        await self._engine.open()

    async def close(self) -> None:
        """Finish the work under way and close the connections."""
        await self._engine.close()

    async def run(self, function: Callable[[Connection], T]) -> T:
        """Return what `function` returns, called in a transaction of its own. It may be run twice, and must have the
        effect of once.

        Raises `StoreUnavailable`, `StoreError`, and `ConfigError` for what an operator has to correct.
        """
        return await self._engine.run(function, deadline=_DEADLINE)
