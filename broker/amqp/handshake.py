"""From the protocol header to connection.open: who the client is, and what both sides agree on (contract C1 to C12)."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from enum import IntEnum
from functools import partial
from typing import Any, Final, Protocol, TypeVar

from structlog.typing import FilteringBoundLogger

from broker.amqp.context import SharedContext, Waiting
from broker.amqp.frame_reader import FrameReader
from broker.amqp.output import Output
from broker.amqp.profile import PROFILES, Profile
from broker.auth.access import Access, Permissions
from broker.auth.audit import LOGGED_IN, LOGIN_REFUSED, VHOST_REFUSED, tell
from broker.auth.identity import Identity, LoginResult, shown_user
from broker.auth.sasl import EXTERNAL, credentials, mechanisms
from broker.codec import methods as amqp
from broker.codec.constants import FRAME_MIN_SIZE, PROTOCOL_HEADER
from broker.codec.field_table import FieldTable
from broker.codec.method import Method
from broker.errors import (
    ChannelFault,
    CommandInvalid,
    ConnectionForced,
    InternalError,
    InvalidPath,
    LoginRefused,
    NotAllowed,
    clip,
)
from broker.machine.address import endpoint
from broker.topology.vhost import VirtualHost

_T = TypeVar("_T")

_HELD_LIMIT: Final = 65_536
"""Octets that a client may send behind a step that waits, before it is not read any more."""
_NO_REASON: Final = "there is no such user, or the password is wrong"
_OF_JMS: Final = ("instance", "qpid.client_process")
"""Properties that only WSO2's and Qpid's clients of JMS tell of themselves."""
_LEGACY_HEADER: Final = b"AMQP\x01\x01\x00\x09"

CAPABILITIES: Final = (
    "publisher_confirms",
    "exchange_exchange_bindings",
    "basic.nack",
    "consumer_cancel_notify",
    "connection.blocked",
    "authentication_failure_close",
    "per_consumer_qos",
    "direct_reply_to",
)
"""What connection.start tells clients that this broker serves; a feature that clients look for adds its line."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end of the socket."""

    address: str
    is_loopback: bool
    host: str
    """The address without its port."""
    certificate_user: str = ""
    """The user whom the peer's verified certificate names; nothing when it may not log in by it."""
    port: int = 0
    local_host: str = ""
    """The address that it has connected to."""
    local_port: int = 0
    since_ms: int = 0
    """When it has connected, in milliseconds since 1970."""
    tls: tuple[str, str] | None = None
    """Version and cipher of TLS, if it uses that."""

    @property
    def connection_name(self) -> str:
        """The name by which operators know the connection, as RabbitMQ gives it."""
        return f"{endpoint(self.host, self.port)} -> {endpoint(self.local_host, self.local_port)}"


class HandshakeSink(Protocol):
    """Where the handshake leads."""

    def on_opened(self, vhost: VirtualHost, access: Access) -> None:
        """The client has opened a virtual host; it is told so afterwards."""
        ...

    def on_error(self, error: Exception, channel_id: int, method: int) -> None:
        """A step that waited has failed; `method` is the index of the client's method."""
        ...

    def on_handler_done(self) -> None:
        """A step that waited is done, and what has come in the meantime."""
        ...


class Step(IntEnum):
    """What the client has to send next (invariant I86)."""

    HEADER = 0
    START = 1
    TUNE = 2
    OPEN = 3
    DONE = 4


