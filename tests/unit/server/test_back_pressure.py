"""Publishers that must wait: contract C15, U11."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from broker.amqp.publisher_flow import UNDER_WAY
from broker.codec.field_table import FieldTable
from broker.codec.method import frame
from broker.codec.methods import (
    BasicAck,
    BasicConsume,
    BasicPublish,
    ChannelFlow,
    ChannelFlowOk,
    ConnectionBlocked,
    ConnectionClose,
    ConnectionCloseOk,
    ConnectionUnblocked,
    QueueDeclare,
    TxCommit,
    TxSelect,
)
from broker.codec.properties import BasicProperties
from broker.server.back_pressure import BackPressure
from tests.support.edge import Edge, Node
from tests.support.peer import command


async def test_a_publisher_is_not_read_while_the_journal_is_full(node: Node) -> None:
    edge, other = await Edge(node).open(), await Edge(node).open()
    node.harness.journal.is_full = True
    await edge.publish()
    other.peer.send(1, ChannelFlow(True))
    assert (edge.transport.is_reading, other.transport.is_reading) == (False, True)
    node.pressure.on_journal_full(True)
    assert not edge.transport.is_reading
    node.pressure.on_journal_full(False)
    assert edge.transport.is_reading


async def test_an_alarm_blocks_a_publisher_at_its_next_publish_and_tells_it(node: Node) -> None:
    edge, consumer = await Edge(node).open(), await Edge(node).open()
    node.pressure.set_alarm("resources", "low on memory")
    await node.turn()
    assert edge.peer.received() == []
    await edge.publish()
    consumer.peer.send(1, ChannelFlow(True))
    assert edge.peer.received() == [(0, ConnectionBlocked("low on memory"))]
    assert (edge.transport.is_reading, consumer.transport.is_reading) == (False, True)
    node.pressure.set_alarm("resources", "")
    await node.turn()
    assert edge.peer.received() == [(0, ConnectionUnblocked())]
    assert edge.transport.is_reading


async def test_a_client_of_jms_is_asked_by_channel_flow_and_read_on_while_it_obeys(node: Node) -> None:
    edge = await Edge(node).open((), "carbon")
    node.pressure.set_alarm("resources", "low on memory")
    await edge.publish()
    assert edge.peer.received() == [(1, ChannelFlow(False))]
    await edge.publish()
    assert edge.transport.is_reading
    edge.peer.send(1, ChannelFlowOk(False))
    assert edge.transport.is_reading
    node.pressure.set_alarm("resources", "")
    await node.turn()
    assert edge.peer.received() == [(1, ChannelFlow(True))]


@pytest.mark.parametrize("is_answered", [True, False])
async def test_one_that_does_not_obey_is_held_back_by_its_socket(node: Node, is_answered: bool) -> None:
    edge = await Edge(node).open((), "carbon")
    node.pressure.set_alarm("store", "store unavailable")
    await edge.publish()
    if is_answered:
        edge.peer.send(1, ChannelFlowOk(False))
    await edge.publish(b"m" if is_answered else bytes(UNDER_WAY))
    assert not edge.transport.is_reading
    node.pressure.set_alarm("store", "")
    await node.turn()
    assert edge.transport.is_reading
    assert edge.peer.received() == [(1, ChannelFlow(False)), (1, ChannelFlow(True))]


async def test_one_that_sends_a_large_body_in_an_alarm_is_held_back(node: Node) -> None:
    edge = await Edge(node).open((), "carbon")
    node.pressure.set_alarm("resources", "low on disk")
    edge.deliver(command(1, BasicPublish(routing_key="q"), BasicProperties(), bytes(UNDER_WAY + 1))[:-200_000])
    assert not edge.transport.is_reading


async def test_an_alarm_is_told_to_publishers_that_wait_for_the_journal_already(node: Node) -> None:
    edge, other = await Edge(node).open(), await Edge(node).open()
    node.harness.journal.is_full = True
    await edge.publish()
    node.pressure.set_alarm("resources", "low on memory")
    await node.turn()
    assert edge.peer.received() == [(0, ConnectionBlocked("low on memory"))]
    assert other.peer.received() == []
    node.pressure.on_journal_full(False)
    assert not edge.transport.is_reading
    node.pressure.set_alarm("resources", "")
    await node.turn()
    assert edge.peer.received() == [(0, ConnectionUnblocked())]
    assert edge.transport.is_reading


PUBLISH = command(1, BasicPublish(routing_key="q"), body=b"m" * 100)
PUBLISH_FRAME = frame(1, BasicPublish(routing_key="q").encode())


@pytest.mark.parametrize(
    ("before", "publish"),
    [
        (b"", command(1, BasicPublish(routing_key="nobody"), body=b"m")),
        (b"", command(1, BasicPublish(routing_key="nobody", mandatory=True), body=b"m")),
        (b"", command(1, BasicPublish(exchange="amq.fanout"), body=b"m")),
        (b"", command(1, BasicPublish(exchange="amq.headers"), BasicProperties(headers=FieldTable.of({"CC": []})))),
        (frame(1, TxSelect().encode()), PUBLISH),
        (b"", PUBLISH_FRAME),
        (b"", PUBLISH[:-1]),
        (PUBLISH[:-1], b"\xce"),
        (PUBLISH_FRAME, PUBLISH[len(PUBLISH_FRAME) : -108]),
        (PUBLISH_FRAME, PUBLISH[len(PUBLISH_FRAME) :]),
    ],
    ids=[
        "to nobody",
        "to nobody, returned",
        "to an exchange without bindings",
        "to nobody by headers",
        "in a transaction",
        "a method without content",
        "without its end",
        "the end of a body",
        "a header",
        "a header and a body",
    ],
)
async def test_an_alarm_blocks_whoever_publishes_anything(node: Node, before: bytes, publish: bytes) -> None:
    edge = await Edge(node).open()
    edge.deliver(before)
    node.pressure.set_alarm("resources", "low on memory")
    await node.turn()
    edge.deliver(publish)
    await node.turn()
    assert not edge.transport.is_reading
    assert [method for channel, method in edge.peer.received() if not channel] == [ConnectionBlocked("low on memory")]
    node.pressure.set_alarm("resources", "")
    await node.turn()
    assert edge.transport.is_reading
    assert [method for channel, method in edge.peer.received() if not channel] == [ConnectionUnblocked()]


async def test_a_commit_counts_as_a_publish_at_the_next_read(node: Node) -> None:
    edge = await Edge(node).open()
    edge.peer.send(1, TxSelect())
    await edge.publish()
    node.pressure.set_alarm("resources", "low on memory")
    edge.peer.send(1, TxCommit())
    await node.turn()
    edge.peer.send(1, ChannelFlow(True))
    assert not edge.transport.is_reading


async def test_an_alarm_lets_others_than_publishers_go_on(node: Node) -> None:
    edge, publisher = await Edge(node).open(), await Edge(node).open()
    for _ in range(3):
        await publisher.publish()
    node.pressure.set_alarm("resources", "low on memory")
    edge.deliver(command(1, BasicConsume(queue="q")) + command(1, ChannelFlow(True)))
    edge.deliver(command(1, BasicAck(1)) + command(1, BasicAck(3, True)))
    edge.deliver(command(1, TxSelect()) + command(1, TxCommit()) + command(1, QueueDeclare(queue="other")))
    await node.turn()
    assert edge.transport.is_reading
    assert not any(isinstance(method, ConnectionBlocked) for _, method in edge.peer.received())


async def test_an_alarm_that_changes_its_reason_goes_on(node: Node) -> None:
    edge = await Edge(node).open()
    node.pressure.set_alarm("resources", "low on memory")
    await edge.publish()
    node.pressure.set_alarm("resources", "low on memory & disk")
    assert not edge.transport.is_reading


async def test_alarms_of_two_sources_are_told_together_and_end_with_the_last(node: Node) -> None:
    edge = await Edge(node).open()
    node.pressure.set_alarm("resources", "low on memory")
    node.pressure.on_store_state("store unavailable: no answer")
    await edge.publish()
    assert edge.peer.received() == [(0, ConnectionBlocked("low on memory; store unavailable: no answer"))]
    node.pressure.set_alarm("resources", "")
    await node.turn()
    assert not edge.transport.is_reading
    assert node.pressure.alarm == "store unavailable: no answer"
    node.pressure.on_store_state("")
    await node.turn()
    assert edge.peer.received() == [(0, ConnectionUnblocked())]
    assert edge.transport.is_reading


async def test_a_burst_is_stopped_within_one_read(node: Node) -> None:
    edge = await Edge(node).open()
    node.pressure.on_store_state("store unavailable: no answer")
    edge.deliver(PUBLISH * 1000)
    await node.turn()
    assert not edge.transport.is_reading
    queue = node.harness.vhost.queues["q"]
    assert queue.ready_count == 0
    node.pressure.on_store_state("")
    await node.turn()
    assert queue.ready_count == 1000
    await edge.publish()
    assert queue.ready_count == 1001


@pytest.mark.parametrize(("size", "accepted"), [(1, 0), (0, 1)])
async def test_what_is_published_during_an_alarm_waits_unless_its_header_is_all_of_it(
    node: Node, size: int, accepted: int
) -> None:
    edge, newcomer = await Edge(node).open(), Edge(node)
    node.pressure.set_alarm("resources", "low on memory")
    queue = node.harness.vhost.queues["q"]
    await newcomer.open()
    await edge.publish(b"m" * size)
    await newcomer.publish(b"m" * size)
    assert queue.ready_count == 2 * accepted
    node.pressure.set_alarm("resources", "")
    await node.turn()
    assert queue.ready_count == 2


async def test_the_end_of_a_message_that_was_begun_before_an_alarm_is_accepted(node: Node) -> None:
    edge = await Edge(node).open()
    edge.deliver(PUBLISH[:-1])
    node.pressure.set_alarm("resources", "low on memory")
    edge.deliver(PUBLISH[-1:] + PUBLISH)
    await node.turn()
    assert node.harness.vhost.queues["q"].ready_count == 1
    assert not edge.transport.is_reading


async def test_a_blocked_publisher_is_heard_closing(node: Node) -> None:
    edge = await Edge(node).open()
    node.pressure.set_alarm("resources", "low on memory")
    edge.deliver(PUBLISH * 2)
    edge.protocol.connection.force_close("shutdown")
    await node.turn()
    assert [type(method) for _, method in edge.peer.received()] == [ConnectionBlocked, ConnectionClose]
    edge.peer.send(0, ConnectionCloseOk())
    await node.turn()
    assert edge.transport.is_silent
    node.pressure.set_alarm("resources", "")
    await node.turn()
    assert node.harness.vhost.queues["q"].ready_count == 0


async def test_acknowledgements_in_the_read_of_a_publish_wait_with_it(node: Node) -> None:
    edge = await Edge(node).open()
    await edge.publish()
    edge.deliver(command(1, BasicConsume(queue="q")))
    node.pressure.set_alarm("resources", "low on memory")
    edge.deliver(command(1, BasicAck(1)) + PUBLISH + command(1, QueueDeclare(queue="other")))
    await node.turn()
    queues = node.harness.vhost.queues
    assert (queues["q"].unacked_count, "other" in queues) == (0, False)
    node.pressure.set_alarm("resources", "")
    await node.turn()
    await node.turn()
    assert (queues["q"].unacked_count, "other" in queues) == (1, True)


async def test_reading_resumes_when_no_reason_is_left(node: Node) -> None:
    edge = await Edge(node).open()
    node.harness.journal.is_full = True
    node.pressure.set_alarm("resources", "low on disk")
    await edge.publish()
    node.pressure.set_alarm("resources", "")
    assert not edge.transport.is_reading
    node.harness.journal.is_full = False
    node.pressure.on_journal_full(False)
    await node.turn()
    assert edge.transport.is_reading
    edge.protocol.release("journal full")


def free(pressure: BackPressure) -> None:
    pressure.set_alarm("resources", "")
    pressure.on_journal_full(False)


@pytest.mark.parametrize("end", [free, BackPressure.end])
async def test_a_commit_waits_for_room_until_there_is_some_or_the_server_stops(
    end: Callable[[BackPressure], None],
) -> None:
    pressure = BackPressure()
    pressure.set_alarm("resources", "low on memory")
    pressure.on_journal_full(True)
    order: list[str] = []

    async def commit() -> None:
        await pressure.room()
        order.append("goes on")

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(commit())
        await asyncio.sleep(0)
        pressure.on_journal_full(False)
        pressure.on_journal_full(True)
        await asyncio.sleep(0)
        order.append("others")
        end(pressure)
    assert order == ["others", "goes on"]


async def test_a_commit_does_not_wait_while_there_is_room() -> None:
    await asyncio.wait_for(BackPressure().room(), 5)
