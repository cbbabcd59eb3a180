"""The socket of one AMQP client: octets in, octets out, and when to read. Decides nothing else.

One write per turn of the loop; reading pauses where something further in is full.
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace
from typing import Any, Final, Protocol, cast

import structlog

from broker.amqp.connection import Connection
from broker.amqp.context import SharedContext
from broker.amqp.handshake import Peer
from broker.amqp.profile import CORDILLERA, Profile
from broker.clock import Clock
from broker.config.ssl_connection import CertificateLogin
from broker.machine.address import endpoint, ip_address
from broker.server.back_pressure import BackPressure
from broker.server.certificate_login import certificate_user
from broker.server.timers import Timers
from broker.server.turns import Turns

_log = structlog.get_logger(__name__)

_WRITE_HIGH: Final = 1 << 20
_WRITE_LOW: Final = 1 << 18
_FAIR_READ: Final = 1 << 16
_TURNS_BEHIND: Final = 8
_UNREAD_OUTPUT_LIMIT: Final = 16 * 1024 * 1024
DISCARD_TIMEOUT: Final = 3.0
"""Seconds after the last words in which the peer may write what nobody reads any more, and must close."""

# Why a socket is not read.
_FULL: Final = "journal full"
_ALARM: Final = "alarm"
_DEFERRED: Final = "handler busy"
_TURN: Final = "others first"
_UNREAD: Final = "peer does not read"
_WORK: Final = "turn used up"
_GOES_ON: Final = frozenset((_TURN, _WORK, _DEFERRED))
"""Reasons for which nothing is read, but what was put off goes on."""


class Server(Protocol):
    """What a socket uses of the server that has accepted it."""

    clock: Clock
    shared: SharedContext
    pressure: BackPressure
    timers: Timers
    turns: Turns
    certificate_login: CertificateLogin

    def add(self, protocol: AmqpProtocol) -> None:
        """A client has connected."""
        ...

    def remove(self, protocol: AmqpProtocol) -> None:
        """A client's socket is gone."""
        ...

    def on_large_read(self, octets: int) -> None:
        """A client has sent so much at once."""
        ...


class _Gone(asyncio.Transport):
    """Stands where the transport was, which holds much and refers back to its protocol."""

    def is_closing(self) -> bool:
        return True

    def close(self) -> None:
        """It is."""

    def abort(self) -> None:
        """It is."""

    def get_write_buffer_size(self) -> int:
        return 0


_GONE: Final = _Gone()


