"""The AMQP edge: accepts sockets, moves octets, asks the clock. Decides nothing.

One `asyncio.Protocol` per client over the sans-IO `Connection`; one write per turn of the loop; reading pauses where
something further in is full. Knows asyncio and the socket; knows no method and no queue.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Callable, Coroutine
from typing import Any, Final, cast

import structlog

from broker.amqp.connection import Connection, Peer
from broker.amqp.context import SharedContext
from broker.clock import Clock
from broker.errors import Evicted, StoreUnavailable

_log = structlog.get_logger(__name__)

_TICK: Final = 0.5
_TLS_HANDSHAKE_TIMEOUT: Final = 5.0
_WRITE_HIGH: Final = 1 << 20
_WRITE_LOW: Final = 1 << 18
_FAIR_READ: Final = 1 << 16
_TURNS_BEHIND: Final = 8
_UNREAD_OUTPUT_LIMIT: Final = 16 * 1024 * 1024

# Why a socket is not read.
_FULL: Final = "journal full"
_ALARM: Final = "alarm"
_DEFERRED: Final = "handler busy"
_TURN: Final = "others first"
_UNREAD: Final = "peer does not read"


class AmqpProtocol(asyncio.Protocol):
    """The socket edge of one client: octets in, octets out."""

    __slots__ = ("_clock", "_connection", "_held", "_loop", "_server", "_transport")

    _connection: Connection
    _transport: asyncio.Transport

    def __init__(self, server: AmqpServer) -> None:
        self._server = server
        self._clock = server.clock.monotonic
        self._held: set[str] = set()

    @property
    def connection(self) -> Connection:
        return self._connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but its base
        self._loop = asyncio.get_running_loop()
        transport.set_write_buffer_limits(high=_WRITE_HIGH, low=_WRITE_LOW)
        raw = transport.get_extra_info("socket")
        if raw is not None and raw.family in (socket.AF_INET, socket.AF_INET6):
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connection = Connection(
            self._server.shared, _peer(transport.get_extra_info("peername")), self._schedule_flush, self._clock()
        )
        self._server.add(self)

    def data_received(self, data: bytes) -> None:
        server = self._server
        broker = server.shared.broker
        ids = broker.ids
        ids.advance(server.clock.wall_ms())
        last_id = ids.last
        connection = self._connection
        connection.receive(data, self._clock())
        if ids.last != last_id or connection.output.has_committed:
            connection.output.has_committed = False
            if broker.journal.check_full():
                self.hold(_FULL)
                server.waiting_publishers.add(self)
            if server.alarm:
                self.begin_alarm(server.alarm)
        is_behind = broker.dispatch()
        if not connection.wants_input:
            self.hold(_DEFERRED)
        if len(data) >= _FAIR_READ:
            # libuv would read on from a fast publisher up to 32 times before anybody else has a turn.
            server.had_large_reads = True
            self.hold(_TURN)
            self._loop.call_soon(self._next_turn, _TURNS_BEHIND if is_behind else 1)

    def _next_turn(self, turns: int) -> None:
        """Read again after so many turns of the loop; when nobody else has work they take no time."""
        if turns > 1:
            self._loop.call_soon(self._next_turn, turns - 1)
        else:
            self.release(_TURN)

    def eof_received(self) -> None:
        """Let the transport close: nobody writes to a half-closed AMQP connection."""

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.remove(self)
        self._connection.on_lost()

    # Output

    def _schedule_flush(self) -> None:
        self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        transport = self._transport
        connection = self._connection
        output, is_large = connection.output.take(self._clock())
        if output and not transport.is_closing():
            if is_large:
                transport.writelines(output)
            else:
                transport.write(b"".join(output))
        if connection.is_finished:
            transport.close()
            return
        if transport.get_write_buffer_size() <= _WRITE_HIGH:
            if connection.output.is_blocked:
                self._resume_output()
        elif transport.get_write_buffer_size() > _UNREAD_OUTPUT_LIMIT:
            self.hold(_UNREAD)
        if _DEFERRED in self._held and connection.wants_input:
            self.release(_DEFERRED)

    def pause_writing(self) -> None:
        self._connection.output.block()

    def resume_writing(self) -> None:
        self.release(_UNREAD)
        self._resume_output()

    def _resume_output(self) -> None:
        self._connection.unblock_output()
        self._server.shared.broker.dispatch()

    # Back-pressure: TCP does the waiting (contract §2.4.7)

    def hold(self, reason: str) -> None:
        """Stop reading until every reason is released."""
        if not self._held and not self._transport.is_closing():
            self._transport.pause_reading()
        self._held.add(reason)

    def release(self, reason: str) -> None:
        """Read again if nothing else holds the socket."""
        if reason in self._held:
            self._held.discard(reason)
            if not self._held and not self._transport.is_closing():
                self._transport.resume_reading()

    @property
    def is_held(self) -> bool:
        return bool(self._held)

    def begin_alarm(self, reason: str) -> None:
        """Something is short: this publisher must wait, and is told why."""
        self.hold(_ALARM)
        self._connection.set_blocked(reason)

    def end_alarm(self) -> None:
        """Nothing is short any more: publishers may go on."""
        self.release(_ALARM)
        self._connection.set_blocked("")

    def resume_publishing(self) -> None:
        """The journal has room again."""
        self.release(_FULL)

    def abort(self) -> None:
        """Close without waiting for the peer."""
        self._transport.abort()

    def dismiss(self, reason: str) -> None:
        """Say why, and close without waiting for the peer."""
        self._connection.force_close(reason)
        self._flush()
        self._transport.close()


class AmqpServer:
    """Listens for clients and keeps the ones there are."""

    def __init__(self, clock: Clock, tasks: asyncio.TaskGroup, on_quiet: Callable[[], None] = lambda: None) -> None:
        """`on_quiet` is called once when large reads have ended for a while."""
        self.clock = clock
        self.had_large_reads = False
        self._on_quiet = on_quiet
        self._is_quiet = True
        self.shared: SharedContext
        self.protocols: set[AmqpProtocol] = set()
        self.waiting_publishers: set[AmqpProtocol] = set()
        self.alarm = ""
        """Why publishers are blocked, in RabbitMQ's words; empty when they are not (contract C15)."""
        self.is_store_away = False
        self._alarms: dict[str, str] = {}
        self._tasks = tasks
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
        self.waiting_publishers.discard(protocol)
        if not self.protocols:
            self._empty.set()

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run a handler that waits for a port; a fault in it ends no other client's connection."""
        guarded = _guarded(coroutine)
        try:
            task = self._tasks.create_task(guarded)
        except RuntimeError:  # the node is ending: nobody is left to wait for anything
            guarded.close()
            coroutine.close()
        else:
            task.add_done_callback(lambda _: coroutine.close())  # it may be cancelled before it has begun

    def on_journal_full(self, is_full: bool) -> None:
        """The journal has filled up, or has room again: then held publishers go on."""
        if not is_full:
            waiting = tuple(self.waiting_publishers)
            self.waiting_publishers.clear()
            for protocol in waiting:
                protocol.resume_publishing()

    def set_alarm(self, source: str, reason: str) -> None:
        """Block publishers at their next publish for `reason`; with "" let them go on if no other source has one."""
        if reason == self._alarms.get(source, ""):
            return
        self._alarms[source] = reason
        self.alarm = "; ".join(filter(None, self._alarms.values()))
        if self.alarm:
            _log.warning("publishers are blocked", reason=self.alarm)
            for protocol in self.waiting_publishers:  # not read already, so they have no next publish
                protocol.begin_alarm(self.alarm)
        else:
            _log.info("publishers go on")
            for protocol in tuple(self.protocols):
                protocol.end_alarm()

    def on_store_state(self, reason: str) -> None:
        """The store is away for `reason`, or with "" it is there again."""
        self.is_store_away = bool(reason)
        self.set_alarm("store", reason)

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
            if protocol.connection.tick(now, may_expire=may_expire, is_store_away=self.is_store_away):
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


async def _guarded(coroutine: Coroutine[Any, Any, None]) -> None:
    try:
        await coroutine
    except (StoreUnavailable, Evicted) as error:
        _log.warning("the store could not do what a connection asked for", reason=str(error))
    except Exception:
        _log.exception("internal error in a connection's task")


def _peer(peername: Any) -> Peer:
    if not isinstance(peername, tuple):
        return Peer("local", True)
    address = ipaddress.ip_address(peername[0].partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    host = f"[{peername[0]}]" if address.version == 6 else peername[0]
    return Peer(f"{host}:{peername[1]}", (mapped or address).is_loopback)
