"""How a client's socket ends: who still writes reads our last words and the end, no reset (contract C1, C6, G8)."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import trustme
import uvloop

from broker.codec.constants import PROTOCOL_HEADER
from broker.codec.methods import (
    BasicPublish,
    ChannelOpen,
    ConnectionClose,
    ConnectionCloseOk,
    ConnectionOpen,
    ConnectionTuneOk,
    QueueDeclare,
)
from broker.codec.properties import BasicProperties
from tests.support.edge import Edge, Node
from tests.support.harness import ALL_CAPABILITIES, start_ok
from tests.support.peer import Peer, command, raw_frame
from tests.support.virtual_loop import VirtualLoop, run

OPENED = (
    PROTOCOL_HEADER
    + command(0, start_ok(ALL_CAPABILITIES))
    + command(0, ConnectionTuneOk(0, 0, 10))
    + command(0, ConnectionOpen())
    + command(1, ChannelOpen())
)
CLOSE = command(0, ConnectionClose(200, "bye"))
BURST = command(1, BasicPublish(routing_key="q"), BasicProperties(), b"x" * 100_000) * 20
REFUSED = PROTOCOL_HEADER + command(0, start_ok(response=b"\0guest\0wrong"))
LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
LAST_WORDS = {
    "a close": (OPENED + CLOSE, "connection.close-ok"),
    "a broken frame": (OPENED + raw_frame(4, 1, b""), "connection.close"),
    "a frame of 4 GiB": (OPENED + b"\x01\0\x01\xff\xff\xff\xff", "connection.close"),
    "a login that is refused without a word": (REFUSED, "connection.start"),
    "another protocol": (b"GET / HTTP/1.1\r\n", "AMQP"),
}


class Client:
    """A client with a real socket that writes and does not look, and reads in the end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.peer = Peer(writer.write)
        self.names: list[str] = []

    @classmethod
    async def of(cls, node: Node, authority: trustme.CA | None) -> Client:
        """Connect to a new listener of `node`, with TLS if there is an authority."""
        server = client = None
        if authority is not None:
            server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            authority.issue_cert("localhost").configure_cert(server)
            client = ssl.create_default_context()
            authority.configure_trust(client)
        port = await node.server.listen("127.0.0.1", 0, server)
        return cls(
            *await asyncio.open_connection("127.0.0.1", port, ssl=client, server_hostname=client and "localhost")
        )

    async def write(self, data: bytes) -> None:
        """Write `data`, and wait until all of it is on its way."""
        self._writer.transport.set_write_buffer_limits(0)
        self._writer.write(data)
        await self._writer.drain()

    async def read_to(self, last: str) -> None:
        """Read until a method of this name or a protocol header has come, or with "" to the end."""
        while not (last and (last in self.names or self.peer.protocol_header)) and (
            data := await self._reader.read(65_536)
        ):
            self.peer.feed(data)
            self.names += [method.name for _, method in self.peer.received()]

    async def close(self) -> None:
        self._writer.close()
        await self._writer.wait_closed()


