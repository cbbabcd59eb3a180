"""What an orderly restart keeps: topology, messages, large bodies, and exactly which of them were delivered."""

from __future__ import annotations

from hashlib import sha256
from random import Random

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import ChannelClosedByBroker

from benchmarks.nodes.process import BrokerProcess
from tests.integration.channels import OpenChannel, channel_of, restart

__all__ = ["channel_of"]

PERSISTENT = pika.BasicProperties(delivery_mode=pika.DeliveryMode.Persistent.value)


def put(channel: BlockingChannel, queue: str, *bodies: bytes) -> None:
    channel.confirm_delivery()
    for body in bodies:
        channel.basic_publish("", queue, body, PERSISTENT)


def take_all(channel: BlockingChannel, queue: str) -> list[tuple[bytes, bool]]:
    """Fetch everything without acknowledging it: bodies and redelivered flags."""
    taken: list[tuple[bytes, bool]] = []
    while (answer := channel.basic_get(queue))[0] is not None:
        method, _, body = answer
        assert method is not None
        assert body is not None
        taken.append((body, method.redelivered))
    return taken


def give_back(channel: BlockingChannel, queue: str) -> tuple[bytes, int | None]:
    """Fetch one message and give it back; return its body and how often it says it was delivered before."""
    method, properties, body = channel.basic_get(queue)
    assert method is not None
    assert properties is not None
    assert body is not None
    channel.basic_nack(method.delivery_tag)
    return body, (properties.headers or {}).get("x-delivery-count")


def test_messages_keep_their_order_and_whether_they_were_delivered(
    own_broker: BrokerProcess, channel_of: OpenChannel
) -> None:
    channel = channel_of(own_broker)
    channel.queue_declare("orders", durable=True)
    put(channel, "orders", b"one", b"two", b"three", b"four")
    acked, *_ = [channel.basic_get("orders") for _ in range(3)]
    assert acked[0] is not None
    channel.basic_ack(acked[0].delivery_tag)
    restart(own_broker, channel)
    assert take_all(channel_of(own_broker), "orders") == [(b"two", True), (b"three", True), (b"four", False)]


def test_delivered_messages_are_known_over_a_second_restart(own_broker: BrokerProcess, channel_of: OpenChannel) -> None:
    channel = channel_of(own_broker)
    channel.queue_declare("orders", durable=True)
    put(channel, "orders", b"one", b"two")
    channel.basic_get("orders")
    restart(own_broker, channel)
    own_broker.restart()
    assert take_all(channel_of(own_broker), "orders") == [(b"one", True), (b"two", False)]


def test_what_may_have_been_delivered_before_a_crash_is_flagged_after_an_orderly_restart_too(
    own_broker: BrokerProcess, channel_of: OpenChannel
) -> None:
    channel = channel_of(own_broker)
    channel.queue_declare("orders", durable=True)
    put(channel, "orders", b"one", b"two")
    channel.basic_get("orders")
    own_broker.kill9()
    own_broker.start()
    again = channel_of(own_broker)
    put(again, "orders", b"three")
    restart(own_broker, again)
    assert take_all(channel_of(own_broker), "orders") == [(b"one", True), (b"two", True), (b"three", False)]


def test_the_number_of_deliveries_is_kept_and_a_crash_counts_as_one_more(
    own_broker: BrokerProcess, channel_of: OpenChannel
) -> None:
    channel = channel_of(own_broker)
    channel.queue_declare("orders", durable=True, arguments={"x-delivery-limit": 4})
    put(channel, "orders", b"one")
    assert give_back(channel, "orders") == (b"one", None)
    restart(own_broker, channel)
    channel = channel_of(own_broker)
    assert give_back(channel, "orders") == (b"one", 1)
    put(channel, "orders", b"two")  # is confirmed after the number is written
    own_broker.kill9()
    own_broker.start()
    channel = channel_of(own_broker)
    assert [give_back(channel, "orders") for _ in range(3)] == [(b"one", 3), (b"one", 4), (b"two", 1)]


