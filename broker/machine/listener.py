"""A listener: it accepts connections while there is room for them, and never stops for want of something (ADR 25).

The event loop's own servers are not used: uvloop's close for good, and without a word, when `accept` fails because
descriptors or memory are short. Knows nothing of protocols.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, Protocol, cast

import structlog

from broker.machine.address import EVERY_ADDRESS, endpoint, network
from broker.machine.faults import MACHINE_FAULTS, kind_of_fault
from broker.machine.handshake_failures import handshake_failure
from broker.machine.line_limit import LineLimit

_log = structlog.get_logger(__name__)

_BACKLOG: Final = 1024
_ACCEPTS_PER_TURN: Final = 64
_TLS_HANDSHAKE_TIMEOUT: Final = 5.0
_TLS_SHUTDOWN_TIMEOUT: Final = 3.0
_AFTER_FAULT: Final = 1.0
"""Seconds until `accept` is tried again that failed for want of something."""
_LOOK_AGAIN: Final = 0.02
"""Seconds until a listener that is full of strangers looks whether one has gone."""
_SAY_AGAIN: Final = 10.0
"""Seconds between two log lines of one kind about connections that were not served."""
_MAKES_ROOM: Final = "connections that do not log in make room for others"


class Client(Protocol):
    """The protocol object of a connection, as a listener sees it. It is an `asyncio.Protocol`, too."""

    @property
    def is_admitted(self) -> bool:
        """Has the peer shown who it is? Asked from `connection_made` on."""
        ...

    def abort(self) -> None:
        """Close without waiting for the peer."""
        ...


@dataclass(frozen=True, slots=True)
class Room:
    """What connections may use up."""

    descriptors: int = 1 << 20
    """A connection whose descriptor is not below this number is refused."""
    strangers: int = 512
    """Connections that are not admitted yet. The next ones wait in the system's backlog."""
    stranger_timeout: float = 1.0
    """Seconds after which the oldest stranger must make room for the next connection."""
    crowd_timeout: float | None = None
    """Seconds after which, while all places are taken, the oldest of the address that has the most of them makes room
    for a connection from elsewhere. Further ones from that address are closed then, so that nobody waits behind them.
    None: all wait, for many clients may come from one address.
    """


@dataclass(slots=True)
class _Stranger:
    """A connection that was not seen to be admitted."""

    since: float
    connecting: asyncio.Task[None]
    shakes_hands: bool
    host: str

    def end(self, client: Client) -> None:
        """Close the connection."""
        if self.connecting.done():
            client.abort()
        else:
            self.give_up()

    def give_up(self) -> None:
        """End a TLS handshake. A plain connection is made in a turn of the loop, and aborted then: uvloop does not tell
        the protocol of its end when it is cancelled after `connection_made`.
        """
        if self.shakes_hands:
            self.connecting.cancel()


@asynccontextmanager
async def trying(host: str, port: int) -> AsyncIterator[Sequence[Any]]:
    """Open all addresses of `host` as a listener does, and close them after the block, which gets the sockets' names.

    Raises OSError.
    """
    sockets = await _bind(_host(host), port)
    try:
        for each in sockets:
            each.listen(1)
        yield [each.getsockname() for each in sockets]
    finally:
        for each in sockets:
            each.close()