class AmqpProtocol(asyncio.Protocol):
    """The edge of one client."""

    __slots__ = (
        "_broker",
        "_clock",
        "_connection",
        "_has_asked",
        "_held",
        "_is_silent",
        "_loop",
        "_profile",
        "_server",
        "_transport",
    )

    _connection: Connection
    _transport: asyncio.Transport

    def __init__(self, server: Server, profile: Profile = CORDILLERA) -> None:
        """`profile` is that of the listener."""
        self._server = server
        self._profile = profile
        self._broker = server.shared.broker
        self._clock = server.clock.monotonic
        self._held: set[str] = set()
        self._is_silent = False
        self._has_asked = False  # for a turn to go on with what was put off

    @property
    def connection(self) -> Connection:
        return self._connection

    @property
    def is_admitted(self) -> bool:
        """Has the client logged in and opened a virtual host?"""
        return self._connection.was_opened

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but its base
        self._loop = asyncio.get_running_loop()
        transport.set_write_buffer_limits(high=_WRITE_HIGH, low=_WRITE_LOW)
        raw = transport.get_extra_info("socket")
        if raw is not None and raw.family in (socket.AF_INET, socket.AF_INET6):
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connection = Connection(
            self._server.shared,
            self._peer_of(transport),
            self._schedule_flush,
            self._watch,
            self._put_off,
            self._clock(),
            self._profile,
        )
        self._server.add(self)

    def _peer_of(self, transport: asyncio.Transport) -> Peer:
        peer = _peer(transport.get_extra_info("peername"), self._certificate_user(transport))
        local, tls = transport.get_extra_info("sockname"), transport.get_extra_info("ssl_object")
        cipher = None if tls is None else tls.cipher()
        return replace(
            peer,
            local_host=str(ip_address(local[0])) if isinstance(local, tuple) else "",
            local_port=local[1] if isinstance(local, tuple) else 0,
            since_ms=self._server.clock.wall_ms(),
            tls=None if cipher is None else (tls.version(), cipher[0]),
        )

    def _certificate_user(self, transport: asyncio.Transport) -> str:
        login = self._server.certificate_login
        return "" if login == "off" else certificate_user(transport.get_extra_info("ssl_object"), login)

    def data_received(self, data: bytes) -> None:
        server = self._server
        broker = self._broker
        ids = broker.ids
        ids.advance(server.clock.wall_ms())
        last_id = ids.last
        connection = self._connection
        connection.receive(data, self._clock())
        is_behind = self._after_input(last_id)
        if len(data) >= _FAIR_READ:
            # libuv would read on from a fast publisher up to 32 times before anybody else has a turn.
            server.on_large_read(len(data))
            self.hold(_TURN)
            self._loop.call_soon(self._next_turn, _TURNS_BEHIND if is_behind else 1)

    def _after_input(self, last_id: int) -> bool:
        """Let the broker do what input has made possible, and hold the socket for what is short now.

        `last_id` is the last message id before the input. Return whether consumers are behind.
        """
        broker, connection = self._broker, self._connection
        output = connection.output
        if broker.ids.last != last_id or output.has_published:
            output.has_published = False
            pressure = self._server.pressure
            if broker.journal.check_full():
                self.hold(_FULL)
                pressure.waiting.add(self)
            if pressure.alarm:
                self.begin_alarm(pressure.alarm)
        is_behind = broker.dispatch()
        if not connection.wants_input:
            self.hold(_DEFERRED)
        return is_behind

    def _put_off(self) -> None:
        """The connection has used the turn up: it goes on in a later one, and reads no more until then."""
        self.hold(_WORK)
        self._ask_for_turn()

    def _ask_for_turn(self) -> None:
        if not self._has_asked:
            self._has_asked = True
            self._server.turns.call(self._go_on)

    def _go_on(self) -> None:
        self._has_asked = False
        if self._transport is _GONE:
            self._finish_without_peer()
            return
        if not self._held <= _GOES_ON:
            return  # publishers are held back: `release` asks for another turn
        ids = self._broker.ids
        ids.advance(self._server.clock.wall_ms())
        last_id = ids.last
        connection = self._connection
        connection.go_on()
        self._after_input(last_id)
        if not connection.is_put_off:
            self.release(_WORK)

    def _finish_without_peer(self) -> None:
        """Finish what the peer began before it went: a publish is not left in half of its queues."""
        self._connection.go_on()
        self._broker.dispatch()
        if self._connection.is_put_off:
            self._ask_for_turn()

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
        self._transport = _GONE
        if self._connection.is_put_off:
            self._ask_for_turn()

    # Output

    def _schedule_flush(self) -> None:
        self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        transport = self._transport
        connection = self._connection
        output = connection.output
        octets, is_large = output.take(self._clock())
        if octets and not (self._is_silent or transport.is_closing()):
            output.writes += 1
            try:
                if is_large:
                    output.sent += sum(map(len, octets))
                    transport.writelines(octets)
                else:
                    joined = b"".join(octets)
                    output.sent += len(joined)
                    transport.write(joined)
            except Exception as error:  # nobody knows what of it the peer has
                self._fail(error)
                return
        if connection.is_ending:
            self._on_ending()
            return
        if transport.get_write_buffer_size() <= _WRITE_HIGH:
            if output.is_blocked:
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
        self._broker.dispatch()

    # Back-pressure: TCP does the waiting (contract U11)

    def hold(self, reason: str) -> None:
        """Stop reading until every reason is released."""
        if not self._held and not self._transport.is_closing():
            self._transport.pause_reading()
        self._held.add(reason)

    def release(self, reason: str) -> None:
        """Read again if nothing else holds the socket."""
        if reason in self._held:
            self._held.discard(reason)
            if reason not in _GOES_ON and self._connection.is_put_off and self._held <= _GOES_ON:
                self._ask_for_turn()
            if not self._held and not self._transport.is_closing():
                self._transport.resume_reading()

    def expect_alarm(self, *, is_near: bool) -> None:
        """Begin the alarm at the next frame that carries a message; unless `is_near`, do not any more."""
        self._connection.watch_publishing(self._on_content if is_near else None)

    def _on_content(self) -> None:
        self.begin_alarm(self._server.pressure.alarm)

    def begin_alarm(self, reason: str) -> None:
        """Something is short: this publisher must wait, and is told why."""
        self._server.pressure.blocked.add(self)
        if not self._connection.ask_to_wait():
            self.hold(_ALARM)
        self._connection.set_blocked(reason)

    def end_alarm(self) -> None:
        """Nothing is short any more: publishers may go on."""
        self._connection.end_wait()
        self.release(_ALARM)
        self._connection.set_blocked("")

    def resume_publishing(self) -> None:
        """The journal has room again."""
        self.release(_FULL)

    # Time

    def _watch(self) -> None:
        self._server.timers.watch(self)

    def next_deadline(self) -> float | None:
        """Return when the connection has something to do."""
        return self._connection.next_deadline()

    def on_time(self, now: float) -> None:
        """Let the connection do what is due. Its error ends it, and nobody else's connection."""
        try:
            is_over = self._connection.on_time(
                now,
                may_expire=not (self._held or self._server.timers.is_late),
                has_unread=self._transport.get_write_buffer_size() > 0,
            )
        except Exception as error:
            self._fail(error)
        else:
            if is_over:
                self.abort()

    # The end

    def _fail(self, error: Exception) -> None:
        peer = _peer(self._transport.get_extra_info("peername")).address
        _log.error("internal error, the connection is closed", connection=peer, exc_info=error)
        self.abort()

    def _on_ending(self) -> None:
        """Read whatever comes, so that the peer is heard closing; when all is said, say that too."""
        self._server.pressure.forget(self)
        for reason in self._held - {_TURN}:
            self.release(reason)
        if self._connection.is_finished:
            self._fall_silent()

    def _fall_silent(self) -> None:
        """Close our direction of the socket, and go on reading until the peer closes its own.

        If the socket were closed while the peer still writes, the system would answer with a reset, and the peer might
        never read our last words (ADR 26).
        """
        if self._is_silent or self._transport.is_closing():
            return
        self._is_silent = True
        if self._transport.can_write_eof():
            self._transport.write_eof()
        elif not isinstance(self._loop, asyncio.BaseEventLoop):
            self._transport.close()  # uvloop's TLS sends close_notify, and reads on until it is answered
        # asyncio's own TLS would reset a peer that writes on after close_notify: the peer closes, or the time is up.

    def abort(self) -> None:
        """Close without waiting for the peer."""
        self._transport.abort()

    def dismiss(self, reason: str) -> None:
        """Say why, and let the peer go: nobody of this node waits for it or looks at the time any more."""
        self._connection.force_close(reason)
        self._flush()
        self._fall_silent()
        self.release(_TURN)
        self._transport.set_protocol(asyncio.Protocol())  # it drops everything
        self._loop.call_later(DISCARD_TIMEOUT, self._transport.abort)
        self.connection_lost(None)


def _peer(peername: Any, certificate_user: str = "") -> Peer:
    if not isinstance(peername, tuple):
        return Peer("local", True, "local", certificate_user)
    address = ip_address(peername[0])
    return Peer(endpoint(*peername[:2]), address.is_loopback, str(address), certificate_user, peername[1])
