"""Messages that were given back and wait before they are delivered again: contract F13."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from broker.codec.method import Method
from broker.codec.methods import (
    BasicAck,
    BasicConsume,
    BasicDeliver,
    BasicGet,
    BasicGetEmpty,
    BasicGetOk,
    BasicNack,
    BasicRecover,
    BasicReject,
    ChannelClose,
    ChannelOpen,
    QueueDelete,
    QueuePurge,
    QueuePurgeOk,
)
from broker.codec.properties import BasicProperties
from tests.support.harness import Client, Harness
from tests.unit.amqp.test_channel_ttl import declare, ready, stored

PERSISTENT = BasicProperties(delivery_mode=2)


def retrying(harness: Harness, kind: str = "all", **arguments: object) -> Client:
    return declare(harness.peer(), delayed_retry_type=kind, delayed_retry_min=1000, **arguments)


def is_ready_after(harness: Harness, peer: Client, seconds: float) -> bool:
    """Is nothing there just before that time, and a message just after it? It is fetched."""
    harness.pass_time(seconds - 0.002)
    is_early = ready(peer) > 0
    harness.pass_time(0.02)
    return not is_early and isinstance(peer.call(1, BasicGet(queue="q")), BasicGetOk)


RETURNS: list[Callable[[], list[Method]]] = [
    lambda: [BasicNack(1)],
    lambda: [BasicNack(0, True)],
    lambda: [BasicReject(1, True)],
    lambda: [BasicRecover(True)],
]


@pytest.mark.parametrize("kind", ["all", "returned"])
@pytest.mark.parametrize("methods", RETURNS)
def test_a_message_that_is_given_back_waits(harness: Harness, kind: str, methods: Callable[[], list[Method]]) -> None:
    peer = retrying(harness, kind)
    peer.publish("q", b"m")
    peer.call(1, BasicGet(queue="q"))
    for method in methods():
        peer.send(1, method)
    assert is_ready_after(harness, peer, 1.0)


@pytest.mark.parametrize("kind", ["all", "failed"])
def test_a_message_whose_client_is_gone_waits(harness: Harness, kind: str) -> None:
    peer = retrying(harness, kind)
    peer.publish("q", b"m")
    peer.call(1, BasicGet(queue="q"))
    peer.send(1, ChannelClose(0, ""))
    peer.send(1, ChannelOpen())
    assert is_ready_after(harness, peer, 1.0)


def test_only_the_ways_back_that_the_type_names_make_a_message_wait(harness: Harness) -> None:
    peer = retrying(harness, "failed")
    peer.publish("q", b"m")
    peer.call(1, BasicGet(queue="q"))
    peer.send(1, BasicNack(1))
    assert ready(peer) == 1
    other = declare(harness.peer(), "r", delayed_retry_type="returned", delayed_retry_min=1000)
    other.publish("r", b"m")
    other.call(1, BasicGet(queue="r"))
    other.lose()
    assert ready(peer, "r") == 1


@pytest.mark.parametrize("arguments", [{"delayed_retry_type": "disabled", "delayed_retry_min": 1000}, {}])
def test_other_queues_let_nothing_wait(harness: Harness, arguments: dict[str, object]) -> None:
    peer = declare(harness.peer(), **arguments)
    peer.publish("q", b"m")
    peer.call(1, BasicGet(queue="q"))
    peer.send(1, BasicNack(1))
    assert ready(peer) == 1


def test_the_delay_grows_with_the_number_of_deliveries_up_to_a_maximum(harness: Harness) -> None:
    peer = retrying(harness, delayed_retry_max=2500)
    peer.publish("q", b"m")
    peer.call(1, BasicGet(queue="q"))
    for tag, seconds in enumerate((1.0, 2.0, 2.5, 2.5), 1):
        peer.send(1, BasicNack(tag))
        assert is_ready_after(harness, peer, seconds)


def test_without_a_maximum_all_delays_are_equal(harness: Harness) -> None:
    peer = retrying(harness)
    peer.publish("q", b"m")
    peer.call(1, BasicGet(queue="q"))
    for tag in range(1, 4):
        peer.send(1, BasicNack(tag))
        assert is_ready_after(harness, peer, 1.0)


def test_others_are_delivered_meanwhile_and_consumers_get_the_message_afterwards(harness: Harness) -> None:
    peer = retrying(harness)
    peer.publish("q", b"1")
    peer.send(1, BasicConsume(queue="q", consumer_tag="c"))
    peer.send(1, BasicNack(1))
    peer.publish("q", b"2")
    peer.received()
    assert peer.bodies() == [b"1", b"2"]
    harness.pass_time(1.1)
    assert peer.received() == [(1, BasicDeliver("c", 3, True, "", "q"))]
    assert peer.bodies() == [b"1"]


def test_a_message_over_the_delivery_limit_does_not_wait(harness: Harness) -> None:
    peer = retrying(harness, delivery_limit=0)
    peer.publish("q", b"m", properties=PERSISTENT)
    harness.commit()
    peer.call(1, BasicGet(queue="q"))
    peer.send(1, BasicNack(1))
    harness.commit()
    harness.pass_time(5)
    assert (ready(peer), stored(harness)) == (0, 0)


def test_what_waits_is_not_purged_and_goes_with_its_queue(harness: Harness) -> None:
    peer = retrying(harness)
    peer.publish("q", b"m", properties=PERSISTENT)
    harness.commit()
    peer.call(1, BasicGet(queue="q"))
    peer.send(1, BasicNack(1))
    assert peer.call(1, QueuePurge(queue="q")) == QueuePurgeOk(0)
    queue = harness.vhost.queues["q"]
    assert (queue.unacked_count, len(harness.broker.held_ids(queue))) == (1, 1)
    peer.send(1, QueueDelete(queue="q"))
    harness.commit()
    harness.pass_time(5)
    assert (queue.unacked_count, stored(harness)) == (0, 0)


def test_a_node_that_stops_lets_nothing_wait(harness: Harness) -> None:
    peer = retrying(harness)
    peer.publish("q", b"m")
    peer.call(1, BasicGet(queue="q"))
    peer.send(1, BasicNack(1))
    queue = harness.vhost.queues["q"]
    queue.end_delays()
    assert (queue.ready_count, queue.unacked_count, harness.broker.held_ids(queue)) == (1, 0, [])


def test_a_message_in_its_delay_can_be_answered_by_nobody(harness: Harness) -> None:
    peer = retrying(harness)
    peer.publish("q", b"m")
    peer.call(1, BasicGet(queue="q"))
    peer.send(1, BasicNack(1))
    peer.send(1, BasicAck(1))
    assert peer.received()[-1][1].__class__ is ChannelClose
    assert declare(harness.peer(), "other").call(1, BasicGet(queue="q")) == BasicGetEmpty()
