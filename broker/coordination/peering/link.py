"""A connection to a peer: one call at a time, and no further call after a failure.

It proves the cluster's secret when it is made. It sets no timeout: the caller cancels a call that takes too long.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final, cast

from broker.coordination.peering.frames import ADVICE, MOST_OCTETS, MalformedFrame, PeerFrames, frame
from broker.coordination.peering.greeting import dump, load
from broker.coordination.peering.security import PeerSecurity
from broker.errors import CoordinationError
from broker.machine.host_names import HostNames, connect
from broker.ports.peer_calls import Unauthorized
from broker.thrift.secret import SharedSecret, check_server

_IN_THE_CLEAR: Final = ("WRONG_VERSION_NUMBER", "UNKNOWN_PROTOCOL", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE")
"""OpenSSL's names for an answer that is no TLS."""


class LinkLost(CoordinationError):
    """The connection ended before the answer came, or what came was none."""


class PeerLink(asyncio.Protocol):
    """A connection to one address."""

    _transport: asyncio.Transport

    def __init__(self) -> None:
        self._frames = PeerFrames(MOST_OCTETS)
        self._answer: asyncio.Future[bytes] | None = None
        self.is_usable = True
        self._has_heard = False
        self._is_in_the_clear = True

    @classmethod
    async def open(cls, host: str, port: int, security: PeerSecurity, names: HostNames) -> PeerLink:
        """Connect; with a secret, prove it and check the peer's proof. Raises OSError, LinkLost and Unauthorized."""
        try:
            link = await connect(names, cls, host, port, security.client)
        except ssl.SSLError as error:
            if error.reason in _IN_THE_CLEAR:
                raise LinkLost(f"it speaks no TLS, and this node does, beyond loopback: {ADVICE}") from error
            raise LinkLost(f"the TLS handshake has failed ({error.reason or error})") from error
        link._is_in_the_clear = security.client is None
        if security.secret is not None:
            try:
                await link._prove(security, security.secret)
            except BaseException:
                link.close()
                raise
        return link

    async def _prove(self, security: PeerSecurity, secret: SharedSecret) -> None:
        channel = security.channel_to(self._transport.get_extra_info("ssl_object"))
        own = security.new_nonce()
        other = _octets(await self.call({"challenge": own.hex()}), "nonce")
        proof = secret.client_proof(own, other, channel)
        check_server(secret, _octets(await self.call({"proof": proof.hex()}), "proof"), own, other, channel)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but its base
        with suppress(OSError):
            raw = transport.get_extra_info("socket")
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data: bytes) -> None:
        self._has_heard = True
        self._frames.feed(data)
        try:
            message = self._frames.take()
        except MalformedFrame as error:
            self._fail(str(error))
            return
        if self._answer is None or self._answer.done():
            self._fail("the peer sent what nobody asked for")
        elif message is not None:
            self._answer.set_result(message)

    def connection_lost(self, exc: Exception | None) -> None:
        reason = str(exc) if exc else "the peer closed the connection"
        if isinstance(exc, ssl.SSLError):
            reason = f"the peer sent what is no TLS ({exc.reason or exc})"
        if self._is_in_the_clear and not self._has_heard:
            reason += ", and had said nothing: it may speak TLS, as beyond loopback, which this node does not"
        self._fail(reason)

    def is_to(self, address: str) -> bool:
        """Does it lead to this address?"""
        peername = self._transport.get_extra_info("peername")
        return not isinstance(peername, tuple) or _without_zone(peername[0]) == _without_zone(address)

    def close(self) -> None:
        """Close without waiting for the peer."""
        self._fail("the connection was closed")

    async def call(self, message: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the peer's answer. Raises Unauthorized, and LinkLost, after which the link is of no use."""
        if not self.is_usable:
            raise LinkLost("the connection was closed")
        self._answer = asyncio.get_running_loop().create_future()
        try:
            self._transport.write(frame(dump(message)))
            answer = load(await self._answer)
        except ValueError as error:
            self.close()
            raise LinkLost(str(error)) from error
        except BaseException:
            self.close()
            raise
        finally:
            self._answer = None
        if "unauthorized" in answer:
            self.close()
            raise Unauthorized(str(answer["unauthorized"])[:255])
        return answer

    def _fail(self, reason: str) -> None:
        self.is_usable = False
        self._transport.abort()
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(LinkLost(reason))


def _octets(answer: Mapping[str, Any], name: str) -> bytes:
    try:
        return bytes.fromhex(answer[name])
    except (KeyError, TypeError, ValueError) as error:
        raise Unauthorized("the peer has answered something else: it may have no shared secret") from error


def _without_zone(address: str) -> str:
    return address.partition("%")[0]