def test_an_acknowledged_message_does_not_come_back(own_broker: BrokerProcess, channel_of: OpenChannel) -> None:
    channel = channel_of(own_broker)
    channel.queue_declare("orders", durable=True)
    put(channel, "orders", b"one", b"two")
    for _ in range(2):
        method, _, _ = channel.basic_get("orders")
        assert method is not None
        channel.basic_ack(method.delivery_tag)
    restart(own_broker, channel)
    assert take_all(channel_of(own_broker), "orders") == []


def test_transient_messages_are_gone_and_persistent_ones_between_them_are_not(
    own_broker: BrokerProcess, channel_of: OpenChannel
) -> None:
    channel = channel_of(own_broker)
    channel.queue_declare("orders", durable=True)
    put(channel, "orders", b"one")
    channel.basic_publish("", "orders", b"two")
    put(channel, "orders", b"three")
    restart(own_broker, channel)
    assert take_all(channel_of(own_broker), "orders") == [(b"one", False), (b"three", False)]


def test_durable_queues_exchanges_and_bindings_are_kept(own_broker: BrokerProcess, channel_of: OpenChannel) -> None:
    channel = channel_of(own_broker)
    channel.exchange_declare("sales", "topic", durable=True)
    channel.queue_declare("orders", durable=True, arguments={"x-max-length": 10_000})
    channel.queue_bind("orders", "sales", "order.*")
    restart(own_broker, channel)
    again = channel_of(own_broker)
    again.confirm_delivery()
    again.exchange_declare("sales", "topic", durable=True)
    again.queue_declare("orders", durable=True, arguments={"x-max-length": 10_000})
    again.basic_publish("sales", "order.new", b"one", PERSISTENT, mandatory=True)
    assert take_all(again, "orders") == [(b"one", False)]


def test_what_is_not_durable_is_gone(own_broker: BrokerProcess, channel_of: OpenChannel) -> None:
    channel = channel_of(own_broker)
    channel.exchange_declare("gossip", "fanout")
    channel.queue_declare("drafts")
    channel.queue_declare("mine", durable=True, exclusive=True)
    restart(own_broker, channel)
    for queue in ("drafts", "mine"):
        with pytest.raises(ChannelClosedByBroker, match=f"no queue '{queue}'"):
            channel_of(own_broker).queue_declare(queue, passive=True)
    with pytest.raises(ChannelClosedByBroker, match="no exchange 'gossip'"):
        channel_of(own_broker).exchange_declare("gossip", "fanout", passive=True)


def test_deleted_things_do_not_come_back(own_broker: BrokerProcess, channel_of: OpenChannel) -> None:
    channel = channel_of(own_broker)
    channel.exchange_declare("sales", "direct", durable=True)
    for queue in ("orders", "invoices"):
        channel.queue_declare(queue, durable=True)
        channel.queue_bind(queue, "sales", "all")
        put(channel, queue, b"old")
    channel.queue_unbind("orders", "sales", "all")
    channel.queue_delete("invoices")
    restart(own_broker, channel)
    again = channel_of(own_broker)
    again.queue_declare("invoices", durable=True)
    again.basic_publish("sales", "all", b"new", PERSISTENT)
    assert take_all(again, "invoices") == []
    assert take_all(again, "orders") == [(b"old", False)]


def test_large_bodies_survive_octet_by_octet(own_broker: BrokerProcess, channel_of: OpenChannel) -> None:
    bodies = [Random(seed).randbytes(size) for seed, size in enumerate((20 << 20, 131_064, 65_501, 1))]
    channel = channel_of(own_broker)
    channel.queue_declare("images", durable=True)
    put(channel, "images", *bodies)
    restart(own_broker, channel)
    again = take_all(channel_of(own_broker), "images")
    assert [sha256(body).digest() for body, _ in again] == [sha256(body).digest() for body in bodies]
    assert [flag for _, flag in again] == [False] * 4
