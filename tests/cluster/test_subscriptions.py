"""Durable subscriptions of the dialect `wso2` in a cluster: what is published while nobody listens is kept."""

from __future__ import annotations

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel

from benchmarks.nodes.configuration import CALM
from tests.cluster.clients import consume, ready_becomes
from tests.cluster.conftest import ChannelOf, NewCluster
from tests.support.cluster import ClusterOfProcesses
from tests.support.databases import DatabaseServer

TOPIC = "amq.topic"
NEWS = "news"
SUBSCRIPTION = "carbon:subscription"
SELECTED = "grade > 5 AND place IN ('here', 'there')"
COUNT = 10_000


def subscribe(channel: BlockingChannel) -> None:
    """Make the subscription, or find it again, as a JMS client does: durable, and exclusive."""
    channel.queue_declare(SUBSCRIPTION, durable=True, exclusive=True)
    channel.queue_bind(SUBSCRIPTION, TOPIC, NEWS, {"x-filter-jms-selector": SELECTED})


def headers_of(number: int) -> dict[str, object]:
    return {"grade": number % 10, "place": ("here", "there", "nowhere")[number % 3]}


def publish(channel: BlockingChannel, numbers: range) -> list[bytes]:
    """Publish a message for each number in transactions, and return the bodies of those that are selected."""
    channel.tx_select()
    for number in numbers:
        properties = pika.BasicProperties(delivery_mode=2, headers=headers_of(number))
        channel.basic_publish(TOPIC, NEWS, b"%d" % number, properties)
        if number % 500 == 499:
            channel.tx_commit()
    channel.tx_commit()
    return [b"%d" % number for number in numbers if number % 10 > 5 and number % 3 < 2]


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["mariadb", "postgresql"])
def test_a_subscription_gets_what_it_selects_of_all_that_was_published_while_it_was_away_and_both_nodes_restarted(
    request: pytest.FixtureRequest, new_cluster: NewCluster, channel_of: ChannelOf, engine: str
) -> None:
    server: DatabaseServer = request.getfixturevalue(engine)
    cluster: ClusterOfProcesses = new_cluster(server, 2, rhythm=CALM)
    cluster.start()
    first, second = cluster.nodes
    subscriber = channel_of(first, "carbon")
    subscribe(subscriber)
    subscriber.connection.close()
    expected = publish(channel_of(first, "carbon"), range(COUNT // 4))
    expected += publish(channel_of(second, "carbon"), range(COUNT // 4, COUNT // 2))
    for node in cluster.nodes:
        node.stop()
    cluster.start()
    expected += publish(channel_of(first, "carbon"), range(COUNT // 2, COUNT))
    subscriber = channel_of(second, "carbon")
    subscribe(subscriber)
    taking = consume(subscriber, SUBSCRIPTION, prefetch=100)
    taking.wait(len(expected), 60.0)
    assert sorted(taking.first_time, key=int) == expected
    ready_becomes(subscriber, SUBSCRIPTION, (0, 1), 5.0)
