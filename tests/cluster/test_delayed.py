"""Delayed messages over several nodes: fired once, by another node when theirs is gone, cancelled wherever they are."""

from __future__ import annotations

from collections import Counter

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel

from tests.cluster.clients import consume, numbered
from tests.cluster.conftest import ChannelOf, NewCluster
from tests.support.cluster import ClusterOfProcesses
from tests.support.databases import DatabaseServer


def delay(channel: BlockingChannel, queue: str, bodies: list[bytes], milliseconds: int) -> None:
    """Publish messages that are to come after so long, in one transaction."""
    channel.tx_select()
    for body in bodies:
        properties = pika.BasicProperties(headers={"x-delay": milliseconds}, message_id=body.decode(), delivery_mode=2)
        channel.basic_publish("", queue, body, properties)
    channel.tx_commit()


def test_messages_that_both_nodes_have_taken_come_once(
    pair: ClusterOfProcesses, channel_of: ChannelOf, name: str
) -> None:
    here, there = channel_of(pair[0]), channel_of(pair[1])
    here.queue_declare(name, durable=True)
    delay(here, name, numbered(200), 1000)
    delay(there, name, numbered(400)[200:], 1500)
    consumer = consume(channel_of(pair[0]), name)
    consumer.wait(400, 30.0)
    assert Counter(consumer.bodies) == dict.fromkeys(numbered(400), 1)


@pytest.mark.parametrize("victim", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_what_a_node_leaves_behind_comes_from_another(
    new_cluster: NewCluster, database_server: DatabaseServer, channel_of: ChannelOf, name: str, victim: int
) -> None:
    """The first node coordinates."""
    cluster = new_cluster(database_server, 2)
    cluster.start()
    publisher = channel_of(cluster[victim])
    publisher.queue_declare(name, durable=True)
    delay(publisher, name, numbered(500), 3000)
    cluster[victim].kill9()
    consumer = consume(channel_of(cluster[1 - victim]), name)
    consumer.wait(500, 60.0)
    assert Counter(consumer.bodies) == dict.fromkeys(numbered(500), 1)