def play(loop: str, scene: Callable[[Node], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        node = Node()
        async with asyncio.timeout(5):
            async with node.tasks:
                running = node.tasks.create_task(keep_turning(node))
                await scene(node)
                await node.server.stop("the scene is over", 5.0)
                running.cancel()
            await node.turn()

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(main())


async def keep_turning(node: Node) -> None:
    """Let the coroutines of the node go on."""
    while True:
        node.harness.stage.run()
        await asyncio.sleep(0.001)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("has_tls", [False, True], ids=["TCP", "TLS"])
@pytest.mark.parametrize("said", LAST_WORDS)
def test_a_client_that_still_writes_reads_the_last_words_and_then_the_end(said: str, has_tls: bool, loop: str) -> None:
    words, last = LAST_WORDS[said]

    async def scene(node: Node) -> None:
        client = await Client.of(node, trustme.CA() if has_tls else None)
        await client.write(words + BURST)
        await client.read_to(last if has_tls and loop == "asyncio" else "")
        assert (client.names or [client.peer.protocol_header[:4].decode()])[-1] == last
        if not has_tls:
            await client.write(BURST)
        await client.close()

    play(loop, scene)


# Without sockets


async def ended(node: Node) -> Edge:
    """Return a client whose close has been answered."""
    edge = await Edge(node).open()
    edge.deliver(CLOSE)
    await node.turn()
    assert edge.peer.received() == [(0, ConnectionCloseOk())]
    return edge


async def test_after_the_last_words_our_direction_is_closed_and_the_peer_is_read_on(node: Node) -> None:
    edge = await ended(node)
    assert edge.transport.is_silent
    assert edge.transport.is_reading
    assert not edge.transport.is_closed
    assert not edge.protocol.eof_received()


async def test_a_peer_that_does_not_close_after_the_last_words_is_cut_off(node: Node) -> None:
    edge = await ended(node)
    node.tick(2.5)
    edge.deliver(BURST[:1000])
    assert not edge.transport.is_closed
    node.tick(0.5)
    assert edge.transport.is_aborted


async def test_a_peer_that_does_not_read_its_last_words_has_longer(node: Node) -> None:
    edge = await ended(node)
    edge.transport.buffered = 100
    node.tick(9.5)
    assert not edge.transport.is_closed
    node.tick(0.5)
    assert edge.transport.is_aborted


@pytest.mark.parametrize(
    "last", [CLOSE, raw_frame(4, 1, b""), b"\x03\0\x01\xff\xff\xff\xff", BURST[:70_000] + b"\0" * 60_000]
)
async def test_nothing_is_kept_of_what_comes_after_the_end(node: Node, last: bytes) -> None:
    edge = await Edge(node).open()
    edge.deliver(last)
    await node.turn()
    for start in range(0, len(BURST), 7001):
        edge.deliver(BURST[start : start + 7001])
    reader = edge.protocol.connection.reader
    assert (reader.buffered, reader.held_octets) == (0, 0)
    assert node.harness.vhost.queues["q"].ready_count == 0


async def test_what_comes_after_the_end_of_a_handshake_that_waits_is_not_kept(node: Node) -> None:
    edge = Edge(node)
    edge.deliver(PROTOCOL_HEADER)
    edge.protocol.connection.reader.hold()
    edge.protocol.connection.force_close("shutdown")
    edge.deliver(BURST)
    await node.turn()
    assert edge.protocol.connection.reader.held_octets == 0
    assert edge.transport.is_reading


async def test_nothing_is_kept_while_work_goes_on_after_the_end(node: Node) -> None:
    edge = await ended(node)
    connection = edge.protocol.connection
    left = iter(range(3))
    connection._continuation.put_off(1, (None for _ in left))
    for _ in range(5):
        edge.deliver(BURST)
        await node.turn()
        assert connection.reader.held_octets == 0
    assert next(left, None) is None
    assert not connection.is_put_off
    assert connection.channels == {} or node.harness.vhost.queues["q"].ready_count == 0


async def test_a_client_that_is_held_back_is_read_when_its_connection_closes(node: Node) -> None:
    edge = await Edge(node).open()
    node.pressure.set_alarm("resources", "low on memory")
    edge.protocol.begin_alarm("low on memory")
    edge.protocol.hold("journal full")
    node.pressure.waiting.add(edge.protocol)
    assert not edge.transport.is_reading
    edge.protocol.connection.force_close("shutdown")
    await node.turn()
    assert edge.transport.is_reading
    assert not node.pressure.waiting | node.pressure.blocked
    edge.deliver(BURST + command(0, ConnectionCloseOk()))
    await node.turn()
    assert edge.transport.is_silent


async def test_what_comes_behind_a_close_is_read_though_a_handler_is_busy(node: Node) -> None:
    edge = await Edge(node).open()
    node.harness.gate.is_open = False
    edge.deliver(command(1, QueueDeclare(queue="d", durable=True)))
    for _ in range(3):
        edge.deliver(BURST)
    await node.turn()
    assert not edge.transport.is_reading
    edge.protocol.connection.force_close("shutdown")
    await node.turn()
    edge.deliver(BURST)
    await node.turn()
    assert edge.transport.is_reading
    node.harness.gate.is_open = True
    await node.turn()


async def test_a_client_that_is_dismissed_is_told_why_and_forgotten_at_once(node: Node) -> None:
    edge = await Edge(node).open()
    node.server.abort("the node begins anew")
    assert edge.peer.received() == [(0, ConnectionClose(320, "CONNECTION_FORCED - the node begins anew", 0, 0))]
    assert node.server.protocols == set()
    assert edge.transport.is_silent
    assert not edge.transport.is_closed
    edge.transport.protocol.data_received(BURST)
    assert not edge.transport.protocol.eof_received()
    edge.transport.protocol.connection_lost(None)
    await node.turn()


def test_a_client_that_is_dismissed_and_does_not_close_is_cut_off() -> None:
    async def scene(loop: VirtualLoop) -> None:
        node = Node()
        edge = await Edge(node).open()
        node.server.abort("the node begins anew")
        await asyncio.sleep(2.9)
        assert not edge.transport.is_closed
        await asyncio.sleep(0.2)
        assert edge.transport.is_aborted
        await node.turn()

    run(scene)
