"""One client's connection through the proxy: its two sockets and what is under way between them.

Knows asyncio's protocol calls; must not know why the proxy wants what it wants.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections import deque
from typing import Protocol

TAIL = 256  # octets remembered to find a pattern that comes in pieces
MOST_HELD = 1 << 20  # octets under way in one direction; then the sender must wait, as it would for a network
RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Cut(Protocol):
    """What a link asks of a cut."""

    is_after: bool


class Rules(Protocol):
    """What a link asks of its proxy."""

    delay: float
    is_hanging: bool
    links: set[Link]
    transports: set[asyncio.Transport]
    """All that are open: a socket that is not read is otherwise known to nobody once its link is forgotten."""

    def cut_for(self, tail: bytes, data: bytes) -> Cut | None: ...


class End(asyncio.Protocol):
    """One of the two sockets: passes its events to the link, and holds what it has received and not passed on."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.transport: asyncio.Transport | None = None
        self.held: deque[tuple[float, bytes | None]] = deque()  # when due, octets; empty for an end, none for a reset
        self.size = 0
        self.has_ended = False
        self.is_full = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.link.rules.transports.add(transport)
        self.link.made(self)

    def data_received(self, data: bytes) -> None:
        self.link.received(self, data)

    def eof_received(self) -> bool:
        self.has_ended = True
        self.link.received(self, b"")
        return True

    def connection_lost(self, error: Exception | None) -> None:
        if self.transport is not None:
            self.link.rules.transports.discard(self.transport)
        self.transport = None
        if error is not None:
            self.link.received(self, None)

    def pause_writing(self) -> None:
        self.is_full = True
        self.link.go_on()

    def resume_writing(self) -> None:
        self.is_full = False
        self.link.go_on()

    def read_if(self, may_read: bool) -> None:
        if self.transport is None or self.has_ended:
            return
        if may_read:
            self.transport.resume_reading()
        else:
            self.transport.pause_reading()

    def write(self, data: bytes) -> None:
        """Send octets, or the end of the stream when there are none."""
        if self.transport is None or self.transport.is_closing():
            return
        if data:
            self.transport.write(data)
        else:
            with contextlib.suppress(OSError):
                self.transport.write_eof()

    def reset(self) -> None:
        """Close so that the other side sees `connection reset`."""
        self.held.clear()
        if self.transport is not None:
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            self.transport.abort()

    def close(self) -> None:
        if self.transport is not None:
            self.transport.close()


class Link:
    """Passes octets between a client and the server in order, each direction by itself."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self._loop = asyncio.get_running_loop()
        self.client = End(self)
        self._server = End(self)
        self._tail = b""
        self._ends_passed = 0
        self._is_closed = False
        self._has_lost_client = False
        self.connecting: asyncio.Task[None] | None = None
        rules.links.add(self)

    async def connect(self, host: str, port: int) -> None:
        """Connect to the server; reset the client when that is not possible."""
        try:
            await self._loop.create_connection(lambda: self._server, host, port)
        except OSError:
            self.client.reset()
            self._forget()

    def made(self, end: End) -> None:
        """Note that one socket is connected."""
        if self._is_closed:
            end.reset()
        else:
            self.go_on()

    def received(self, source: End, data: bytes | None) -> None:
        """Take what a socket has received: octets, its end without any, or its reset."""
        if self._is_closed:
            return
        if self._has_lost_client:
            self._answered(data)
            return
        earliest = source.held[-1][0] if source.held else 0.0
        source.held.append((max(earliest, self._loop.time() + self.rules.delay), data))
        source.size += len(data or b"")
        self.go_on()

    def go_on(self) -> None:
        """Pass on what is due, and let sockets read or wait."""
        for source, sink in ((self.client, self._server), (self._server, self.client)):
            self._pump(source, sink)
            source.read_if(not self.rules.is_hanging and not sink.is_full and source.size < MOST_HELD)

    def _pump(self, source: End, sink: End) -> None:
        while source.held and sink.transport is not None and not self.rules.is_hanging:
            due, data = source.held[0]
            if due > self._loop.time():
                self._loop.call_at(due, self.go_on)
                return
            source.held.popleft()
            source.size -= len(data or b"")
            self._pass_on(source, sink, data)

    def _pass_on(self, source: End, sink: End, data: bytes | None) -> None:
        if data is None:
            self.reset()
        elif data and source is self.client and (cut := self.rules.cut_for(self._tail, data)):
            self._cut(cut, data)
        elif data:
            sink.write(data)
            if source is self.client:
                self._tail = (self._tail + data.lower())[-TAIL:]
        else:
            self._pass_end(sink)

    def _cut(self, cut: Cut, data: bytes) -> None:
        if not cut.is_after:
            self.reset()
            return
        self._has_lost_client = True
        self.client.reset()
        self._server.held.clear()
        self._server.write(data)

    def _answered(self, data: bytes | None) -> None:
        """End the server's side in an orderly way, so that it reads everything it was sent."""
        if data:
            self._server.write(b"")
        else:
            self.reset()

    def _pass_end(self, sink: End) -> None:
        self._ends_passed += 1
        if self._ends_passed == 1:
            sink.write(b"")
            return
        self._forget()
        self.client.close()
        self._server.close()

    def reset(self) -> None:
        """Reset both sides and drop what is under way."""
        if self.connecting is not None:
            self.connecting.cancel()
        self.client.reset()
        self._server.reset()
        self._forget()

    def _forget(self) -> None:
        self._is_closed = True
        self.rules.links.discard(self)
