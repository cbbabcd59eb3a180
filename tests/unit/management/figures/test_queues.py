"""What is told of queues and consumers."""

from __future__ import annotations

from broker.codec.field_table import FieldTable
from broker.codec.methods import (
    BasicAck,
    BasicConsume,
    BasicGet,
    BasicNack,
    BasicQos,
    QueueDeclare,
)
from broker.codec.properties import BasicProperties
from broker.management.figures.queues import (
    consumer_figures,
    definition_figures,
    delivery_figures,
    queue_figures,
)
from broker.management.figures.view import NodeView
from broker.queue.queue import Queue
from tests.support.harness import Client, Harness
from tests.support.shapes import differences


def orders(harness: Harness, peer: Client, arguments: FieldTable | None = None, *, durable: bool = False) -> Queue:
    peer.send(1, QueueDeclare(queue="orders", durable=durable, arguments=arguments or FieldTable()))
    peer.received()
    return harness.vhost.queue("orders")


def stats(view: NodeView, queue: Queue) -> dict[str, int]:
    """Return what is not 0 of the queue's message_stats."""
    return {
        name: value
        for name, value in queue_figures(view, queue)["message_stats"].items()
        if isinstance(value, int) and value
    }


def add_up(view: NodeView) -> None:
    """Let queues know of the last publishes."""
    for _, channel in view.channels():
        channel.counts.read()


def test_an_idle_queue_has_every_key_that_was_recorded(harness: Harness, peer: Client, view: NodeView) -> None:
    assert differences("queue", queue_figures(view, orders(harness, peer))) == {}


def test_a_queue_in_use_has_every_key_that_was_recorded(harness: Harness, peer: Client, view: NodeView) -> None:
    queue = orders(harness, peer)
    peer.send(1, BasicConsume(queue="orders", consumer_tag="c"))
    peer.publish("orders", b"one", b"two")
    assert differences("queue", queue_figures(view, queue)) == {}


def test_without_statistics_a_queue_has_what_was_recorded(harness: Harness, peer: Client, view: NodeView) -> None:
    assert differences("queue_without_statistics", definition_figures(view, orders(harness, peer))) == {}


def test_a_queue_counts_what_comes_and_what_goes_out(harness: Harness, peer: Client, view: NodeView) -> None:
    queue = orders(harness, peer)
    peer.publish("orders", b"1", b"2", b"3", b"4", b"5")
    peer.send(1, BasicGet(queue="orders"))
    peer.send(1, BasicGet(queue="orders", no_ack=True))
    peer.send(1, BasicConsume(queue="orders", consumer_tag="c"))
    peer.send(1, BasicAck(1))
    peer.send(1, BasicAck(5, multiple=True))
    peer.send(1, BasicGet(queue="orders"))
    add_up(view)
    assert stats(view, queue) == {
        "ack": 4,
        "deliver": 3,
        "deliver_get": 5,
        "get": 1,
        "get_empty": 1,
        "get_no_ack": 1,
        "publish": 5,
    }


def test_deliveries_that_nobody_acknowledges_count_as_such(harness: Harness, peer: Client, view: NodeView) -> None:
    queue = orders(harness, peer)
    peer.send(1, BasicConsume(queue="orders", consumer_tag="c", no_ack=True))
    peer.publish("orders", b"1", b"2")
    assert (queue.counts.delivered, queue.counts.delivered_no_ack, queue.counts.acked) == (0, 2, 0)


def test_what_goes_out_again_is_counted(harness: Harness, peer: Client, view: NodeView) -> None:
    queue = orders(harness, peer)
    peer.publish("orders", b"1", b"2")
    peer.send(1, BasicGet(queue="orders"))
    peer.send(1, BasicNack(1, requeue=True))
    peer.send(1, BasicConsume(queue="orders", consumer_tag="c"))
    peer.send(1, BasicNack(2, requeue=True))
    harness.run()
    assert queue.counts.redelivered == 2
    assert queue.counts.taken == 3


