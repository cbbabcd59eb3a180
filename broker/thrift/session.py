"""The server side of one Thrift connection: it reads calls, has them answered one at a time, and writes the answers.

It enforces the timeouts and the authentication, and answers the two methods of the latter; `handlers` has the others.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final, cast

import structlog

from broker.machine.address import endpoint
from broker.ports.cluster import SlotService
from broker.ports.peer_calls import Unauthorized
from broker.thrift import handlers, idl
from broker.thrift.secret import Admission, SharedSecret
from broker.thrift.wire import MAX_MESSAGE_OCTETS, REPLY, MalformedMessage, MessageReader, ThriftMessage

_log = structlog.get_logger(__name__)

STRANGER_MESSAGE_OCTETS: Final = 1024
_AWAITING: Final = "awaitSlots"


@dataclass(frozen=True, slots=True)
class Terms:
    """What all sessions of a server share. Timeouts are in seconds; 0 means none."""

    service: SlotService
    secret: SharedSecret | None
    idle_timeout: float
    admission_timeout: float
    new_nonce: Callable[[], bytes]
    spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None] | None]
    on_made: Callable[[Session], None]
    on_lost: Callable[[Session], None]


class Session(asyncio.Protocol):
    """One peer's connection. It does not read from the socket while a call is under way."""

    __slots__ = (
        "_admission",
        "_call",
        "_is_output_blocked",
        "_is_waiting_call",
        "_loop",
        "_reader",
        "_terms",
        "_timer",
        "_transport",
        "peer",
    )

    _transport: asyncio.Transport

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self._admission = Admission(terms.secret, terms.new_nonce)
        is_admitted = self._admission.is_admitted
        self._reader = MessageReader(MAX_MESSAGE_OCTETS if is_admitted else STRANGER_MESSAGE_OCTETS)
        self._call: asyncio.Task[None] | None = None
        self._is_waiting_call = False
        self._is_output_blocked = False
        self._timer: asyncio.TimerHandle | None = None
        self.peer = "?"

    @property
    def call(self) -> asyncio.Task[None] | None:
        """The task of the call under way, if any."""
        return self._call

    @property
    def is_admitted(self) -> bool:
        """Has the peer proved the secret, or is there none?"""
        return self._admission.is_admitted

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but its base
        self._loop = asyncio.get_running_loop()
        self.peer = _address(transport.get_extra_info("peername"))
        raw = transport.get_extra_info("socket")
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._start_timer()
        self._terms.on_made(self)

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        if self._call is None and not self._is_output_blocked:
            self._take_call()
        else:
            self._transport.pause_reading()

    def pause_writing(self) -> None:
        """Start no further call while the peer does not read the answers."""
        self._is_output_blocked = True

    def resume_writing(self) -> None:
        self._is_output_blocked = False
        self._go_on()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        # A long poll ends: nobody is left to receive its slots. Other calls run on: ending them half-way gains nothing.
        if self._call is not None and self._is_waiting_call:
            self._call.cancel()
        self._terms.on_lost(self)

    def abort(self) -> None:
        """Close without waiting for the peer."""
        self._transport.abort()

    def _take_call(self) -> None:
        try:
            message = self._reader.take()
        except MalformedMessage as error:
            self._refuse(error)
            return
        if message is None:
            self._start_timer()
            return
        if self._admission.is_admitted:
            self._stop_timer()
        self._is_waiting_call = message.name == _AWAITING
        self._call = self._terms.spawn(self._answer(message))

    async def _answer(self, message: ThriftMessage) -> None:
        try:
            if not self._admission.is_admitted or message.name in handlers.ADMITTING:
                reply = self._admit(message)
            else:
                reply = await handlers.answer(self._terms.service, message, self.peer)
            if not self._transport.is_closing():
                self._transport.write(reply)
        except MalformedMessage as error:
            self._refuse(error)
        except Exception as error:
            _log.error("thrift connection failed", peer=self.peer, exc_info=error)
            self._transport.abort()
        finally:
            self._call = None
        self._go_on()

    def _go_on(self) -> None:
        if self._call is None and not self._is_output_blocked and not self._transport.is_closing():
            self._transport.resume_reading()
            self._take_call()

    def _admit(self, message: ThriftMessage) -> bytes:
        """Return the answer to one step of the authentication; on anything else answer Unauthorized and close."""
        name, sequence_id = message.name, message.sequence_id
        call = handlers.read_call(message)
        try:
            success = self._admission_step(name, call)
        except Unauthorized as error:
            _log.warning("thrift peer is not authorized", peer=self.peer, reason=str(error))
            self._transport.write(handlers.encode_failure(name, sequence_id, call, error))
            self._transport.close()
            return b""
        result = idl.result(name)
        result.success = success
        return idl.encode(name, REPLY, sequence_id, result)

    def _admission_step(self, name: str, call: Any) -> bytes:
        if name == "challenge":
            return self._admission.challenge(call.clientNonce or b"")
        if name != "authenticate":
            raise Unauthorized("the first call must be a challenge: this node has a shared secret")
        proof = self._admission.authenticate(call.clientProof or b"")
        self._reader.limit = MAX_MESSAGE_OCTETS
        self._stop_timer()
        return proof

    def _refuse(self, error: MalformedMessage) -> None:
        _log.warning("thrift peer sent a malformed message", peer=self.peer, reason=str(error))
        self._transport.abort()

    def _start_timer(self) -> None:
        """Start the timeout for one whole call, or for the authentication; octets that trickle in do not extend it."""
        is_admitted = self._admission.is_admitted
        timeout = self._terms.idle_timeout if is_admitted else self._terms.admission_timeout
        if timeout and self._timer is None:
            self._timer = self._loop.call_later(timeout, self._on_timeout)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_timeout(self) -> None:
        self._timer = None
        if self._call is None:
            _log.info("thrift connection is idle and closed", peer=self.peer)
            self._transport.abort()


def _address(peername: Any) -> str:
    return endpoint(*peername[:2]) if isinstance(peername, tuple) else "?"
