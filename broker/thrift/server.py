"""The listener of the slot service: it accepts connections of other nodes up to a limit, and ends them (ADR 18)."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

import structlog

from broker.errors import ConfigError
from broker.machine.address import endpoint, ip_address
from broker.machine.listener import Room, SocketListener
from broker.machine.own_address import own_address
from broker.ports.cluster import SlotService
from broker.thrift.secret import SharedSecret, new_nonce
from broker.thrift.session import Session, Terms

_log = structlog.get_logger(__name__)

MAX_CONNECTIONS: Final = 200
ADMISSION_TIMEOUT: Final = 5.0


class ThriftServer:
    """Serves a `SlotService` to the other nodes, one call at a time on each connection."""

    def __init__(
        self,
        service: SlotService,
        tasks: asyncio.TaskGroup,
        *,
        secret: SharedSecret | None = None,
        idle_timeout: float = 0.0,
        max_connections: int = MAX_CONNECTIONS,
        room: Room | None = None,
        admission_timeout: float = ADMISSION_TIMEOUT,
        new_nonce: Callable[[], bytes] = new_nonce,
    ) -> None:
        """`idle_timeout` is thriftSOTimeout in seconds, `max_connections` thriftServerMaxWorkerThreads."""
        self.sessions: set[Session] = set()
        self._secret = secret
        self._tasks = tasks
        self._max_connections = max_connections
        self._is_full = False
        self._room = room or Room()
        self._listener: SocketListener | None = None
        self._empty = asyncio.Event()
        self._empty.set()
        self._terms = Terms(
            service, secret, idle_timeout, admission_timeout, new_nonce, self._spawn, self._on_made, self._on_lost
        )

    async def listen(self, host: str, port: int) -> int:
        """Listen on the address at which other nodes reach this one and return the port; for port 0 the system chooses.

        Raises ConfigError when the address cannot be bound, when it is a wildcard, which other nodes cannot call, and
        when it is reachable from other machines while there is no shared secret.
        """
        listener = SocketListener(self._new_session, self._tasks, self._room, what="Thrift")
        try:
            names = await listener.bind(host, port)
            require_reachable(host, names, is_authenticated=self._secret is not None)
            listener.start()
        except OSError as error:
            listener.close()
            raise cannot_listen(host, port, error) from error
        except ConfigError:
            listener.close()
            raise
        self._listener = listener
        actual: int = names[0][1]
        _log.info("started thrift listener", address=host, port=actual, authenticated=self._secret is not None)
        return actual

    async def stop(self) -> None:
        """Stop listening, cancel every call and close every connection."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        calls = [session.call for session in self.sessions if session.call is not None]
        for session in tuple(self.sessions):
            session.abort()
        for call in calls:
            call.cancel()
        if calls:
            await asyncio.wait(calls)
        await self._empty.wait()

    def _new_session(self) -> Session | None:
        if len(self.sessions) >= self._max_connections:
            if not self._is_full:
                _log.warning("too many thrift connections", limit=self._max_connections)
            self._is_full = True
            return None
        self._is_full = False
        return Session(self._terms)

    def _on_made(self, session: Session) -> None:
        self.sessions.add(session)
        self._empty.clear()

    def _on_lost(self, session: Session) -> None:
        self.sessions.discard(session)
        if self._listener is not None:
            self._listener.forget(session)
        if not self.sessions:
            self._empty.set()

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None] | None:
        try:
            return self._tasks.create_task(coroutine)
        except RuntimeError:  # the task group is ending: the node stops, and no answer is needed
            coroutine.close()
            return None


def cannot_listen(host: str, port: int, error: OSError) -> ConfigError:
    """Return what is to be done when the listener cannot be opened."""
    remedy = "stop what uses the port or change coordination/thriftServerHost or thriftServerPort"
    if error.errno == errno.EADDRNOTAVAIL:
        remedy = f"set coordination/thriftServerHost to an address of this machine, such as {own_address()}"
    return ConfigError(f"cannot listen for nodes on {endpoint(host, port)}: {error.strerror or error}; {remedy}")


def require_reachable(host: str, names: Sequence[Any], *, is_authenticated: bool) -> None:
    """Raise `ConfigError` for a host that is a wildcard, or is beyond loopback without a shared secret; `names` are
    those of its sockets.
    """
    # The bound addresses are checked, not the name: "0" and an empty name are wildcards too.
    addresses = [ip_address(name[0]) for name in names]
    if any(address.is_unspecified for address in addresses):
        raise ConfigError(f"coordination/thriftServerHost '{host}' cannot be reached by other nodes; name one address")
    if not is_authenticated and not all(address.is_loopback for address in addresses):
        raise ConfigError(
            f"coordination/thriftServerHost '{host}' is not loopback, so the nodes need a shared secret; set"
            " coordination/clusterSecret or BROKER_CLUSTER_SECRET, the same on all nodes"
        )
