"""Streams over nodes: published on any, read on any, in one order, with retention and places that all nodes share."""

from __future__ import annotations

import pika
import pytest

from benchmarks.nodes.process import BrokerProcess
from tests.cluster.conftest import ChannelOf, NewCluster
from tests.support.cluster import ClusterOfProcesses
from tests.support.databases import DatabaseServer

STREAM = {"x-queue-type": "stream"}
KEPT = {"x-stream-automatic-offset-tracking": True}


def read(
    channel: pika.adapters.blocking_connection.BlockingChannel, name: str, count: int, **arguments: object
) -> list[tuple[int, bytes]]:
    """Return offset and body of the next messages of a consumer with these arguments, which acknowledges them."""
    table = {f"x-stream-{key.replace('_', '-')}": value for key, value in arguments.items()}
    channel.basic_qos(prefetch_count=20)
    found: list[tuple[int, bytes]] = []
    tag = str(table.pop("x-stream-tag", "")) or None
    consuming = {} if tag is None else {"consumer_tag": tag}

    def on_message(channel: object, method: object, properties: object, body: bytes) -> None:
        if len(found) < count:
            found.append((properties.headers["x-stream-offset"], body))  # type: ignore[attr-defined]
            channel.basic_ack(method.delivery_tag)  # type: ignore[attr-defined]

    tag = channel.basic_consume(name, on_message, arguments=table, **consuming)
    while len(found) < count:
        channel.connection.process_data_events(30)
    channel.basic_cancel(tag)
    return found


def test_what_two_nodes_publish_has_one_order_on_both(
    pair: ClusterOfProcesses, channel_of: ChannelOf, name: str
) -> None:
    here, there = channel_of(pair[0]), channel_of(pair[1])
    here.queue_declare(name, durable=True, arguments=STREAM)
    for channel in (here, there):
        channel.confirm_delivery()
    for number in range(30):
        here.basic_publish("", name, b"here %d" % number)
        there.basic_publish("", name, b"there %d" % number)
    one, other = (read(channel_of(node), name, 60, offset="first") for node in (pair[0], pair[1]))
    assert one == other
    assert [offset for offset, _ in one] == list(range(60))
    assert [body for _, body in one if body.startswith(b"here")] == [b"here %d" % number for number in range(30)]


def test_a_consumer_at_the_end_gets_what_another_node_publishes(
    pair: ClusterOfProcesses, channel_of: ChannelOf, name: str
) -> None:
    publisher, consumer = channel_of(pair[0]), channel_of(pair[1])
    publisher.queue_declare(name, durable=True, arguments=STREAM)
    publisher.basic_publish("", name, b"before")
    publisher.confirm_delivery()
    publisher.basic_publish("", name, b"and this")
    got: list[bytes] = []
    consumer.basic_qos(prefetch_count=10)
    consumer.basic_consume(name, lambda channel, method, properties, body: got.append(body), auto_ack=False)
    publisher.basic_publish("", name, b"after")
    while not got:
        consumer.connection.process_data_events(30)
    assert got == [b"after"]


def test_a_place_is_kept_for_the_next_consumer_on_another_node(
    pair: ClusterOfProcesses, channel_of: ChannelOf, name: str
) -> None:
    here, there = channel_of(pair[0]), channel_of(pair[1])
    here.queue_declare(name, durable=True, arguments=STREAM)
    here.confirm_delivery()
    for number in range(6):
        here.basic_publish("", name, b"%d" % number)
    arguments = {"offset": "first", "automatic_offset_tracking": True, "tag": "reader"}
    assert [body for _, body in read(here, name, 3, **arguments)] == [b"0", b"1", b"2"]
    here.connection.close()
    pause = channel_of(pair[1])
    pause.connection.sleep(1.5)  # places are written once a second
    assert read(there, name, 3, **arguments)[0][0] == 3


