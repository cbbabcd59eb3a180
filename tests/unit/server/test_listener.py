"""The server: its clients, its listeners and its end: contract C14."""

from __future__ import annotations

import asyncio
import socket

from broker.codec.constants import PROTOCOL_HEADER
from broker.codec.methods import (
    BasicAck,
    BasicGet,
    BasicPublish,
    ConnectionClose,
    ConnectionCloseOk,
    ConnectionStart,
    TxCommit,
    TxCommitOk,
    TxRollback,
    TxRollbackOk,
    TxSelect,
)
from broker.codec.properties import BasicProperties
from broker.server.back_pressure import BackPressure
from broker.server.listener import AmqpServer
from broker.server.relief import Relief
from broker.server.timers import Timers
from broker.server.turns import Turns
from broker.turn_budget import TurnBudget
from tests.support.clock import FakeClock
from tests.support.edge import Edge, Node
from tests.support.harness import Harness
from tests.support.peer import Peer, command


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
        clock,
        Harness().shared,
        BackPressure(),
        timers,
        Turns(TurnBudget()),
        asyncio.TaskGroup(),
        lambda: told.append(clock.monotonic()),
    )
    for had_large_reads in (False, True, True, False, False):
        clock.advance(1.0)
        server.had_large_reads = had_large_reads
        timers.run_due(clock.monotonic())
    assert told == [1004.0]


def test_memory_is_looked_at_when_large_reads_have_brought_much(node: Node) -> None:
    looks: list[None] = []
    clock = FakeClock()
    server = AmqpServer(
        clock,
        Harness().shared,
        BackPressure(),
        Timers(clock.monotonic),
        Turns(TurnBudget()),
        asyncio.TaskGroup(),
        on_intake=lambda: looks.append(None),
    )
    for _ in range(1000):
        server.on_large_read(100_000)
    assert len(looks) == 11


async def test_what_blocked_clients_cannot_finish_does_not_keep_an_alarm_up_for_ever() -> None:
    node = Node(Relief(500_000, timeout=5.0))
    waiting, holding, other = [await Edge(node).open() for _ in range(3)]
    half = command(1, BasicPublish(routing_key="q"), BasicProperties(), b"x" * 900_000)
    holding.deliver(half[:600_000])
    waiting.deliver(half[:400_000])
    node.pressure.set_alarm("resources", "low on memory")
    node.tick(4.5)
    await node.turn()
    assert holding.peer.received() == []
    node.tick(1.0)
    await node.turn()
    ((_, close),) = holding.peer.received()
    assert isinstance(close, ConnectionClose)
    assert close.reply_code == 506
    assert holding.protocol.connection.unfinished_octets < 131_072
    assert waiting.peer.received() == other.peer.received() == []
    node.pressure.set_alarm("resources", "")
    waiting.deliver(half[400_000:])
    await node.turn()
    assert node.harness.vhost.queues["q"].ready_count == 1


async def test_a_client_may_roll_back_and_acknowledge_during_an_alarm_that_its_transaction_keeps_up(node: Node) -> None:
    edge = await Edge(node).open()
    await edge.publish()
    edge.peer.send(1, BasicGet(queue="q"))
    edge.peer.send(1, TxSelect())
    await edge.publish(b"x" * 100_000)
    assert edge.protocol.connection.unfinished_octets > 100_000
    node.pressure.set_alarm("resources", "low on memory")
    edge.peer.send(1, TxRollback())
    edge.peer.send(1, BasicAck(1))
    edge.peer.send(1, TxCommit())
    await node.turn()
    node.harness.commit()
    await node.turn()
    assert [method for _, method in edge.peer.received()][-2:] == [TxRollbackOk(), TxCommitOk()]
    assert edge.protocol.connection.unfinished_octets == 0
    assert edge.transport.is_reading
