"""The client side of one Thrift connection: one call at a time, and no further call after a failure.

It proves the shared secret when it connects. It sets no timeout: the caller cancels a call that takes too long.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping
from typing import Any, cast

from broker.errors import CoordinationError
from broker.machine.host_names import HostNames, connect
from broker.thrift import convert, idl
from broker.thrift.secret import SharedSecret, check_server
from broker.thrift.wire import CALL, EXCEPTION, REPLY, MalformedMessage, MessageReader, ThriftMessage


class ConnectionLost(Exception):
    """The connection ended before the answer came."""


class ClientConnection(asyncio.Protocol):
    """A connection to one peer.

    A failed or cancelled call closes it: a late answer could be taken for the answer to the next call.
    """

    __slots__ = ("_reader", "_reply", "_sequence_id", "_transport", "is_usable")

    _transport: asyncio.Transport

    def __init__(self) -> None:
        self._reader = MessageReader()
        self._reply: asyncio.Future[ThriftMessage] | None = None
        self._sequence_id = 0
        self.is_usable = True

    @classmethod
    async def open(
        cls, host: str, port: int, secret: SharedSecret | None, new_nonce: Callable[[], bytes], names: HostNames
    ) -> ClientConnection:
        """Connect; with a secret, prove it to the peer and check the peer's proof.

        Raises OSError, ConnectionLost and Unauthorized.
        """
        # asyncio connects, not thriftpy2: that would block a thread while the peer is silent.
        connection = await connect(names, cls, host, port)
        if secret is not None:
            try:
                client_nonce = new_nonce()
                server_nonce = await connection.call("challenge", {"clientNonce": client_nonce})
                proof = {"clientProof": secret.client_proof(client_nonce, server_nonce)}
                check_server(secret, await connection.call("authenticate", proof), client_nonce, server_nonce)
            except BaseException:
                connection.close()
                raise
        return connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but its base
        raw = transport.get_extra_info("socket")
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        try:
            message = self._reader.take()
        except MalformedMessage as error:
            self._fail(CoordinationError(f"the peer sent a malformed message: {error}"))
            return
        if self._reply is None or self._reply.done():
            self._fail(ConnectionLost("the peer sent what nobody asked for"))
        elif message is not None:
            self._reply.set_result(message)

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(ConnectionLost(str(exc) if exc else "the peer closed the connection"))

    def close(self) -> None:
        """Close without waiting for the peer."""
        self._fail(ConnectionLost("the connection was closed"))

    async def call(self, method: str, arguments: Mapping[str, Any]) -> Any:
        """Return the answer of the peer.

        Raises the errors that the IDL declares, after which the connection stays usable; CoordinationError for an
        invalid answer and ConnectionLost, both of which close it.
        """
        if not self.is_usable:
            raise ConnectionLost("the connection was closed")
        call = idl.arguments(method)
        for name, value in arguments.items():
            setattr(call, name, value)
        self._sequence_id += 1
        self._reply = asyncio.get_running_loop().create_future()
        try:
            self._transport.write(idl.encode(method, CALL, self._sequence_id, call))
            result = self._result_of(method, await self._reply)
        except BaseException:
            self.close()
            raise
        finally:
            self._reply = None
        if (error := convert.error_of(result)) is not None:
            raise error
        return getattr(result, "success", None)

    def _result_of(self, method: str, reply: ThriftMessage) -> Any:
        if reply.name != method or reply.sequence_id != self._sequence_id or not self._reader.is_empty:
            raise CoordinationError(f"the answer to {method} is out of step: {reply.name} {reply.sequence_id}")
        try:
            if reply.kind == EXCEPTION:
                raise CoordinationError(f"{method}: {idl.decode_error(reply.body)}")
            if reply.kind != REPLY:
                raise CoordinationError(f"the answer to {method} has the type {reply.kind}")
            result = idl.decode(idl.result(method), reply.body)
        except MalformedMessage as error:
            raise CoordinationError(f"the answer to {method} cannot be read: {error}") from error
        if 0 in result.thrift_spec and result.success is None and convert.error_of(result) is None:
            raise CoordinationError(f"the answer to {method} is empty")
        return result

    def _fail(self, error: Exception) -> None:
        self.is_usable = False
        self._transport.abort()
        if self._reply is not None and not self._reply.done():
            self._reply.set_exception(error)
