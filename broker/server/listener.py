"""The AMQP server: opens listeners, keeps the clients there are, and closes them in the end."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Final

import structlog

from broker.amqp.context import SharedContext
from broker.clock import Clock
from broker.server.back_pressure import BackPressure
from broker.server.protocol import AmqpProtocol

_log = structlog.get_logger(__name__)

_TICK: Final = 0.5
_TLS_HANDSHAKE_TIMEOUT: Final = 5.0


class AmqpServer:
    """Listens for clients and keeps the ones there are."""

    def __init__(
        self,
        clock: Clock,
        shared: SharedContext,
        pressure: BackPressure,
        on_quiet: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_quiet` is called once when large reads have ended for a while."""
        self.clock = clock
        self.shared = shared
        self.pressure = pressure
        self.had_large_reads = False
        self._on_quiet = on_quiet
        self._is_quiet = True
        self.protocols: set[AmqpProtocol] = set()
        self._listeners: list[asyncio.Server] = []
        self._last_tick = clock.monotonic()
        self._empty = asyncio.Event()
        self._empty.set()

    async def listen(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> int:
        """Open a listener; return its port, which the system chooses when `port` is 0."""
        loop = asyncio.get_running_loop()
        listener = await loop.create_server(
            lambda: AmqpProtocol(self),
            host,
            port,
            backlog=1024,
            ssl=tls,
            ssl_handshake_timeout=None if tls is None else _TLS_HANDSHAKE_TIMEOUT,
        )
        self._listeners.append(listener)
        actual: int = listener.sockets[0].getsockname()[1]
        _log.info("started TLS listener" if tls else "started TCP listener", address=host, port=actual)
        return actual

    def add(self, protocol: AmqpProtocol) -> None:
        """A client has connected."""
        self.protocols.add(protocol)
        self._empty.clear()

    def remove(self, protocol: AmqpProtocol) -> None:
        """A client's socket is gone."""
        self.protocols.discard(protocol)
        self.pressure.forget(protocol)
        if not self.protocols:
            self._empty.set()

    async def tick_forever(self) -> None:
        """Heartbeats and deadlines of all clients."""
        while True:
            await asyncio.sleep(_TICK)
            self.tick(self.clock.monotonic())

    def tick(self, now: float) -> None:
        """Let every connection look at the time. When the loop was late, what clients sent may not be read yet."""
        was_late = now - self._last_tick > 3 * _TICK
        self._last_tick = now
        was_quiet, self._is_quiet = self._is_quiet, not self.had_large_reads
        self.had_large_reads = False
        if self._is_quiet and not was_quiet:
            self._on_quiet()
        for protocol in tuple(self.protocols):
            may_expire = not (was_late or protocol.is_held)
            if protocol.connection.tick(now, may_expire=may_expire, is_store_away=self.pressure.is_store_away):
                protocol.abort()

    def abort(self, reason: str) -> None:
        """Stop listening and close what is still there: the node has failed, or must begin anew."""
        for listener in self._listeners:
            listener.close()
        for protocol in tuple(self.protocols):
            protocol.dismiss(reason)

    async def stop(self, reason: str, close_timeout: float) -> None:
        """Stop listening and close every connection, with 320 for those who can be told (contract C14)."""
        for listener in self._listeners:
            listener.close()
        for protocol in tuple(self.protocols):
            protocol.connection.force_close(reason)
        try:
            async with asyncio.timeout(close_timeout):
                await self._empty.wait()
        except TimeoutError:
            for protocol in tuple(self.protocols):
                protocol.abort()
            await self._empty.wait()
