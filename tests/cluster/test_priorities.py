"""Priorities of messages over several nodes: with the consumer elsewhere, and after the end of a node (contract F9)."""

from __future__ import annotations

from collections import Counter

import pika
from pika.adapters.blocking_connection import BlockingChannel

from tests.cluster.clients import consume, numbered, process_until
from tests.cluster.conftest import ChannelOf, NewCluster
from tests.support.cluster import ClusterOfProcesses
from tests.support.databases import DatabaseServer

COUNT = 600


def publish(channel: BlockingChannel, name: str) -> None:
    """Publish numbered messages of priority 0 to 3, in turn."""
    channel.queue_declare(name, durable=True, arguments={"x-max-priority": 3})
    channel.tx_select()
    for number, body in enumerate(numbered(COUNT)):
        channel.basic_publish("", name, body, pika.BasicProperties(delivery_mode=2, priority=number % 4))
    channel.tx_commit()


def test_a_consumer_of_another_node_gets_each_message_once_and_each_level_in_order(
    pair: ClusterOfProcesses, channel_of: ChannelOf, name: str
) -> None:
    publish(channel_of(pair[0]), name)
    consumer = consume(channel_of(pair[1]), name, prefetch=10)
    consumer.wait(COUNT)
    assert sorted(consumer.bodies, key=int) == numbered(COUNT)
    for priority in range(4):
        level = [int(body) for body in consumer.bodies if int(body) % 4 == priority]
        assert level == sorted(level)


def test_a_higher_priority_overtakes_on_its_way_to_another_node(
    pair: ClusterOfProcesses, channel_of: ChannelOf, name: str
) -> None:
    here, there = channel_of(pair[0]), channel_of(pair[1])
    publish(here, name)
    consumer = consume(there, name, acks=False, prefetch=10)
    consumer.wait(10)
    here.basic_publish("", name, b"-1", pika.BasicProperties(delivery_mode=2, priority=3))
    here.tx_commit()
    acked: set[int] = set()
    process_until(there, lambda: _is_over(there, consumer, COUNT + 1, acked))
    place = consumer.bodies.index(b"-1")
    assert place < COUNT // 4 + 50, "it comes with those of its level, not at the end"


def _is_over(channel: BlockingChannel, consumer: object, count: int, acked: set[int]) -> bool:
    """Acknowledge what has come since the last time; is it all?"""
    taken = consumer.taken  # type: ignore[attr-defined]
    fresh = [each for each in taken if each.tag not in acked]
    if fresh:
        channel.basic_ack(fresh[-1].tag, multiple=True)
        acked.update(each.tag for each in fresh)
    return len(taken) >= count


def test_counts_purges_and_gets_are_those_of_all_levels(
    pair: ClusterOfProcesses, channel_of: ChannelOf, name: str
) -> None:
    here, there = channel_of(pair[0]), channel_of(pair[1])
    publish(here, name)
    process_until(there, lambda: there.queue_declare(name, passive=True, durable=True).method.message_count == COUNT)
    method, properties, _ = there.basic_get(name, auto_ack=True)
    assert method is not None
    assert properties is not None
    assert properties.priority == 3
    assert there.queue_purge(name).method.message_count == COUNT - 1
    assert there.basic_get(name) == (None, None, None)
    assert here.basic_get(name) == (None, None, None)


def test_what_a_killed_node_has_left_comes_by_priority(
    new_cluster: NewCluster, database_server: DatabaseServer, channel_of: ChannelOf, name: str
) -> None:
    cluster = new_cluster(database_server, 2)
    cluster.start()
    publish(channel_of(cluster[1]), name)
    cluster[1].kill9()
    consumer = consume(channel_of(cluster[0]), name, prefetch=10)
    consumer.wait(COUNT, 60.0)
    assert set(Counter(consumer.bodies).values()) == {1}
    assert sorted(consumer.bodies, key=int) == numbered(COUNT)
    for priority in range(4):
        level = [int(body) for body in consumer.bodies if int(body) % 4 == priority]
        assert level == sorted(level)
