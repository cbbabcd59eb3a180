"""Publishers that must wait: contract C15, U11."""

from __future__ import annotations

from broker.codec.methods import (
    BasicPublish,
    ChannelFlow,
    ConnectionBlocked,
    ConnectionUnblocked,
    TxCommit,
    TxSelect,
)
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


async def test_an_alarm_blocks_a_publisher_of_transactions_too(node: Node) -> None:
    edge = await Edge(node).open()
    node.pressure.set_alarm("resources", "low on memory")
    edge.peer.send(1, TxSelect())
    await edge.publish()
    assert edge.transport.is_reading
    edge.peer.send(1, TxCommit())
    await node.turn()
    edge.peer.send(1, ChannelFlow(True))
    assert not edge.transport.is_reading


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
    edge.deliver(command(1, BasicPublish(routing_key="q"), body=b"m" * 100) * 1000)
    await node.turn()
    assert not edge.transport.is_reading
    assert node.harness.vhost.queues["q"].ready_count == 1000


async def test_reading_resumes_when_no_reason_is_left(node: Node) -> None:
    edge = await Edge(node).open()
    node.harness.journal.is_full = True
    node.pressure.set_alarm("resources", "low on disk")
    await edge.publish()
    node.pressure.set_alarm("resources", "")
    assert not edge.transport.is_reading
    node.pressure.on_journal_full(False)
    assert edge.transport.is_reading
    edge.protocol.release("journal full")
