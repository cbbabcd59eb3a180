"""The edge between a socket and a connection: contract C10, C26, U10, U11."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from structlog.testing import capture_logs

from broker.amqp.heartbeats import Heartbeats
from broker.codec.constants import FRAME_BODY, HEARTBEAT_FRAME
from broker.codec.methods import (
    BasicConsume,
    BasicPublish,
    BasicQos,
    ChannelFlow,
    ConnectionClose,
    ExchangeDeclare,
    QueueBind,
    QueueDeclare,
)
from broker.codec.properties import BasicProperties
from broker.server.protocol import _peer
from tests.support.edge import Edge, Node
from tests.support.peer import command, raw_frame


async def test_what_a_batch_of_input_brings_is_written_at_once(node: Node) -> None:
    edge = await Edge(node).open()
    writes = edge.transport.writes
    edge.deliver(command(1, ChannelFlow(True)) * 100)
    await node.turn()
    assert edge.transport.writes == writes + 1
    assert len(edge.peer.received()) == 100


async def test_a_lost_client_gives_back_what_it_held(node: Node) -> None:
    edge, other = await Edge(node).open(), await Edge(node).open()
    edge.peer.send(1, BasicConsume(queue="q"))
    await other.publish()
    edge.protocol.connection_lost(ConnectionResetError())
    await node.turn()
    assert node.harness.vhost.queues["q"].ready_count == 1


async def test_a_half_closed_socket_is_closed(node: Node) -> None:
    assert not Edge(node).protocol.eof_received()


async def test_a_client_that_waits_for_a_store_which_is_away_is_told_after_a_while(node: Node) -> None:
    edge = await Edge(node).open()
    node.harness.gate.is_open = False
    edge.peer.send(1, QueueDeclare(queue="d", durable=True))
    edge.protocol.hold("test")
    node.pressure.on_store_state("store unavailable: no answer")
    node.tick(30.0)
    await node.turn()
    text = "INTERNAL_ERROR - the store is unavailable, try again later"
    assert edge.peer.received() == [(0, ConnectionClose(541, text, 0, 0))]


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


async def test_empty_frames_behind_a_handler_count_too(node: Node) -> None:
    edge = await Edge(node).open()
    node.harness.gate.is_open = False
    edge.peer.send(1, QueueDeclare(queue="d", durable=True))
    frames = 0
    while edge.transport.is_reading:
        edge.deliver(raw_frame(FRAME_BODY, 1, b"") * 1000)
        await node.turn()
        frames += 1000
        assert frames <= 40_000


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


async def test_a_client_that_is_read_again_must_be_heard_of(node: Node) -> None:
    edge = await Edge(node).open()
    edge.protocol.hold("alarm")
    node.tick(60.0)
    edge.protocol.release("alarm")
    node.tick(0.5)
    assert edge.transport.is_aborted


async def test_a_client_that_talks_is_looked_at_a_few_times_an_interval(node: Node) -> None:
    edge = await Edge(node).open()
    looks = 0

    class Watched:
        def next_deadline(self) -> float | None:
            return edge.protocol.next_deadline()

        def on_time(self, now: float) -> None:
            nonlocal looks
            looks += 1
            edge.protocol.on_time(now)

    node.timers.forget(edge.protocol)
    node.timers.watch(Watched())
    for _ in range(400):
        node.tick(0.5)
        edge.peer.send(1, ChannelFlow(True))
        await node.turn()
    assert not edge.transport.is_aborted
    assert looks <= 50


async def test_a_client_that_is_lost_while_its_close_is_being_answered_is_watched_no_more(node: Node) -> None:
    edge = await Edge(node).open()
    edge.deliver(command(1, QueueDeclare(queue="mine", exclusive=True)))
    edge.deliver(command(1, ExchangeDeclare(exchange="x", durable=True, auto_delete=True)))
    edge.deliver(command(1, QueueBind(queue="mine", exchange="x")))
    node.harness.gate.is_open = False
    edge.deliver(command(0, ConnectionClose(200, "bye")))
    edge.protocol.connection_lost(None)
    node.harness.gate.is_open = True
    await node.turn()
    assert list(node.harness.vhost.queues) == ["q"]
    assert len(node.timers) == 1


async def test_an_error_in_the_timer_of_one_client_ends_that_client_alone(node: Node) -> None:
    edge, other = await Edge(node).open(), await Edge(node).open()

    class Broken(Heartbeats):
        def is_due(self, now: float, last_sent: float) -> bool:
            raise RuntimeError("a bug")

    edge.protocol.connection._heartbeats = Broken(10.0, 2.0)
    with capture_logs() as logs:
        node.tick(10.0)
    assert (edge.transport.is_aborted, other.transport.is_aborted) == (True, False)
    assert {log["connection"] for log in logs if log["log_level"] == "error"} == {"127.0.0.1:50000"}


async def test_output_that_cannot_be_written_ends_that_client_alone(node: Node) -> None:
    edge = await Edge(node).open()

    def write(data: bytes) -> None:
        raise MemoryError

    edge.transport.write = write  # type: ignore[method-assign]
    edge.deliver(command(1, ChannelFlow(True)))
    await node.turn()
    assert edge.transport.is_aborted


async def test_a_late_loop_gives_clients_another_tick(node: Node) -> None:
    edge = await Edge(node).open()
    node.harness.clock.advance(60.0)
    node.timers.run_due(node.harness.clock.monotonic())
    assert not edge.transport.is_aborted
    node.tick(0.5)
    assert edge.transport.is_aborted


async def test_a_handshake_that_takes_too_long_is_cut_off(node: Node) -> None:
    edge = Edge(node)
    node.tick(9.5)
    assert not edge.transport.is_aborted
    node.tick(0.5)
    assert edge.transport.is_aborted


@pytest.mark.parametrize(
    ("peername", "address", "is_loopback", "host"),
    [
        (("127.0.0.1", 5), "127.0.0.1:5", True, "127.0.0.1"),
        (("127.9.9.9", 5), "127.9.9.9:5", True, "127.9.9.9"),
        (("192.0.2.1", 5), "192.0.2.1:5", False, "192.0.2.1"),
        (("::1", 5, 0, 0), "[::1]:5", True, "::1"),
        (("fe80::1%eth0", 5, 0, 2), "[fe80::1%eth0]:5", False, "fe80::1"),
        (("::ffff:127.0.0.1", 5, 0, 0), "[::ffff:127.0.0.1]:5", True, "127.0.0.1"),
        (("::ffff:192.0.2.1", 5, 0, 0), "[::ffff:192.0.2.1]:5", False, "192.0.2.1"),
        ("/run/socket", "local", True, "local"),
        (None, "local", True, "local"),
    ],
)
def test_a_peer_is_named_and_known_to_be_near_or_far(peername: Any, address: str, is_loopback: bool, host: str) -> None:
    peer = _peer(peername)
    assert (peer.address, peer.is_loopback, peer.host) == (address, is_loopback, host)


async def turns_until_read_again(node: Node, edge: Edge) -> int:
    turns = 0
    while not edge.transport.is_reading:
        await asyncio.sleep(0)
        turns += 1
    return turns


async def test_after_a_large_read_the_others_have_a_turn(node: Node) -> None:
    edge = await Edge(node).open()
    edge.deliver(HEARTBEAT_FRAME * 9000)
    assert not edge.transport.is_reading
    assert await turns_until_read_again(node, edge) == 1


async def test_after_a_large_read_consumers_that_are_behind_have_several(node: Node) -> None:
    edge = await Edge(node).open()
    edge.deliver(command(1, QueueDeclare(queue="q")))
    await node.turn()
    edge.deliver(command(1, BasicQos(prefetch_count=1)) + command(1, BasicConsume(queue="q")))
    edge.deliver(command(1, BasicPublish(routing_key="q"), body=b"m" * 100) * 1000)
    assert await turns_until_read_again(node, edge) == 8


async def wide(node: Node) -> Edge:
    """Return a client that has published one message to more queues than a turn has room for."""
    edge = await Edge(node).open()
    edge.peer.send(1, ExchangeDeclare(exchange="x", type="fanout"))
    for number in range(WIDE):
        edge.deliver(
            command(1, QueueDeclare(queue=str(number))) + command(1, QueueBind(queue=str(number), exchange="x"))
        )
    while len(node.harness.vhost.queues) <= WIDE:
        await node.turn()
    node.harness.broker.work.begin_turn()
    node.harness.broker.work.limit = 50
    edge.peer.send(1, BasicPublish(exchange="x"), BasicProperties(), b"m")
    assert edge.protocol.connection.is_put_off
    return edge


WIDE = 90
"""As many queues as the harness has, whose turns are short here."""


def copies(node: Node) -> int:
    return sum(queue.ready_count for queue in node.harness.vhost.queues.values())


@pytest.fixture
def hasty(node: Node, monkeypatch: pytest.MonkeyPatch) -> Node:
    monkeypatch.setattr("broker.amqp.publishing.COPIES_AT_ONCE", 10)
    return node


async def test_a_socket_is_not_read_while_its_publish_waits_for_further_turns(hasty: Node) -> None:
    edge = await wide(hasty)
    assert copies(hasty) < WIDE
    assert not edge.transport.is_reading
    for _ in range(20):
        await hasty.turn()
    assert copies(hasty) == WIDE
    assert edge.transport.is_reading


async def test_what_was_put_off_waits_for_the_end_of_an_alarm(hasty: Node) -> None:
    hasty.pressure.set_alarm("resources", "low on memory")
    edge = await wide(hasty)
    for _ in range(20):
        await hasty.turn()
    assert copies(hasty) < WIDE
    hasty.pressure.set_alarm("resources", "")
    for _ in range(20):
        await hasty.turn()
    assert copies(hasty) == WIDE
    assert edge.transport.is_reading


async def test_what_was_put_off_is_finished_without_the_peer(hasty: Node) -> None:
    edge = await wide(hasty)
    edge.protocol.connection_lost(None)
    for _ in range(20):
        await hasty.turn()
    assert copies(hasty) == WIDE