class Handshake:
    """What is known of one client, growing with every step.

    A step may have to wait for a store. Then nothing more is read until it is done: what comes meanwhile is kept in
    order, and the client is not read any more when that is too much.
    """

    __slots__ = (
        "_asked_vhost",
        "_capabilities",
        "_header",
        "_is_closed",
        "_is_waiting",
        "_log",
        "_output",
        "_profile",
        "_reader",
        "_shared",
        "_sink",
        "channel_max",
        "client_properties",
        "heartbeat",
        "identity",
        "mechanism",
        "peer",
        "step",
    )

    def __init__(
        self,
        shared: SharedContext,
        profile: Profile,
        peer: Peer,
        reader: FrameReader,
        output: Output,
        log: FilteringBoundLogger,
        sink: HandshakeSink,
    ) -> None:
        self._shared = shared
        self._profile = profile
        self.peer = peer
        self._reader = reader
        self._output = output
        self._log = log
        self._sink = sink
        self._header = b""
        self._asked_vhost = ""
        self._capabilities: dict[str, Any] = {}
        self._is_waiting = False
        self._is_closed = False
        self.step = Step.HEADER
        self.client_properties = FieldTable()
        self.identity: Identity | None = None
        self.mechanism = ""
        """How the client has logged in."""
        self.channel_max = shared.broker.limits.channel_max
        self.heartbeat = 0.0

    def receive(self, data: bytes) -> bool:
        """Take octets from the client; return False when they are another protocol's, and the conversation over."""
        if self.step == Step.HEADER:
            rest = self._take_header(data)
            if not rest:
                return rest is not None
            data = rest
        if self._reader.is_held:
            self._reader.keep(data)
        else:
            self._reader.receive(data)
        return True

    @property
    def host(self) -> str:
        """The client's address without its port."""
        return self.peer.host

    @property
    def wants_input(self) -> bool:
        """False while too much waits for a step that is not done."""
        return self._reader.held_octets < _HELD_LIMIT

    def _take_header(self, data: bytes) -> bytes | None:
        """Read the protocol header and begin the conversation (contract C1).

        Returns what follows the header; nothing while it is incomplete, None when it is another protocol's.
        """
        self._header += data
        header = self._header[:8]
        if header in (PROTOCOL_HEADER, _LEGACY_HEADER):
            rest, self._header = self._header[8:], b""
            self.step = Step.START
            properties = self._shared.server_properties[self._profile.name]
            offered = mechanisms(has_certificate=bool(self.peer.certificate_user))
            self._output.send_method(0, amqp.ConnectionStart(0, 9, properties, offered, b"en_US"))
            return rest
        if len(header) < 8 and PROTOCOL_HEADER.startswith(header[:4]):
            return b""
        self._output.send(PROTOCOL_HEADER)
        return None

    def on_method(self, kind: type[Method], payload: bytes) -> None:
        """Take the client's part of a step."""
        step, handler = STEPS[kind]
        if step != self.step:
            raise ChannelFault(f"{kind.name} is not expected now")
        try:
            waiting: Waiting | None = handler(self, kind.decode_arguments(payload, 4, len(payload)))
        except (NotAllowed, InvalidPath) as error:
            self._tell_refusal(error)
            raise
        if waiting is not None:
            self._reader.hold()
            self._is_waiting = True
            self._shared.spawn(self._finish(waiting, kind.index))

    async def _finish(self, waiting: Waiting, method: int) -> None:
        """Do the rest of a step, then read what has come in the meantime."""
        try:
            await waiting
        except Exception as error:
            if isinstance(error, NotAllowed):
                self._tell_refusal(error)
            self._sink.on_error(error, 0, method)
        self._reader.resume()
        self._sink.on_handler_done()
        self._is_waiting = False
        self._detach()

    def _tell_refusal(self, error: Exception) -> None:
        """Log that a virtual host is refused, if one was asked for."""
        if self.step == Step.OPEN and self.identity is not None:
            vhost = clip(self._asked_vhost, 256)
            tell(self._log, VHOST_REFUSED, user=shown_user(self.identity.user), vhost=vhost, reason=str(error))

    def end(self) -> None:
        """The connection ends: a step that waits has no consequence any more."""
        self.step = Step.DONE

    def close(self) -> None:
        """The socket is gone: let go of the connection when no step needs it any more."""
        self.end()
        self._is_closed = True
        self._detach()

    def _detach(self) -> None:
        if self._is_closed and not self._is_waiting:
            del self._sink

    def _on_start_ok(self, method: amqp.ConnectionStartOk) -> Waiting | None:
        self.client_properties = method.client_properties
        capabilities = method.client_properties.values.get("capabilities")
        if isinstance(capabilities, dict):
            self._capabilities = capabilities
        peer, users = self.peer, self._shared.users
        if method.mechanism == EXTERNAL and peer.certificate_user:
            name = peer.certificate_user  # what the response says is no proof of anything
            login = users.known(name, is_loopback=peer.is_loopback)
        else:
            name, password = credentials(method.mechanism, method.response)
            login = users.log_in(name, password, address=peer.host, is_loopback=peer.is_loopback)
        return self._when_known(login, partial(self._on_login, name, method.mechanism))

    def _on_login(self, name: str, mechanism: str, identity: LoginResult) -> None:
        counts = self._shared.broker.logins["amqp091"]
        if not isinstance(identity, Identity):
            counts.failed += 1
            reason = identity.reason if identity is not None else _NO_REASON
            self._shared.broker.churn.auth_failures += 1
            tell(self._log, LOGIN_REFUSED, user=shown_user(name), mechanism=mechanism, reason=reason)
            raise LoginRefused(
                f"Login was refused using authentication mechanism {mechanism}. For details see the broker logfile."
            )
        counts.succeeded += 1
        tell(self._log, LOGGED_IN, user=shown_user(identity.user), mechanism=mechanism)
        self._shared.broker.churn.auth_successes += 1
        self.identity = identity
        self.mechanism = mechanism
        self.step = Step.TUNE
        limits = self._shared.broker.limits
        self._output.send_method(0, amqp.ConnectionTune(limits.channel_max, limits.frame_max, limits.heartbeat))

    def _on_secure_ok(self, method: amqp.ConnectionSecureOk) -> None:
        raise CommandInvalid("no challenge was sent")

    def _on_tune_ok(self, method: amqp.ConnectionTuneOk) -> None:
        limits = self._shared.broker.limits
        frame_max = _negotiated("frame_max", method.frame_max, limits.frame_max, FRAME_MIN_SIZE)
        self.channel_max = _negotiated("channel_max", method.channel_max, limits.channel_max, 1)
        self.heartbeat = float(method.heartbeat)
        self._output.frame_max = self._reader.frame_max = frame_max
        self._reader.body_limit = min(frame_max, limits.max_message_size)
        self.step = Step.OPEN

    def _on_open(self, method: amqp.ConnectionOpen) -> Waiting | None:
        if self.identity is None:
            raise InternalError("connection.open before the login")
        self._asked_vhost = method.virtual_host
        vhost = self._vhost(method.virtual_host)
        permissions = self._shared.access.permissions(self.identity, vhost.name)
        return self._when_known(permissions, partial(self._open, self.identity, vhost))

    def _vhost(self, name: str) -> VirtualHost:
        try:
            return self._shared.broker.vhost(name)
        except NotAllowed as error:
            if self._profile.is_strict:
                raise InvalidPath(str(error)) from error
            raise

    def _open(self, identity: Identity, vhost: VirtualHost, permissions: Permissions) -> None:
        broker = self._shared.broker
        if broker.refusal:  # contract C14
            raise ConnectionForced(broker.refusal)
        limit = broker.limits.max_connections
        if len(broker.open_connections) >= limit:  # contract C12
            raise NotAllowed(f"connection refused: node connection limit ({limit}) is reached")
        self._check_limits(identity.user, vhost)
        self.step = Step.DONE
        self._sink.on_opened(broker.vhost(vhost.name), Access(identity, vhost.name, permissions, self._shared.access))
        self._output.send_method(0, amqp.ConnectionOpenOk())

    def _check_limits(self, user: str, vhost: VirtualHost) -> None:
        """Raise `NotAllowed` when the virtual host, or the user, has as many connections as it may (contract
        C12), or opens them too fast."""
        broker, openings = self._shared.broker, self._shared.openings
        limit = vhost.settings.max_connections
        if 0 <= limit <= sum(connection.vhost == vhost.name for connection in broker.open_connections):
            raise NotAllowed(
                f"access to vhost '{vhost.name}' refused for user '{user}': connection limit ({limit}) is reached"
            )
        limit = self._shared.access.limits(user).max_connections
        if 0 <= limit <= len(broker.connections_of.get(user, ())):
            raise NotAllowed(f"connection refused for user '{user}': user connection limit ({limit}) is reached")
        if openings is not None and not openings.allows(user, self._shared.monotonic()):
            raise NotAllowed(
                f"connection refused for user '{user}': more than {openings.per_second} connections in a second"
            )

    def _when_known(self, answer: _T | Coroutine[Any, Any, _T], then: Callable[[_T], None]) -> Waiting | None:
        """Go on with `then`: now if the answer is there, otherwise when it has been waited for."""
        if isinstance(answer, Coroutine):
            return self._wait(answer, then)
        then(answer)
        return None

    async def _wait(self, answer: Coroutine[Any, Any, _T], then: Callable[[_T], None]) -> None:
        step = self.step
        known = await answer
        if self.step == step:
            then(known)

    @property
    def is_told_of_refusal(self) -> bool:
        """Is the client told that its login is refused? Those of JMS wait for it, and say nothing of capabilities."""
        values = self.client_properties.values
        return self.has_capability("authentication_failure_close") or not values.keys().isdisjoint(_OF_JMS)

    def has_capability(self, name: str) -> bool:
        """Did the client say that it understands this extension?"""
        return self._capabilities.get(name) is True