class SocketListener:
    """Accepts connections on the addresses of one host name."""

    def __init__(
        self, new_client: Callable[[], Client | None], tasks: asyncio.TaskGroup, room: Room, *, what: str
    ) -> None:
        """`new_client` returns the protocol object of a new connection, or None when there is no room for it.

        `what` names the listener in the log.
        """
        self.tls: ssl.SSLContext | None = None
        """With a context connections begin with a TLS handshake. Another one is for those that come later."""
        self._new_client = new_client
        self._tasks = tasks
        self._room = room
        self._what = what
        self._sockets: list[socket.socket] = []
        self._loop: asyncio.AbstractEventLoop
        self._is_accepting = False
        self._pause: asyncio.TimerHandle | None = None
        self._strangers: OrderedDict[Client, _Stranger] = OrderedDict()
        self._unsaid: dict[str, int] = {}
        self._say_at: dict[str, float] = {}
        self._handshakes = LineLimit()

    async def bind(self, host: str, port: int) -> Sequence[Any]:
        """Bind all addresses of `host`, of both families where it has them; return the sockets' names.

        The empty name, `*` and `::` are every address of the machine. For port 0 the system chooses one.

        Raises OSError.
        """
        self._loop = asyncio.get_running_loop()
        self._sockets = await _bind(_host(host), port)
        return [each.getsockname() for each in self._sockets]

    def adopt(self, sockets: Sequence[socket.socket]) -> None:
        """Accept on copies of sockets that are bound already; `close` leaves the sockets themselves open."""
        self._loop = asyncio.get_running_loop()
        self._sockets = [each.dup() for each in sockets]
        for each in self._sockets:
            each.setblocking(False)

    def start(self) -> None:
        """Accept connections. Raises OSError."""
        for each in self._sockets:
            each.listen(_BACKLOG)
        self._accept_again()

    def close(self) -> None:
        """Accept no more connections, and give up those that are being made."""
        self._stop_accepting()
        if self._pause is not None:
            self._pause.cancel()
        for each in self._sockets:
            each.close()
        self._sockets = []
        for stranger in self._strangers.values():
            stranger.give_up()
        self._strangers.clear()

    @property
    def is_open(self) -> bool:
        """Does it have sockets?"""
        return bool(self._sockets)

    def forget(self, client: Client) -> None:
        """The connection is gone."""
        self._strangers.pop(client, None)

    @property
    def strangers(self) -> int:
        """How many connections were not seen to be admitted."""
        return len(self._strangers)

    # Accepting

    def _accept_again(self) -> None:
        self._pause = None
        self._is_accepting = True
        for each in self._sockets:
            self._loop.add_reader(each, self._on_readable, each)

    def _stop_accepting(self) -> None:
        if self._is_accepting:
            self._is_accepting = False
            for each in self._sockets:
                self._loop.remove_reader(each)

    def _wait(self, seconds: float) -> None:
        self._stop_accepting()
        self._pause = self._loop.call_later(seconds, self._accept_again)

    def _on_readable(self, listening: socket.socket) -> None:
        if not self._has_place():  # one is waiting, so that nobody makes room for nothing
            if self._room.crowd_timeout is not None:
                for each in self._sockets:
                    if self._is_accepting:
                        self._accept_beside_a_crowd(each, self._room.crowd_timeout)
            if self._is_accepting:
                self._wait(_LOOK_AGAIN)
            return
        for _ in range(min(_ACCEPTS_PER_TURN, self._room.strangers - len(self._strangers))):
            if (accepted := self._accept(listening)) is None:
                return
            self._welcome(*accepted)

    def _accept(self, listening: socket.socket) -> tuple[socket.socket, Any] | None:
        """Return the next connection and who made it, None when there is none."""
        try:
            return listening.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return None
        except MACHINE_FAULTS as error:
            self._say("connections cannot be accepted", reason=kind_of_fault(error))
            self._wait(_AFTER_FAULT)
            return None

    def _has_place(self) -> bool:
        """Is there a place for one more stranger? The oldest one gives its place up when it has had it for long."""
        strangers = self._strangers
        while len(strangers) >= self._room.strangers:
            client, oldest = next(iter(strangers.items()))
            if not (oldest.connecting.done() and client.is_admitted):
                if self._loop.time() - oldest.since < self._room.stranger_timeout:
                    return self._room.crowd_timeout is not None and self._forget_admitted()
                self._say(_MAKES_ROOM, limit=self._room.strangers, host=oldest.host)
                oldest.end(client)
            strangers.pop(client, None)
        return True

    def _forget_admitted(self) -> bool:
        """Take their places from those that are no strangers any more. Return whether one is free."""
        for client in [each for each, one in self._strangers.items() if one.connecting.done() and each.is_admitted]:
            del self._strangers[client]
        return len(self._strangers) < self._room.strangers

    def _accept_beside_a_crowd(self, listening: socket.socket, crowd_timeout: float) -> None:
        """Let those in that come from elsewhere than where most places are held from, and close what else comes from
        there. All wait while no network has more than one place, or those that it has are not held for long.
        """
        networks = Counter(network(stranger.host) for stranger in self._strangers.values())
        hosts = Counter(stranger.host for stranger in self._strangers.values())
        found: tuple[Client, _Stranger] | None = None
        for _ in range(_ACCEPTS_PER_TURN):
            if found is None:  # looked for once for all that are closed
                (largest, _), *_ = networks.most_common(1)
                found = self._oldest_of(largest, hosts)
            client, oldest = found
            most = hosts[oldest.host]
            if networks[largest] <= 1 or self._loop.time() - oldest.since < crowd_timeout:
                return
            if (accepted := self._accept(listening)) is None:
                return
            connection, peer = accepted
            self._say(_MAKES_ROOM, limit=self._room.strangers, host=oldest.host, places=most)
            origin = network(peer[0])
            shares_with_crowd = networks[origin] + 1 >= networks[largest]
            if shares_with_crowd and (origin != largest or hosts[peer[0]] + 1 >= most):
                connection.close()
                continue
            oldest.end(client)
            self._strangers.pop(client, None)
            found = None
            networks[largest] -= 1
            hosts[oldest.host] -= 1
            networks[origin] += 1
            hosts[peer[0]] += 1
            self._welcome(connection, peer)

    def _oldest_of(self, origin: str, hosts: Counter[str]) -> tuple[Client, _Stranger]:
        """Return the oldest stranger of that address of a network which has the most places."""
        those = [(client, one) for client, one in self._strangers.items() if network(one.host) == origin]
        most = max(hosts[one.host] for _, one in those)
        return next((client, one) for client, one in those if hosts[one.host] == most)

    def _welcome(self, connection: socket.socket, peer: Any) -> None:
        if connection.fileno() >= self._room.descriptors:
            self._say("connections are refused: too few file descriptors are left", limit=self._room.descriptors)
            connection.close()
            return
        client = self._new_client()
        if client is None:
            connection.close()
            return
        connection.setblocking(False)
        arrival = self._connect(connection, client, peer, self.tls)
        try:
            task = self._tasks.create_task(arrival)
        except RuntimeError:  # the task group is ending: the node stops
            arrival.close()
            connection.close()
        else:
            self._strangers[client] = _Stranger(self._loop.time(), task, self.tls is not None, peer[0])

    async def _connect(self, connection: socket.socket, client: Client, peer: Any, tls: ssl.SSLContext | None) -> None:
        """Make the transport; with TLS, shake hands."""
        try:
            await self._loop.connect_accepted_socket(
                lambda: cast(asyncio.Protocol, client),
                connection,
                ssl=tls,
                ssl_handshake_timeout=None if tls is None else _TLS_HANDSHAKE_TIMEOUT,
                ssl_shutdown_timeout=None if tls is None else _TLS_SHUTDOWN_TIMEOUT,
            )
        except MACHINE_FAULTS as error:
            self.forget(client)
            if tls is None:
                reason = str(error) or repr(error)
                _log.debug("a connection could not be set up", what=self._what, peer=_name(peer), reason=reason)
            elif (left_out := self._handshakes.take(self._loop.time())) is not None:
                say = (
                    _log.info if isinstance(error, ConnectionError) else _log.warning
                )  # who looks for ports says nothing
                more = {"lines_left_out": left_out} if left_out else {}
                reason = handshake_failure(error)
                say("a TLS handshake has failed", what=self._what, peer=_name(peer), reason=reason, **more)
        except Exception as error:
            self.forget(client)
            _log.error("internal error with a new connection", what=self._what, peer=_name(peer), exc_info=error)
        else:
            if client not in self._strangers:  # given up meanwhile, or gone already
                client.abort()

    def _say(self, event: str, **details: object) -> None:
        """Log a warning, not too often, with how many times it was so."""
        times = self._unsaid[event] = self._unsaid.get(event, 0) + 1
        now = self._loop.time()
        if now >= self._say_at.get(event, 0.0):
            self._say_at[event] = now + _SAY_AGAIN
            self._unsaid[event] = 0
            _log.warning(event, what=self._what, times=times, **details)


