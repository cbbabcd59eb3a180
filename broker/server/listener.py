"""The AMQP server: opens listeners, keeps the clients there are, and closes them in the end."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Final

import structlog

from broker.amqp.context import SharedContext
from broker.amqp.profile import CORDILLERA, Profile
from broker.clock import Clock
from broker.config.ssl_connection import CertificateLogin
from broker.errors import ResourceFault
from broker.machine.listener import Room, SocketListener
from broker.server.back_pressure import BackPressure
from broker.server.protocol import AmqpProtocol
from broker.server.relief import Relief
from broker.server.timers import Timers
from broker.server.turns import Turns

_log = structlog.get_logger(__name__)

_LOOK_INTERVAL: Final = 0.5
_INTAKE: Final = 8 * 1024 * 1024
"""Octets of large reads after which memory is looked at: so far and little more can it grow beyond the watermark."""


class AmqpServer:
    """Listens for clients and keeps the ones there are."""

    def __init__(
        self,
        clock: Clock,
        shared: SharedContext,
        pressure: BackPressure,
        timers: Timers,
        turns: Turns,
        tasks: asyncio.TaskGroup,
        on_quiet: Callable[[], None] = lambda: None,
        *,
        room: Room | None = None,
        on_intake: Callable[[], None] = lambda: None,
        relief: Relief[AmqpProtocol] | None = None,
    ) -> None:
        """Listeners have tasks of `tasks`, and each of them has `room`.

        `on_quiet` is called once when large reads have ended for a while, `on_intake` whenever large reads have brought
        in so much that memory is to be looked at. `relief` says whom to close when an alarm does not end.
        """
        self.clock = clock
        self.shared = shared
        self.pressure = pressure
        self.timers = timers
        self.turns = turns
        self.had_large_reads = False
        self.certificate_login: CertificateLogin = "off"
        """By what of their certificates clients may log in."""
        self._on_quiet = on_quiet
        self._on_intake = on_intake
        self._intake = 0
        self._relief = relief
        self._is_quiet = True
        self.protocols: set[AmqpProtocol] = set()
        self._tasks = tasks
        self._room = room or Room()
        self._listeners: list[SocketListener] = []
        self._places: dict[SocketListener, tuple[str, int]] = {}
        """Where they listen."""
        self._empty = asyncio.Event()
        self._empty.set()
        self._next_look = clock.monotonic() + _LOOK_INTERVAL
        timers.watch(self)

    async def listen(
        self, host: str, port: int, tls: ssl.SSLContext | None = None, profile: Profile = CORDILLERA
    ) -> int:
        """Open a listener; return its port, which the system chooses when `port` is 0. Raises OSError."""
        what = "AMQPS" if tls else "AMQP"
        listener = SocketListener(lambda: AmqpProtocol(self, profile), self._tasks, self._room, what=what)
        listener.tls = tls
        names = await listener.bind(host, port)
        listener.start()
        self._listeners.append(listener)
        actual: int = names[0][1]
        self._places[listener] = host, actual
        _log.info("started TLS listener" if tls else "started TCP listener", address=host, port=actual)
        return actual

    def use_certificate(self, tls: ssl.SSLContext, login: CertificateLogin = "off") -> None:
        """Use another context for the TLS connections that come from now on; `login` is what names their users."""
        self.certificate_login = login
        for listener in self._listeners:
            if listener.tls is not None:
                listener.tls = tls

    # Draining

    @property
    def open_count(self) -> int:
        """How many connections there are."""
        return len(self.protocols)

    def suspend(self) -> None:
        """Close the listeners; connections stay."""
        for listener in self._listeners:
            listener.close()

    async def resume(self) -> None:
        """Open the listeners again. Raises OSError."""
        for listener, place in self._places.items():
            if not listener.is_open:
                await listener.bind(*place)
                listener.start()

    def close_some(self, count: int, reason: str) -> int:
        """Close so many connections with 320, those first that hold nothing unfinished; return how many are left."""
        left = [protocol for protocol in self.protocols if not protocol.connection.is_ending]
        if count < len(left):
            left.sort(key=lambda protocol: protocol.connection.unfinished_octets)
        for protocol in left[:count]:
            protocol.connection.force_close(reason)
        return max(len(left) - count, 0)

    async def wait_until_empty(self) -> None:
        """Return when the last connection is gone."""
        await self._empty.wait()

    # Clients

    def add(self, protocol: AmqpProtocol) -> None:
        """A client has connected."""
        self.protocols.add(protocol)
        self.pressure.add(protocol)
        self.timers.watch(protocol)
        self._empty.clear()

    def remove(self, protocol: AmqpProtocol) -> None:
        """A client's socket is gone."""
        self.protocols.discard(protocol)
        self.timers.forget(protocol)
        self.pressure.remove(protocol)
        for listener in self._listeners:
            listener.forget(protocol)
        if not self.protocols:
            self._empty.set()

    def on_large_read(self, octets: int) -> None:
        """A client has sent so much at once: clients together may bring in gigabytes between two looks at the clock."""
        self.had_large_reads = True
        self._intake += octets
        if self._intake >= _INTAKE:
            self._intake = 0
            self._on_intake()

    def next_deadline(self) -> float:
        """Return when the server looks again whether large reads or an alarm have ended.

        It does so twice a second, whatever happens: so the timers learn in time that the loop was held up.
        """
        return self._next_look

    def on_time(self, now: float) -> None:
        """See whether large reads have ended, and whether an alarm can end."""
        self._next_look = now + _LOOK_INTERVAL
        was_quiet, self._is_quiet = self._is_quiet, not self.had_large_reads
        self.had_large_reads = False
        if self._is_quiet and not was_quiet:
            self._on_quiet()
        if self._relief is not None:
            self._relieve(self._relief, now)

    def _relieve(self, relief: Relief[AmqpProtocol], now: float) -> None:
        if not self.pressure.is_memory_short:
            relief.on_alarm_over()
            return
        unfinished = {protocol: protocol.connection.unfinished_octets for protocol in self.protocols}
        for protocol in relief.choose(now, unfinished):
            fault = ResourceFault(
                f"memory is short, and this connection holds {unfinished[protocol]} octets of messages and transactions"
                " that are not finished"
            )
            protocol.connection.on_error(fault, 0, 0)

    def abort(self, reason: str) -> None:
        """Stop listening and close what is still there: the node has failed, or must begin anew."""
        for listener in self._listeners:
            listener.close()
        self.pressure.end()
        for protocol in tuple(self.protocols):
            protocol.dismiss(reason)

    async def stop(self, reason: str, close_timeout: float) -> None:
        """Stop listening and close every connection, with 320 for those who can be told (contract C14)."""
        for listener in self._listeners:
            listener.close()
        self.pressure.end()
        for protocol in tuple(self.protocols):
            protocol.connection.force_close(reason)
        try:
            async with asyncio.timeout(close_timeout):
                await self._empty.wait()
        except TimeoutError:
            for protocol in tuple(self.protocols):
                protocol.abort()
            await self._empty.wait()
