"""The server: its clients, its listeners and its end: contract C14."""

from __future__ import annotations

import asyncio
import socket

from broker.codec.constants import PROTOCOL_HEADER
from broker.codec.methods import (
    ConnectionClose,
    ConnectionCloseOk,
    ConnectionStart,
)
from broker.server.back_pressure import BackPressure
from broker.server.listener import AmqpServer
from broker.server.timers import Timers
from tests.support.clock import FakeClock
from tests.support.edge import Edge, Node
from tests.support.harness import Harness
from tests.support.peer import Peer


async def test_the_node_knows_its_clients_while_they_are_there(node: Node) -> None:
    edge = Edge(node)
    assert node.server.protocols == {edge.protocol}
    edge.protocol.connection_lost(None)
    assert node.server.protocols == set()
    await node.turn()


async def test_stopping_tells_every_client_and_waits_for_them(node: Node) -> None:
    edge = await Edge(node).open()
    stopping = asyncio.get_running_loop().create_future()

    async def stop() -> None:
        await node.server.stop("shutdown", close_timeout=60.0)
        stopping.set_result(None)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(stop())
        await node.turn()
        assert edge.peer.received() == [(0, ConnectionClose(320, "CONNECTION_FORCED - shutdown", 0, 0))]
        assert not stopping.done()
        edge.peer.send(0, ConnectionCloseOk())
        await node.turn()
        assert edge.transport.is_silent
        assert not stopping.done()
        edge.protocol.connection_lost(None)
    assert stopping.done()


async def test_stopping_cuts_off_who_does_not_answer(node: Node) -> None:
    edge = await Edge(node).open()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(node.server.stop("shutdown", close_timeout=0.0))
        await node.turn()
        assert edge.transport.is_aborted
        edge.protocol.connection_lost(None)


async def test_stopping_without_clients_is_done_at_once(node: Node) -> None:
    await node.server.stop("shutdown", close_timeout=60.0)


async def test_a_real_socket_is_served(node: Node) -> None:
    async with node.tasks:
        port = await node.server.listen("127.0.0.1", 0)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(PROTOCOL_HEADER)
        peer = Peer(writer.write)
        while not (received := peer.received()):
            peer.feed(await reader.read(4096))
        assert isinstance(received[0][1], ConnectionStart)
        (protocol,) = node.server.protocols
        assert protocol._transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        writer.close()
        await writer.wait_closed()
        await node.server.stop("shutdown", close_timeout=5.0)


def test_the_end_of_large_reads_is_told_once() -> None:
    told: list[float] = []
    clock = FakeClock()
    timers = Timers(clock.monotonic)
    server = AmqpServer(
        clock, Harness().shared, BackPressure(), timers, asyncio.TaskGroup(), lambda: told.append(clock.monotonic())
    )
    for had_large_reads in (False, True, True, False, False):
        clock.advance(1.0)
        server.had_large_reads = had_large_reads
        timers.run_due(clock.monotonic())
    assert told == [1004.0]