def test_levels_of_priority_count_together(harness: Harness, peer: Client, view: NodeView) -> None:
    queue = orders(harness, peer, FieldTable.of({"x-max-priority": 2}))
    peer.publish("orders", b"low")
    peer.publish("orders", b"high", properties=BasicProperties(priority=2))
    add_up(view)
    peer.send(1, BasicConsume(queue="orders", consumer_tag="c"))
    peer.send(1, BasicAck(2, multiple=True))
    assert stats(view, queue) == {"ack": 2, "deliver": 2, "deliver_get": 2, "publish": 2}


def test_octets_are_exact_for_few_messages_and_concluded_for_many(
    harness: Harness, peer: Client, view: NodeView
) -> None:
    queue = orders(harness, peer)
    peer.publish("orders", b"12345", b"123")
    assert queue_figures(view, queue)["message_bytes_ready"] == 8
    for _ in range(98):
        peer.publish("orders", b"1234")
    assert queue_figures(view, queue)["message_bytes_ready"] == 400
    peer.send(1, BasicQos(0, 10))
    peer.send(1, BasicConsume(queue="orders", consumer_tag="c"))
    figures = queue_figures(view, queue)
    assert (figures["messages_ready"], figures["messages_unacknowledged"]) == (90, 10)
    assert figures["message_bytes_unacknowledged"] == 5 + 3 + 8 * 4
    assert figures["message_bytes"] == 360 + 40


def test_messages_that_are_stored_count_as_persistent(harness: Harness, peer: Client, view: NodeView) -> None:
    queue = orders(harness, peer, durable=True)
    peer.publish("orders", b"12345", properties=BasicProperties(delivery_mode=2))
    peer.publish("orders", b"123")
    figures = queue_figures(view, queue)
    assert (figures["messages_persistent"], figures["message_bytes_persistent"]) == (1, 5)


def test_the_time_of_the_oldest_message_is_what_it_says_or_when_it_came(
    harness: Harness, peer: Client, view: NodeView
) -> None:
    queue = orders(harness, peer)
    harness.parts.ids.advance(harness.clock.wall_ms())
    peer.publish("orders", b"1")
    came = queue_figures(view, queue)["head_message_timestamp"]
    assert abs(came - harness.clock.wall_ms() // 1000) <= 1
    peer.send(1, BasicGet(queue="orders", no_ack=True))
    peer.publish("orders", b"2", properties=BasicProperties(timestamp=1_500_000_000))
    assert queue_figures(view, queue)["head_message_timestamp"] == 1_500_000_000


def test_consumers_have_every_key_that_was_recorded(harness: Harness, peer: Client, view: NodeView) -> None:
    orders(harness, peer)
    peer.send(1, BasicQos(0, 7))
    peer.send(1, BasicConsume(queue="orders", consumer_tag="c", arguments=FieldTable.of({"x-priority": 3})))
    peer.publish("orders", b"1")
    ((connection, channel),) = view.channels()
    (consumer,) = channel.consumers.values()
    figures = consumer_figures(view, connection, channel, consumer)
    assert differences("consumer", figures) == {}
    assert (figures["arguments"], figures["prefetch_count"], figures["unacknowledged"]) == ({"x-priority": 3}, 7, 1)
    assert delivery_figures(view, connection, channel, consumer)["stats"]["deliver"] == 1


def test_of_several_consumers_the_single_active_one_is_named(harness: Harness, peer: Client, view: NodeView) -> None:
    queue = orders(harness, peer, FieldTable.of({"x-single-active-consumer": True}))
    peer.send(1, BasicConsume(queue="orders", consumer_tag="first"))
    peer.send(1, BasicConsume(queue="orders", consumer_tag="second"))
    assert queue_figures(view, queue)["single_active_consumer_tag"] == "first"
    ((connection, channel),) = view.channels()
    states = [consumer_figures(view, connection, channel, each) for each in channel.consumers.values()]
    assert [(each["active"], each["activity_status"]) for each in states] == [(True, "up"), (False, "waiting")]
