"""The listener for peers: they prove the cluster's secret, and are answered one call at a time (ADR 77)."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import structlog

from broker.coordination.peering.frames import (
    MOST_OCTETS,
    STRANGERS_OCTETS,
    MalformedFrame,
    PeerFrames,
    SpeaksTls,
    frame,
)
from broker.coordination.peering.greeting import dump, load
from broker.coordination.peering.security import PeerSecurity
from broker.machine.address import endpoint
from broker.machine.handshake_failures import handshake_failure
from broker.machine.line_limit import LineLimit
from broker.machine.listener import Room, SocketListener
from broker.ports.peer_calls import Unauthorized
from broker.thrift.secret import Admission

_log = structlog.get_logger(__name__)

MOST_CONNECTIONS: Final = 600
ADMISSION_TIMEOUT: Final = 5.0
_UNREADABLE: Final = "a peer sent what cannot be read"

Answer = Callable[[Mapping[str, Any], str], Mapping[str, Any]]
"""Returns the answer to a message of a peer that is admitted, and where it is. Raises ValueError for a message that
cannot be read.
"""


@dataclass(frozen=True, slots=True)
class _Terms:
    """What all sessions share; timeouts in seconds."""

    security: PeerSecurity
    answer: Answer
    idle_timeout: float
    on_made: Callable[[PeerSession], None]
    on_lost: Callable[[PeerSession], None]
    lines: LineLimit


class PeerSession(asyncio.Protocol):
    """A connection that a peer has made."""

    _transport: asyncio.Transport

    def __init__(self, terms: _Terms) -> None:
        self._terms = terms
        security = terms.security
        self._admission = Admission(security.secret, security.new_nonce, security.own_channel)
        self._frames = PeerFrames(MOST_OCTETS if self._admission.is_admitted else STRANGERS_OCTETS)
        self._timer: asyncio.TimerHandle | None = None
        self._is_blocked = False
        self.peer = "?"

    @property
    def is_admitted(self) -> bool:
        """Has the peer proved the secret, or is there none?"""
        return self._admission.is_admitted

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but its base
        peername = transport.get_extra_info("peername")
        self.peer = endpoint(*peername[:2]) if isinstance(peername, tuple) else "?"
        self._wait(ADMISSION_TIMEOUT)
        self._terms.on_made(self)

    def data_received(self, data: bytes) -> None:
        self._frames.feed(data)
        try:
            while not self._is_blocked and (message := self._frames.take()) is not None:
                self._reply(load(message))
        except Unauthorized as error:
            self._warn("a peer is not authorized", str(error))
            self._write({"unauthorized": str(error)})
            self._transport.close()
        except SpeaksTls as error:
            self._warn(_UNREADABLE, str(error))
            self._write({"unauthorized": "without TLS"})  # the caller's TLS takes any answer in the clear as a sign
            self._transport.close()
        except (MalformedFrame, ValueError) as error:
            self._warn(_UNREADABLE, str(error)[:255])
            self.abort()

    def pause_writing(self) -> None:
        """The peer does not read its answers: it has asked for more than one at a time."""
        self._is_blocked = True
        self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if isinstance(exc, ssl.SSLError):
            self._warn(_UNREADABLE, handshake_failure(exc))
        self._terms.on_lost(self)

    def abort(self) -> None:
        """Close without waiting for the peer."""
        self._transport.abort()

    def _reply(self, message: Mapping[str, Any]) -> None:
        if not self._admission.is_admitted or "challenge" in message or "proof" in message:
            self._write(self._admit(message))
            return
        self._wait(self._terms.idle_timeout)
        self._write(self._terms.answer(message, self.peer))

    def _admit(self, message: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the answer to a step of the authentication. Raises `Unauthorized`."""
        if "challenge" in message:
            return {"nonce": self._admission.challenge(_octets(message["challenge"])).hex()}
        if "proof" not in message:
            raise Unauthorized("the first message must be a challenge: this node has a shared secret")
        proof = self._admission.authenticate(_octets(message["proof"]))
        self._frames.limit = MOST_OCTETS
        self._wait(self._terms.idle_timeout)
        return {"proof": proof.hex()}

    def _warn(self, event: str, reason: str) -> None:
        left_out = self._terms.lines.take(asyncio.get_running_loop().time())
        if left_out is not None:
            more = {"lines_left_out": left_out} if left_out else {}
            _log.warning(event, peer=self.peer, reason=reason, **more)

    def _write(self, message: Mapping[str, Any]) -> None:
        self._transport.write(frame(dump(message)))

    def _wait(self, seconds: float) -> None:
        """Close unless something is done within so many seconds; octets that trickle in do not extend it."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, self.abort)


def _octets(text: Any) -> bytes:
    try:
        return bytes.fromhex(text)
    except (TypeError, ValueError):
        raise Unauthorized("what should be octets in hexadecimal digits is something else") from None


class PeerServer:
    """Answers the calls of peers."""

    def __init__(
        self,
        security: PeerSecurity,
        answer: Answer,
        tasks: asyncio.TaskGroup,
        *,
        idle_timeout: float,
        room: Room,
    ) -> None:
        self.sessions: set[PeerSession] = set()
        self._terms = _Terms(security, answer, idle_timeout, self._on_made, self._on_lost, LineLimit())
        self._listener = SocketListener(self._new_session, tasks, room, what="peers")
        self._listener.tls = security.server
        self._is_full = False

    def start(self, sockets: Sequence[socket.socket]) -> None:
        """Accept connections on sockets that are bound. Raises OSError."""
        self._listener.adopt(sockets)
        self._listener.start()

    def stop(self) -> None:
        """Accept no more, and close what is there."""
        self._listener.close()
        for session in tuple(self.sessions):
            session.abort()

    def _new_session(self) -> PeerSession | None:
        if len(self.sessions) >= MOST_CONNECTIONS:
            if not self._is_full:
                _log.warning("too many connections of peers", limit=MOST_CONNECTIONS)
            self._is_full = True
            return None
        self._is_full = False
        return PeerSession(self._terms)

    def _on_made(self, session: PeerSession) -> None:
        self.sessions.add(session)

    def _on_lost(self, session: PeerSession) -> None:
        self.sessions.discard(session)
        self._listener.forget(session)
