"""Publishers that are asked by channel.flow to wait (contract U11, docs/jms.md)."""

from __future__ import annotations

import pytest

from broker.amqp.publisher_flow import FlowLimits, PublisherFlow
from broker.codec.method import Method
from broker.codec.methods import (
    BasicConsume,
    BasicPublish,
    ChannelClose,
    ChannelCloseOk,
    ChannelFlow,
    ChannelOpen,
    ChannelOpenOk,
    QueueDeclare,
    QueueDeclareOk,
    TxSelect,
    TxSelectOk,
)
from broker.codec.properties import BasicProperties
from tests.support.harness import ALL_CAPABILITIES, Client, Harness

PERSISTENT = BasicProperties(delivery_mode=2)
STOP, GO_ON = ChannelFlow(False), ChannelFlow(True)


@pytest.fixture
def harness() -> Harness:
    return Harness(flow=FlowLimits(channel_low=1, channel_high=4, node_low=2, node_high=6))


def client(harness: Harness, *, vhost: str = "carbon", capabilities: tuple[str, ...] = ()) -> Client:
    peer = harness.peer(capabilities=capabilities, vhost=vhost)
    assert peer.call(1, QueueDeclare(queue="q", durable=True)) == QueueDeclareOk("q", 0, 0)
    return peer


def flow_of(harness: Harness) -> PublisherFlow:
    assert harness.shared.flow is not None
    return harness.shared.flow


def methods(peer: Client) -> list[Method]:
    return [method for _, method in peer.received()]


def publish(peer: Client, count: int, properties: BasicProperties = PERSISTENT, *, channel: int = 1) -> None:
    peer.publish("q", *[b"m"] * count, channel=channel, properties=properties)


def test_a_channel_of_which_too_much_waits_for_the_store_is_stopped_until_it_is_stored(harness: Harness) -> None:
    peer = client(harness)
    publish(peer, 3)
    assert methods(peer) == []
    publish(peer, 2)
    assert methods(peer) == [STOP]
    harness.commit()
    assert methods(peer) == [GO_ON]
    assert flow_of(harness).waiting == 0


def test_it_goes_on_only_when_little_waits(harness: Harness) -> None:
    peer, flow = client(harness), flow_of(harness)
    publish(peer, 4)
    last = harness.broker.ids.last
    assert methods(peer) == [STOP]
    backlog = Waiting(last - 1)
    flow._backlog = backlog
    flow.on_stored()
    assert (flow.waiting, methods(peer)) == (2, [])
    backlog.oldest_waiting = last
    flow.on_stored()
    harness.run()
    assert (flow.waiting, methods(peer)) == (1, [GO_ON])


class Waiting:
    """A journal in which this message is the oldest that waits."""

    def __init__(self, oldest: int) -> None:
        self.oldest_waiting: int | None = oldest


def test_what_is_not_stored_does_not_count(harness: Harness) -> None:
    peer = client(harness)
    publish(peer, 5, BasicProperties(delivery_mode=1))
    assert methods(peer) == []


def test_what_consumers_take_before_it_is_stored_does_not_count(harness: Harness) -> None:
    peer = client(harness)
    peer.call(1, BasicConsume(queue="q", consumer_tag="c", no_ack=True))
    publish(peer, 9)
    assert STOP not in methods(peer)


def test_a_transaction_does_not_count(harness: Harness) -> None:
    peer = client(harness)
    assert peer.call(1, TxSelect()) == TxSelectOk()
    publish(peer, 9)
    assert methods(peer) == []


def test_all_channels_together_may_not_wait_for_too_much(harness: Harness) -> None:
    first, second, idle = (client_of(harness, name) for name in ("a", "b", "c"))
    publish(first, 3)
    publish(second, 3)
    assert (methods(first), methods(second)) == ([], [STOP])
    publish(first, 1)
    publish(idle, 1, BasicProperties(delivery_mode=1))
    harness.commit()
    assert (methods(first), methods(second), methods(idle)) == ([STOP, GO_ON], [GO_ON], [])


def client_of(harness: Harness, name: str) -> Client:
    peer = harness.peer(capabilities=(), vhost="carbon")
    peer.call(1, QueueDeclare(queue="q", durable=True))
    return peer


@pytest.mark.parametrize(
    ("vhost", "capabilities"), [("/", ()), ("/", ALL_CAPABILITIES), ("carbon", ("connection.blocked",))]
)
def test_others_are_never_asked(harness: Harness, vhost: str, capabilities: tuple[str, ...]) -> None:
    peer = client(harness, vhost=vhost, capabilities=capabilities)
    [connection] = harness.broker.open_connections
    assert connection.channels[1].flow is None  # type: ignore[attr-defined]
    publish(peer, 9)
    assert methods(peer) == []


def test_a_channel_that_ends_leaves_nothing_behind(harness: Harness) -> None:
    peer, flow = client(harness), flow_of(harness)
    publish(peer, 5)
    assert peer.call(1, ChannelClose(200, "", 0, 0)) == ChannelCloseOk()
    assert flow.waiting == 0
    assert peer.call(1, ChannelOpen()) == ChannelOpenOk()
    publish(peer, 2)
    harness.commit()
    assert (methods(peer), flow.waiting) == ([], 0)


def test_a_body_of_several_frames_is_one_message(harness: Harness) -> None:
    peer = client(harness)
    peer.send(1, BasicPublish(routing_key="q"), PERSISTENT, bytes(1 << 20))
    assert (methods(peer), flow_of(harness).waiting) == ([], 1)
