"""Queues are altered on all nodes at once, under the consumers of each of them (docs/altering-queues.md)."""

from __future__ import annotations

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel

from tests.cluster.clients import consume, numbered, process_until, publish
from tests.cluster.conftest import ChannelOf, NewCluster
from tests.cluster.test_redriving import ask
from tests.support.databases import DatabaseServer

DEADLINE = 30.0


def alter(port: int, queue: str, *, times: str = "recomputed", **arguments: object) -> None:
    changes = {f"x-{name.replace('_', '-')}": value for name, value in arguments.items()}
    ask(port, "POST", f"/queues/%2F/{queue}/alter", arguments=changes, times_to_live=times)


def with_priority(channel: BlockingChannel, queue: str, priority: int) -> None:
    properties = pika.BasicProperties(delivery_mode=2, priority=priority)
    channel.basic_publish("", queue, b"%d" % priority, properties)


@pytest.mark.slow
def test_what_one_node_alters_holds_on_the_other(
    mariadb: DatabaseServer, new_cluster: NewCluster, channel_of: ChannelOf, name: str
) -> None:
    cluster = new_cluster(mariadb, 2, has_console=True)
    cluster.start(120.0)
    port = cluster.http_port
    first, second = (channel_of(node) for node in cluster.nodes)
    for channel in (first, second):
        channel.confirm_delivery()

    single = f"{name}.single"
    first.queue_declare(single, durable=True)
    ours = consume(channel_of(cluster[0]), single)
    theirs = consume(channel_of(cluster[1]), single)
    alter(port + 1, single, single_active_consumer=True)
    publish(second, single, numbered(10))
    ours.wait(10)
    theirs.channel.connection.process_data_events(time_limit=0.5)
    assert theirs.taken == []
    alter(port, single, single_active_consumer=None)
    publish(second, single, numbered(10, 10))
    process_until(theirs.channel, lambda: len(theirs.taken) > 0, DEADLINE)

    ranked = f"{name}.ranked"
    first.queue_declare(ranked, durable=True, arguments={"x-max-priority": 2})
    alter(port, ranked, max_priority=9)
    for priority in (3, 8, 5):
        with_priority(second, ranked, priority)
    got = consume(channel_of(cluster[1]), ranked)
    assert got.wait(3) == [b"8", b"5", b"3"]

    kept = f"{name}.kept"
    first.queue_declare(kept, durable=True)
    publish(second, kept, [b"old"])
    second.connection.sleep(0.1)  # what came before the change is told by milliseconds, of two nodes
    alter(port, kept, times="kept", message_ttl=200)
    publish(second, kept, [b"new"])
    process_until(second, lambda: second.queue_declare(kept, passive=True).method.message_count == 1, DEADLINE)
    assert consume(channel_of(cluster[0]), kept).wait(1) == [b"old"]