def test_the_length_of_a_stream_is_told_once_for_all_nodes(
    pair: ClusterOfProcesses, channel_of: ChannelOf, name: str
) -> None:
    here, there = channel_of(pair[0]), channel_of(pair[1])
    here.queue_declare(name, durable=True, arguments=STREAM)
    for channel in (here, there):
        channel.confirm_delivery()
        channel.basic_publish("", name, b"1")
    read(here, name, 2, offset="first")
    read(there, name, 2, offset="first")
    counts = [channel.queue_declare(name, passive=True).method.message_count for channel in (here, there)]
    assert counts == [2, 2]


@pytest.mark.slow
def test_a_confirmed_message_keeps_its_offset_over_the_death_of_its_node(
    new_cluster: NewCluster, postgresql: DatabaseServer, channel_of: ChannelOf
) -> None:
    cluster = new_cluster(postgresql, 2)
    cluster.start()
    first, second = cluster.nodes
    channel, other = channel_of(first), channel_of(second)
    channel.queue_declare("log", durable=True, arguments=STREAM)
    channel.confirm_delivery()
    for number in range(50):
        channel.basic_publish("", "log", b"%d" % number)
    before = read(other, "log", 50, offset="first")
    _kill(first)
    other.confirm_delivery()
    other.basic_publish("", "log", b"after")
    assert read(channel_of(second), "log", 51, offset="first") == [*before, (50, b"after")]


@pytest.mark.slow
def test_a_consumer_whose_node_dies_goes_on_at_its_place_on_another(
    new_cluster: NewCluster, database_server: DatabaseServer, channel_of: ChannelOf
) -> None:
    cluster = new_cluster(database_server, 2)
    cluster.start()
    first, second = cluster.nodes
    publisher = channel_of(second)
    publisher.queue_declare("log", durable=True, arguments=STREAM)
    publisher.confirm_delivery()
    for number in range(200):
        publisher.basic_publish("", "log", b"%d" % number)
    arguments = {"offset": "first", "automatic_offset_tracking": True, "tag": "reader"}
    consumer = channel_of(first)
    assert read(consumer, "log", 80, **arguments) == [(number, b"%d" % number) for number in range(80)]
    consumer.connection.sleep(1.5)  # places are written once a second
    read(consumer, "log", 40, **arguments)
    _kill(first)
    for number in range(200, 250):
        publisher.basic_publish("", "log", b"%d" % number)
    begins = read(channel_of(second), "log", 1, **arguments)[0][0]
    assert 80 <= begins <= 120
    rest = read(channel_of(second), "log", 250 - begins - 1, **arguments)
    assert rest == [(number, b"%d" % number) for number in range(begins + 1, 250)]


@pytest.mark.slow
def test_a_consumer_reads_on_while_the_publishers_node_dies(
    new_cluster: NewCluster, database_server: DatabaseServer, channel_of: ChannelOf
) -> None:
    cluster = new_cluster(database_server, 2)
    cluster.start()
    first, second = cluster.nodes
    publisher, consumer = channel_of(first), channel_of(second)
    publisher.queue_declare("log", durable=True, arguments=STREAM)
    publisher.confirm_delivery()
    got: list[tuple[int, bytes]] = []
    consumer.basic_qos(prefetch_count=20)

    def on_message(channel: object, method: object, properties: object, body: bytes) -> None:
        got.append((properties.headers["x-stream-offset"], body))  # type: ignore[attr-defined]
        channel.basic_ack(method.delivery_tag)  # type: ignore[attr-defined]

    consumer.basic_consume("log", on_message, arguments={"x-stream-offset": "first"})
    confirmed = 0
    while confirmed < 100:
        publisher.basic_publish("", "log", b"%d" % confirmed)
        confirmed += 1
        consumer.connection.process_data_events(0)
    _kill(first)
    other = channel_of(second)
    other.confirm_delivery()
    for number in range(100, 150):
        other.basic_publish("", "log", b"%d" % number)
    while len(got) < 150:
        consumer.connection.process_data_events(30)
    assert got == [(number, b"%d" % number) for number in range(150)]


def _kill(node: BrokerProcess) -> None:
    node.kill9()