def _host(host: str) -> str | None:
    return None if host in ("", "*", EVERY_ADDRESS) else host


def _name(peer: Any) -> str:
    return endpoint(*peer[:2])


async def _bind(host: str | None, port: int) -> list[socket.socket]:
    try:
        numeric = socket.SOCK_STREAM, 0, socket.AI_PASSIVE | socket.AI_NUMERICHOST  # asks nobody
        found = socket.getaddrinfo(host, port, 0, *numeric)
    except socket.gaierror:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    sockets: list[socket.socket] = []
    failure: OSError | None = None
    for family, kind, protocol, _, address in dict.fromkeys(found):
        try:
            sockets.append(_bound(family, kind, protocol, (address[0], port, *address[2:])))
        except OSError as error:
            if error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                for each in sockets:
                    each.close()
                raise
            failure = error  # a family that this machine has not switched on
        else:
            port = sockets[-1].getsockname()[1]  # the port that the system has chosen, for the other addresses as well
    if not sockets:
        raise failure or OSError(errno.EADDRNOTAVAIL, f"no address is known for '{host}'")
    return sockets


def _bound(family: int, kind: int, protocol: int, address: Any) -> socket.socket:
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setblocking(False)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind(address)
    except BaseException:
        bound.close()
        raise
    return bound