STEPS: Final[dict[type[Method], tuple[Step, Any]]] = {
    amqp.ConnectionStartOk: (Step.START, Handshake._on_start_ok),
    amqp.ConnectionSecureOk: (Step.START, Handshake._on_secure_ok),
    amqp.ConnectionTuneOk: (Step.TUNE, Handshake._on_tune_ok),
    amqp.ConnectionOpen: (Step.OPEN, Handshake._on_open),
}
"""The methods of the handshake, with the step in which each is expected."""


def _negotiated(name: str, value: int, offered: int, minimum: int) -> int:
    """Check a value of tune-ok against what was offered (contract C9); 0 takes the offer."""
    if value == 0:
        return offered
    if value > offered:
        raise NotAllowed(f"negotiated {name} = {value} is higher than the maximum allowed value ({offered})")
    if value < minimum:
        raise NotAllowed(f"negotiated {name} = {value} is lower than the minimum allowed value ({minimum})")
    return value


def server_properties(version: str, node_id: str, platform: str) -> dict[str, FieldTable]:
    """Return what connection.start tells of this broker, by the name of each profile (contract U1)."""
    return {
        name: FieldTable.of(
            {
                "capabilities": dict.fromkeys(CAPABILITIES, True),
                "product": profile.product,
                "version": profile.version or version,
                "platform": platform,
                "copyright": "The Cordillera authors",
                "information": "Licensed under the Apache License 2.0",
                "cluster_name": node_id,
            }
        )
        for name, profile in PROFILES.items()
    }
