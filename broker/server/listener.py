"""The AMQP server: opens listeners, keeps the clients there are, and closes them in the end."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Final

import structlog

from broker.amqp.context import SharedContext
from broker.clock import Clock
from broker.machine.listener import Room, SocketListener
from broker.server.back_pressure import BackPressure
from broker.server.protocol import AmqpProtocol
from broker.server.timers import Timers

_log = structlog.get_logger(__name__)

_LOOK_INTERVAL: Final = 0.5


class AmqpServer:
    """Listens for clients and keeps the ones there are."""

    def __init__(
        self,
        clock: Clock,
        shared: SharedContext,
        pressure: BackPressure,
        timers: Timers,
        tasks: asyncio.TaskGroup,
        on_quiet: Callable[[], None] = lambda: None,
        *,
        room: Room | None = None,
    ) -> None:
        """Listeners have tasks of `tasks`, and each of them has `room`.

        `on_quiet` is called once when large reads have ended for a while.
        """
        self.clock = clock
        self.shared = shared
        self.pressure = pressure
        self.timers = timers
        self.had_large_reads = False
        self._on_quiet = on_quiet
        self._is_quiet = True
        self.protocols: set[AmqpProtocol] = set()
        self._tasks = tasks
        self._room = room or Room()
        self._listeners: list[SocketListener] = []
        self._empty = asyncio.Event()
        self._empty.set()
        self._next_look = clock.monotonic() + _LOOK_INTERVAL
        timers.watch(self)

    async def listen(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> int:
        """Open a listener; return its port, which the system chooses when `port` is 0. Raises OSError."""
        listener = SocketListener(lambda: AmqpProtocol(self), self._tasks, self._room, what="AMQPS" if tls else "AMQP")
        listener.tls = tls
        names = await listener.bind(host, port)
        listener.start()
        self._listeners.append(listener)
        actual: int = names[0][1]
        _log.info("started TLS listener" if tls else "started TCP listener", address=host, port=actual)
        return actual

    def use_certificate(self, tls: ssl.SSLContext) -> None:
        """Use another context for the TLS connections that come from now on."""
        for listener in self._listeners:
            if listener.tls is not None:
                listener.tls = tls

    def add(self, protocol: AmqpProtocol) -> None:
        """A client has connected."""
        self.protocols.add(protocol)
        self.timers.watch(protocol)
        self._empty.clear()

    def remove(self, protocol: AmqpProtocol) -> None:
        """A client's socket is gone."""
        self.protocols.discard(protocol)
        self.timers.forget(protocol)
        self.pressure.forget(protocol)
        for listener in self._listeners:
            listener.forget(protocol)
        if not self.protocols:
            self._empty.set()

    def next_deadline(self) -> float:
        """Return when the server looks again whether large reads have ended.

        It does so twice a second, whatever happens: so the timers learn in time that the loop was held up.
        """
        return self._next_look

    def on_time(self, now: float) -> None:
        """See whether large reads have ended."""
        self._next_look = now + _LOOK_INTERVAL
        was_quiet, self._is_quiet = self._is_quiet, not self.had_large_reads
        self.had_large_reads = False
        if self._is_quiet and not was_quiet:
            self._on_quiet()

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
