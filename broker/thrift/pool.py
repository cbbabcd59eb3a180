"""A pool of connections to one address.

It limits the number of connections and the duration of a call, and repeats a call once when its connection is lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final

from broker.clock import Clock
from broker.errors import CoordinationError
from broker.machine.address import endpoint
from broker.machine.faults import MACHINE_FAULTS
from broker.machine.host_names import HostNames
from broker.ports.peer_calls import NotCoordinator, PeerUnreachable, Unauthorized, Unavailable
from broker.thrift.breaker import CircuitBreaker
from broker.thrift.connection import ClientConnection, ConnectionLost
from broker.thrift.secret import SharedSecret

CONNECT_TIMEOUT: Final = 2.0
CALL_TIMEOUT: Final = 5.0
# A long poll keeps one connection busy, so other calls need a second one.
LEAST_SIZE: Final = 2


class Pool:
    """Up to `size` connections to one address, made when needed and kept while they are usable."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        size: int,
        reconnect_timeout: float,
        clock: Clock,
        secret: SharedSecret | None,
        new_nonce: Callable[[], bytes],
        connect_timeout: float,
        names: HostNames,
    ) -> None:
        self.host = host
        self.port = port
        self._clock = clock
        self._secret = secret
        self._new_nonce = new_nonce
        self._connect_timeout = connect_timeout
        self._names = names
        self._breaker = CircuitBreaker(reconnect_timeout)
        self._size = max(size, LEAST_SIZE)
        self._free = asyncio.Semaphore(self._size)
        self._idle: list[ClientConnection] = []
        self._busy: set[ClientConnection] = set()
        self._calls = 0
        self._last_failure = ""
        self._is_retired = False
        self._is_closed = False

    async def call(self, method: str, arguments: Mapping[str, Any], call_timeout: float) -> Any:
        """Return the peer's answer within `call_timeout` seconds.

        Raises the peer's own errors, and `PeerUnreachable` when there is no answer.
        """
        if self._breaker.is_open(self._clock.monotonic()):
            raise PeerUnreachable(f"{self._last_failure}; it is tried again soon")
        is_waiting = True
        try:
            async with asyncio.timeout(call_timeout), self._free:
                is_waiting = False
                self._calls += 1
                try:
                    answer = await self._call_or_repeat(method, arguments)
                finally:
                    self._calls -= 1
        except (NotCoordinator, Unavailable):
            self._breaker.on_answer()
            raise
        except TimeoutError as error:
            if is_waiting:
                raise PeerUnreachable(f"all {self._size} connections to {self._name} are busy") from error
            raise self._failed(f"{self._name} has not answered {method} in time") from error
        except Unauthorized as error:
            raise Unauthorized(str(self._failed(f"{self._name}: {error}"))) from error
        except (*MACHINE_FAULTS, ConnectionLost, CoordinationError) as error:
            raise self._failed(f"{self._name} has not answered {method}: {error}") from error
        self._breaker.on_answer()
        return answer

    @property
    def is_in_use(self) -> bool:
        """Whether calls are under way."""
        return self._calls > 0

    def retire(self) -> None:
        """Close the idle connections and make no new ones; calls under way go on to their end."""
        self._is_retired = True
        for connection in self._idle:
            connection.close()
        self._idle.clear()

    def close(self) -> None:
        """Close every connection; calls under way fail."""
        self._is_closed = True
        self.retire()
        for connection in tuple(self._busy):
            connection.close()

    @property
    def _name(self) -> str:
        return f"thrift peer {endpoint(self.host, self.port)}"

    def _failed(self, text: str) -> PeerUnreachable:
        self._breaker.on_failure(self._clock.monotonic())
        self._last_failure = text
        return PeerUnreachable(text)

    async def _call_or_repeat(self, method: str, arguments: Mapping[str, Any]) -> Any:
        """Call on an idle connection or a new one; when the connection is lost, repeat the call once on a new one."""
        connection = self._take_idle() or await self._connect()
        try:
            return await self._call_on(connection, method, arguments)
        except ConnectionLost:
            if self._is_retired:
                raise
        return await self._call_on(await self._connect(), method, arguments)

    async def _call_on(self, connection: ClientConnection, method: str, arguments: Mapping[str, Any]) -> Any:
        self._busy.add(connection)
        try:
            if self._is_closed:
                raise ConnectionLost("the pool is closed")
            return await connection.call(method, arguments)
        finally:
            self._busy.discard(connection)
            if connection.is_usable and not self._is_retired:
                self._idle.append(connection)
            else:
                connection.close()

    def _take_idle(self) -> ClientConnection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_usable:
                return connection
        return None

    async def _connect(self) -> ClientConnection:
        if self._is_retired:
            raise ConnectionLost("the pool is closed")
        try:
            async with asyncio.timeout(self._connect_timeout):
                return await ClientConnection.open(self.host, self.port, self._secret, self._new_nonce, self._names)
        except TimeoutError as error:
            raise OSError(f"no connection within {self._connect_timeout:g} s") from error
