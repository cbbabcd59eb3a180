"""Servers and raw peers on loopback, for as long as a test needs them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from broker.ports.cluster import SlotService
from broker.thrift.client import SlotClient
from broker.thrift.secret import SharedSecret
from broker.thrift.server import ThriftServer
from tests.support.clock import FakeClock

HOST = "127.0.0.1"
SECRET = SharedSecret("a secret of the whole cluster")
OTHER_SECRET = SharedSecret("a secret of another cluster")


@dataclass(slots=True)
class Served:
    server: ThriftServer
    port: int


@asynccontextmanager
async def serving(service: SlotService, **options: Any) -> AsyncIterator[Served]:
    """A server of `service` on a port of its own."""
    async with asyncio.TaskGroup() as tasks:
        server = ThriftServer(service, tasks, **options)
        try:
            yield Served(server, await server.listen(HOST, 0))
        finally:
            await server.stop()


@asynccontextmanager
async def calling(port: int, clock: FakeClock | None = None, **options: Any) -> AsyncIterator[SlotClient]:
    """A client of the server at `port`."""
    client = SlotClient(HOST, port, clock=clock or FakeClock(), **options)
    try:
        yield client
    finally:
        client.close()


class RawPeer:
    """A socket that says what it is told to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def receive(self, count: int) -> bytes:
        async with asyncio.timeout(5):
            return await self.reader.readexactly(count)

    async def receive_to_the_end(self) -> bytes:
        """Return what comes until the other side closes, however it does."""
        received = bytearray()
        async with asyncio.timeout(5):
            try:
                while data := await self.reader.read(4096):
                    received += data
            except ConnectionResetError:
                pass
        return bytes(received)

    async def close(self) -> None:
        self.writer.transport.abort()
        with suppress(OSError):
            await self.writer.wait_closed()


@asynccontextmanager
async def raw_peer(port: int) -> AsyncIterator[RawPeer]:
    """A raw connection to the server at `port`."""
    peer = RawPeer(*await asyncio.open_connection(HOST, port))
    try:
        yield peer
    finally:
        await peer.close()


@asynccontextmanager
async def raw_server(serve: Callable[[RawPeer], Awaitable[None]]) -> AsyncIterator[int]:
    """A server that does to each connection what `serve` does, and closes it when that returns."""
    serving: list[asyncio.Task[None]] = []

    async def serve_and_close(peer: RawPeer) -> None:
        try:
            await serve(peer)
        finally:
            await peer.close()

    async with asyncio.TaskGroup() as tasks:
        server = await asyncio.start_server(
            lambda reader, writer: serving.append(tasks.create_task(serve_and_close(RawPeer(reader, writer)))), HOST, 0
        )
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
            for each in serving:
                each.cancel()


async def read_request(peer: RawPeer) -> tuple[bytes, bytes]:
    """Return name and sequence id of the call that comes; what follows is left unread."""
    head = await peer.reader.readexactly(8)
    name = await peer.reader.readexactly(int.from_bytes(head[4:], "big"))
    return name, await peer.reader.readexactly(4)
