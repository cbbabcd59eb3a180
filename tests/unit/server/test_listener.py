"""The edge between a socket and a connection: contract C10, C14, C15, C26, §2.4.6 and §2.4.7."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from broker.clock import SystemClock
from broker.codec.constants import PROTOCOL_HEADER
from broker.codec.methods import (
    BasicConsume,
    BasicPublish,
    BasicQos,
    ChannelFlow,
    ConnectionBlocked,
    ConnectionClose,
    ConnectionCloseOk,
    ConnectionStart,
    ConnectionUnblocked,
    QueueDeclare,
    TxCommit,
    TxSelect,
)
from broker.codec.properties import BasicProperties
from broker.errors import StoreUnavailable
from broker.server.listener import AmqpServer, _peer
from tests.support.clock import FakeClock
from tests.support.edge import Edge, Node
from tests.support.peer import Peer, command


@pytest.fixture
def node() -> Iterator[Node]:
    node = Node()
    yield node
    node.harness.stage.run()


async def test_what_a_batch_of_input_brings_is_written_at_once(node: Node) -> None:
    edge = await Edge(node).open()
    writes = edge.transport.writes
    edge.deliver(command(1, ChannelFlow(True)) * 100)
    await node.turn()
    assert edge.transport.writes == writes + 1
    assert len(edge.peer.received()) == 100


async def test_a_connection_that_has_ended_is_closed_after_its_last_words(node: Node) -> None:
    edge = Edge(node)
    edge.deliver(b"GET / HTTP/1.1\r\n")
    await node.turn()
    assert edge.peer.protocol_header == PROTOCOL_HEADER
    assert edge.transport.is_closed
    assert not edge.transport.is_aborted


async def test_the_node_knows_its_clients_while_they_are_there(node: Node) -> None:
    edge = Edge(node)
    assert node.server.protocols == {edge.protocol}
    edge.protocol.connection_lost(None)
    assert node.server.protocols == set()
    await node.turn()


async def test_a_lost_client_gives_back_what_it_held(node: Node) -> None:
    edge, other = await Edge(node).open(), await Edge(node).open()
    edge.peer.send(1, BasicConsume(queue="q"))
    await other.publish()
    edge.protocol.connection_lost(ConnectionResetError())
    await node.turn()
    assert node.harness.vhost.queues["q"].ready_count == 1


async def test_a_half_closed_socket_is_closed(node: Node) -> None:
    assert not Edge(node).protocol.eof_received()


# Back-pressure


async def test_a_publisher_is_not_read_while_the_journal_is_full(node: Node) -> None:
    edge, other = await Edge(node).open(), await Edge(node).open()
    node.harness.journal.is_full = True
    await edge.publish()
    other.peer.send(1, ChannelFlow(True))
    assert (edge.transport.is_reading, other.transport.is_reading) == (False, True)
    node.server.on_journal_full(True)
    assert not edge.transport.is_reading
    node.server.on_journal_full(False)
    assert edge.transport.is_reading


async def test_an_alarm_blocks_a_publisher_at_its_next_publish_and_tells_it(node: Node) -> None:
    edge, consumer = await Edge(node).open(), await Edge(node).open()
    node.server.set_alarm("resources", "low on memory")
    await node.turn()
    assert edge.peer.received() == []
    await edge.publish()
    consumer.peer.send(1, ChannelFlow(True))
    assert edge.peer.received() == [(0, ConnectionBlocked("low on memory"))]
    assert (edge.transport.is_reading, consumer.transport.is_reading) == (False, True)
    node.server.set_alarm("resources", "")
    await node.turn()
    assert edge.peer.received() == [(0, ConnectionUnblocked())]
    assert edge.transport.is_reading


async def test_an_alarm_is_told_to_publishers_that_wait_for_the_journal_already(node: Node) -> None:
    edge, other = await Edge(node).open(), await Edge(node).open()
    node.harness.journal.is_full = True
    await edge.publish()
    node.server.set_alarm("resources", "low on memory")
    await node.turn()
    assert edge.peer.received() == [(0, ConnectionBlocked("low on memory"))]
    assert other.peer.received() == []
    node.server.on_journal_full(False)
    assert not edge.transport.is_reading
    node.server.set_alarm("resources", "")
    await node.turn()
    assert edge.peer.received() == [(0, ConnectionUnblocked())]
    assert edge.transport.is_reading


async def test_an_alarm_blocks_a_publisher_of_transactions_too(node: Node) -> None:
    edge = await Edge(node).open()
    node.server.set_alarm("resources", "low on memory")
    edge.peer.send(1, TxSelect())
    await edge.publish()
    assert edge.transport.is_reading
    edge.peer.send(1, TxCommit())
    await node.turn()
    edge.peer.send(1, ChannelFlow(True))
    assert not edge.transport.is_reading


async def test_an_alarm_that_changes_its_reason_goes_on(node: Node) -> None:
    edge = await Edge(node).open()
    node.server.set_alarm("resources", "low on memory")
    await edge.publish()
    node.server.set_alarm("resources", "low on memory & disk")
    assert not edge.transport.is_reading


async def test_alarms_of_two_sources_are_told_together_and_end_with_the_last(node: Node) -> None:
    edge = await Edge(node).open()
    node.server.set_alarm("resources", "low on memory")
    node.server.on_store_state("store unavailable: no answer")
    await edge.publish()
    assert edge.peer.received() == [(0, ConnectionBlocked("low on memory; store unavailable: no answer"))]
    node.server.set_alarm("resources", "")
    await node.turn()
    assert not edge.transport.is_reading
    assert node.server.alarm == "store unavailable: no answer"
    node.server.on_store_state("")
    await node.turn()
    assert edge.peer.received() == [(0, ConnectionUnblocked())]
    assert edge.transport.is_reading


async def test_a_burst_is_stopped_within_one_read(node: Node) -> None:
    edge = await Edge(node).open()
    node.server.on_store_state("store unavailable: no answer")
    edge.deliver(command(1, BasicPublish(routing_key="q"), body=b"m" * 100) * 1000)
    await node.turn()
    assert not edge.transport.is_reading
    assert node.harness.vhost.queues["q"].ready_count == 1000


async def test_a_client_that_waits_for_a_store_which_is_away_is_told_after_a_while(node: Node) -> None:
    edge = await Edge(node).open()
    node.harness.gate.is_open = False
    edge.peer.send(1, QueueDeclare(queue="d", durable=True))
    edge.protocol.hold("test")
    node.server.on_store_state("store unavailable: no answer")
    node.tick(30.0)
    await node.turn()
    text = "INTERNAL_ERROR - the store is unavailable, try again later"
    assert edge.peer.received() == [(0, ConnectionClose(541, text, 0, 0))]


async def test_reading_resumes_when_no_reason_is_left(node: Node) -> None:
    edge = await Edge(node).open()
    node.harness.journal.is_full = True
    node.server.set_alarm("resources", "low on disk")
    await edge.publish()
    node.server.set_alarm("resources", "")
    assert not edge.transport.is_reading
    node.server.on_journal_full(False)
    assert edge.transport.is_reading
    edge.protocol.release("journal full")


async def test_reading_stops_while_too_much_waits_behind_a_handler(node: Node) -> None:
    edge = await Edge(node).open()
    node.harness.gate.is_open = False
    edge.peer.send(1, QueueDeclare(queue="d", durable=True))
    for _ in range(50):
        edge.peer.send(1, BasicPublish(routing_key="q"), BasicProperties(), b"x" * 100_000)
    await node.turn()
    assert not edge.transport.is_reading
    node.harness.gate.is_open = True
    await node.turn()
    assert edge.transport.is_reading


async def test_a_socket_that_is_closing_is_neither_paused_nor_resumed(node: Node) -> None:
    edge = await Edge(node).open()
    edge.transport.close()
    edge.protocol.hold("alarm")
    edge.protocol.release("alarm")
    assert edge.transport.is_reading


async def test_a_full_socket_takes_the_credit_of_its_consumers(node: Node) -> None:
    edge, other = await Edge(node).open(), await Edge(node).open()
    edge.peer.send(1, BasicConsume(queue="q", no_ack=True))
    await node.turn()
    edge.protocol.pause_writing()
    await other.publish()
    assert node.harness.vhost.queues["q"].ready_count == 1
    edge.protocol.resume_writing()
    await node.turn()
    assert [content.body for content in edge.peer.received_content()] == [b"m"]


async def test_a_large_backlog_is_written_as_the_socket_takes_it(node: Node) -> None:
    edge, other = await Edge(node).open(), await Edge(node).open()
    for _ in range(40):
        await other.publish(b"x" * 100_000)
    edge.transport.is_stuck = True
    edge.peer.send(1, BasicConsume(queue="q", no_ack=True))
    await node.turn()
    assert 1_000_000 < edge.transport.buffered < 2_500_000
    edge.transport.buffered = 0
    edge.protocol.resume_writing()
    await node.turn()
    assert edge.transport.buffered > 1_000_000


async def test_a_client_that_asks_and_does_not_read_is_not_read(node: Node) -> None:
    edge = await Edge(node).open()
    edge.transport.buffered = 17 * 1024 * 1024
    edge.peer.send(1, ChannelFlow(True))
    await node.turn()
    assert not edge.transport.is_reading
    edge.transport.buffered = 0
    edge.protocol.resume_writing()
    assert edge.transport.is_reading


# Time


async def test_a_silent_client_is_cut_off(node: Node) -> None:
    edge = await Edge(node).open()
    node.tick(20.0)
    assert not edge.transport.is_aborted
    node.tick(0.5)
    assert edge.transport.is_aborted


async def test_heartbeats_go_out(node: Node) -> None:
    edge = await Edge(node).open()
    node.tick(5.0)
    await node.turn()
    assert edge.peer.heartbeats == 1


async def test_a_client_that_is_not_read_is_not_silent(node: Node) -> None:
    edge = await Edge(node).open()
    edge.protocol.hold("alarm")
    node.tick(60.0)
    assert not edge.transport.is_aborted


async def test_a_late_loop_gives_clients_another_tick(node: Node) -> None:
    edge = await Edge(node).open()
    node.harness.clock.advance(60.0)
    node.server.tick(node.harness.clock.monotonic())
    assert not edge.transport.is_aborted
    node.tick(0.5)
    assert edge.transport.is_aborted


async def test_a_handshake_that_takes_too_long_is_cut_off(node: Node) -> None:
    edge = Edge(node)
    node.tick(9.5)
    assert not edge.transport.is_aborted
    node.tick(0.5)
    assert edge.transport.is_aborted


# The end


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
        assert edge.transport.is_closed
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


@pytest.mark.parametrize("error", [StoreUnavailable("away"), RuntimeError("a bug")])
async def test_a_fault_in_one_clients_task_ends_nothing_else(node: Node, error: Exception) -> None:
    async def fail() -> None:
        raise error

    node.server.spawn(fail())
    await node.turn()


async def test_a_real_socket_is_served(node: Node) -> None:
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


@pytest.mark.parametrize(
    ("peername", "address", "is_loopback"),
    [
        (("127.0.0.1", 5), "127.0.0.1:5", True),
        (("127.9.9.9", 5), "127.9.9.9:5", True),
        (("192.0.2.1", 5), "192.0.2.1:5", False),
        (("::1", 5, 0, 0), "[::1]:5", True),
        (("fe80::1%eth0", 5, 0, 2), "[fe80::1%eth0]:5", False),
        (("::ffff:127.0.0.1", 5, 0, 0), "[::ffff:127.0.0.1]:5", True),
        (("::ffff:192.0.2.1", 5, 0, 0), "[::ffff:192.0.2.1]:5", False),
        ("/run/socket", "local", True),
        (None, "local", True),
    ],
)
def test_a_peer_is_named_and_known_to_be_near_or_far(peername: Any, address: str, is_loopback: bool) -> None:
    peer = _peer(peername)
    assert (peer.address, peer.is_loopback) == (address, is_loopback)


async def test_a_client_that_is_lost_while_the_node_ends_breaks_nothing() -> None:
    async with asyncio.TaskGroup() as tasks:
        server = AmqpServer(SystemClock(), tasks)

    async def release() -> None: ...

    server.spawn(release())


async def turns_until_read_again(node: Node, edge: Edge) -> int:
    turns = 0
    while not edge.transport.is_reading:
        await asyncio.sleep(0)
        turns += 1
    return turns


async def test_after_a_large_read_the_others_have_a_turn(node: Node) -> None:
    edge = await Edge(node).open()
    edge.deliver(command(1, ChannelFlow(True)) * 6000)
    assert not edge.transport.is_reading
    assert await turns_until_read_again(node, edge) == 1


async def test_after_a_large_read_consumers_that_are_behind_have_several(node: Node) -> None:
    edge = await Edge(node).open()
    edge.deliver(command(1, QueueDeclare(queue="q")))
    await node.turn()
    edge.deliver(command(1, BasicQos(prefetch_count=1)) + command(1, BasicConsume(queue="q")))
    edge.deliver(command(1, BasicPublish(routing_key="q"), body=b"m" * 100) * 1000)
    assert await turns_until_read_again(node, edge) == 8


def test_the_end_of_large_reads_is_told_once() -> None:
    told: list[float] = []
    clock = FakeClock()
    server = AmqpServer(clock, asyncio.TaskGroup(), lambda: told.append(clock.monotonic()))
    for had_large_reads in (False, True, True, False, False):
        clock.advance(1.0)
        server.had_large_reads = had_large_reads
        server.tick(clock.monotonic())
    assert told == [1004.0]
