"""Times to live and dead letters over several nodes: on the node with the consumer, and after the end of a node."""

from __future__ import annotations

from collections import Counter

import pika
from pika.adapters.blocking_connection import BlockingChannel

from tests.cluster.clients import consume, numbered
from tests.cluster.conftest import ChannelOf, NewCluster
from tests.support.cluster import ClusterOfProcesses
from tests.support.databases import DatabaseServer


def declare(channel: BlockingChannel, name: str, **arguments: object) -> str:
    """Declare a queue whose dead letters go to another, and return the name of that."""
    dead = f"{name} dead"
    channel.queue_declare(dead, durable=True)
    letters = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead}
    further = {f"x-{key.replace('_', '-')}": value for key, value in arguments.items()}
    channel.queue_declare(name, durable=True, arguments={**letters, **further})
    return dead


def test_what_a_consumer_of_another_node_rejects_or_leaves_becomes_a_letter_once(
    pair: ClusterOfProcesses, channel_of: ChannelOf, name: str
) -> None:
    here, there = channel_of(pair[0]), channel_of(pair[1])
    dead = declare(here, name, message_ttl=3000)
    consumer = consume(there, name, acks=False, prefetch=50)
    here.tx_select()
    for body in numbered(300):
        here.basic_publish("", name, body, pika.BasicProperties(delivery_mode=2))
    here.tx_commit()
    consumer.wait(50)
    there.basic_nack(consumer.taken[24].tag, multiple=True, requeue=False)
    letters = consume(channel_of(pair[0]), dead)
    consumer.wait(75)
    held = {taken.body for taken in consumer.taken[25:]}
    letters.wait(300 - len(held))
    counts = Counter(letters.bodies)
    assert set(counts.values()) == {1}
    assert set(counts) == set(numbered(300)) - held


def test_what_a_node_leaves_behind_expires_on_another(
    new_cluster: NewCluster, database_server: DatabaseServer, channel_of: ChannelOf, name: str
) -> None:
    cluster = new_cluster(database_server, 2)
    cluster.start()
    publisher = channel_of(cluster[1])
    dead = declare(publisher, name, message_ttl=2000)
    publisher.tx_select()
    for body in numbered(500):
        publisher.basic_publish("", name, body, pika.BasicProperties(delivery_mode=2))
    other_dead = declare(publisher, f"{name} by message")
    for body in numbered(500):
        expiring = pika.BasicProperties(delivery_mode=2, expiration="2000" if int(body) % 2 else None)
        publisher.basic_publish("", f"{name} by message", body, expiring)
    publisher.tx_commit()
    cluster[1].kill9()
    letters = consume(channel_of(cluster[0]), dead)
    letters.wait(500, 60.0)
    assert sorted(letters.bodies, key=int) == numbered(500)
    letters = consume(channel_of(cluster[0]), other_dead)
    letters.wait(250, 60.0)
    assert sorted(letters.bodies, key=int) == numbered(500)[1::2]
