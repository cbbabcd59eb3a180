"""What an orderly stop and a start leave in place, and what one data directory allows (contract C14, Q8, X8, D6)."""

from __future__ import annotations

import subprocess
import sys

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPConnectionError, ChannelClosedByBroker, ConnectionClosedByBroker

from tests.support.broker_process import PROJECT, BrokerProcess

PERSISTENT = pika.BasicProperties(delivery_mode=2)
TRANSIENT = pika.BasicProperties(delivery_mode=1)


def connect(broker: BrokerProcess) -> pika.BlockingConnection:
    return pika.BlockingConnection(pika.URLParameters(broker.url))


def take(channel: BlockingChannel, queue: str) -> tuple[bytes | None, bool]:
    method, _, body = channel.basic_get(queue)
    return body, bool(method and method.redelivered)


def exists(connection: pika.BlockingConnection, queue: str) -> bool:
    try:
        connection.channel().queue_declare(queue, passive=True)
    except ChannelClosedByBroker:
        return False
    return True


def test_a_stopping_broker_says_so_to_its_clients(own_broker: BrokerProcess) -> None:
    connection = connect(own_broker)
    code = own_broker.stop()
    with pytest.raises(ConnectionClosedByBroker) as caught:
        connection.process_data_events(time_limit=10)
    assert code == 0
    assert caught.value.reply_code == 320
    assert caught.value.reply_text.startswith("CONNECTION_FORCED")


def test_durable_things_survive_a_restart_and_transient_ones_do_not(own_broker: BrokerProcess) -> None:
    with connect(own_broker) as connection:
        channel = connection.channel()
        channel.exchange_declare("kept", "topic", durable=True)
        channel.exchange_declare("gone", "fanout", durable=False)
        channel.queue_declare("orders", durable=True, arguments={"x-max-length": 1000})
        channel.queue_declare("scratch", durable=False)
        channel.queue_bind("orders", "kept", "order.#")
        channel.confirm_delivery()
        channel.basic_publish("kept", "order.new", b"persistent", PERSISTENT)
        channel.basic_publish("kept", "order.new", b"transient", TRANSIENT)
    own_broker.restart()
    with connect(own_broker) as connection:
        channel = connection.channel()
        channel.queue_declare("orders", durable=True, arguments={"x-max-length": 1000})
        assert take(channel, "orders") == (b"persistent", False)
        assert take(channel, "orders") == (None, False)
        channel.basic_publish("kept", "order.new", b"still bound")
        assert take(channel, "orders") == (b"still bound", False)
        assert not exists(connection, "scratch")
        with pytest.raises(ChannelClosedByBroker) as caught:
            channel.exchange_declare("gone", passive=True)
        assert caught.value.reply_code == 404


def test_what_was_deleted_unbound_or_purged_stays_so(own_broker: BrokerProcess) -> None:
    with connect(own_broker) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        for name in ("deleted", "purged", "unbound"):
            channel.queue_declare(name, durable=True)
            channel.queue_bind(name, "amq.fanout")
        channel.basic_publish("amq.fanout", "", b"hello", PERSISTENT)
        channel.queue_delete("deleted")
        channel.queue_purge("purged")
        channel.queue_unbind("unbound", "amq.fanout")
    own_broker.restart()
    with connect(own_broker) as connection:
        channel = connection.channel()
        channel.basic_publish("amq.fanout", "", b"again")
        assert not exists(connection, "deleted")
        assert [take(channel, "purged"), take(channel, "purged")] == [(b"again", False), (None, False)]
        assert [take(channel, "unbound"), take(channel, "unbound")] == [(b"hello", False), (None, False)]


def test_after_an_orderly_restart_only_delivered_messages_are_flagged(own_broker: BrokerProcess) -> None:
    with connect(own_broker) as connection:
        channel = connection.channel()
        channel.queue_declare("orders", durable=True)
        channel.confirm_delivery()
        for body in (b"acknowledged", b"held", b"untouched"):
            channel.basic_publish("", "orders", body, PERSISTENT)
        method, _, _ = channel.basic_get("orders")
        assert method is not None
        channel.basic_ack(method.delivery_tag)
        take(channel, "orders")
    own_broker.restart()
    with connect(own_broker) as connection:
        channel = connection.channel()
        assert take(channel, "orders") == (b"held", True)
        assert take(channel, "orders") == (b"untouched", False)
        assert take(channel, "orders") == (None, False)


def test_a_large_confirmed_message_survives_kill_9_unchanged(own_broker: BrokerProcess) -> None:
    body = bytes(range(256)) * 8192
    properties = pika.BasicProperties(delivery_mode=2, headers={"n": [1, {"two": "três"}]}, timestamp=7, priority=3)
    connection = connect(own_broker)
    channel = connection.channel()
    channel.queue_declare("orders", durable=True)
    channel.queue_bind("orders", "amq.direct", "ключ")
    channel.confirm_delivery()
    channel.basic_publish("amq.direct", "ключ", body, properties)
    own_broker.kill9()
    with pytest.raises(AMQPConnectionError):
        connection.process_data_events(time_limit=10)
    own_broker.start()
    with connect(own_broker) as again:
        method, received_properties, received = again.channel().basic_get("orders")
        assert method is not None
        assert (method.exchange, method.routing_key) == ("amq.direct", "ключ")
        assert (received_properties, received) == (properties, body)


def test_a_second_broker_on_the_same_data_refuses_to_start_and_names_the_first(own_broker: BrokerProcess) -> None:
    second = subprocess.run(
        [sys.executable, "-m", "broker", "--config", str(own_broker.config)],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert second.returncode == 69
    assert str(own_broker.pid) in second.stdout + second.stderr
    assert own_broker.is_running()
