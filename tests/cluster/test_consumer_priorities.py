"""Priorities of consumers on different nodes: the highest one that has room comes first (contract B17)."""

from __future__ import annotations

import pytest
from pika.adapters.blocking_connection import BlockingChannel

from tests.cluster.clients import consume, numbered, process_until, publish
from tests.cluster.conftest import ChannelOf, NewCluster
from tests.support.cluster import ClusterOfProcesses
from tests.support.databases import DatabaseServer

ROOM = 10


def declare(channel: BlockingChannel, name: str) -> None:
    channel.queue_declare(name, durable=True)
    channel.confirm_delivery()


def test_the_higher_one_fills_up_before_the_lower_one_gets_anything(
    pair: ClusterOfProcesses, channel_of: ChannelOf, name: str
) -> None:
    here, there, publisher = channel_of(pair[0]), channel_of(pair[1]), channel_of(pair[0])
    declare(publisher, name)
    high = consume(there, name, acks=False, prefetch=ROOM, priority=9)
    low = consume(here, name, acks=False, prefetch=ROOM)
    publish(publisher, name, numbered(ROOM // 2))
    high.wait(ROOM // 2)
    publish(publisher, name, numbered(ROOM // 2, 100))
    high.wait(ROOM)
    here.connection.process_data_events(time_limit=0)
    assert low.bodies == []
    publish(publisher, name, numbered(3, 200))
    low.wait(3)
    there.basic_ack(high.taken[-1].tag, multiple=True)
    one_by_one = iter(numbered(7, 300))
    while len(high.taken) == ROOM:  # until the first node has heard that there is room
        publish(publisher, name, [next(one_by_one)])
        for channel in (there, here):
            channel.connection.process_data_events(time_limit=0.1)
    before = low.bodies
    publish(publisher, name, numbered(3, 400))
    high.wait(ROOM + 4)
    here.connection.process_data_events(time_limit=0)
    assert low.bodies == before


@pytest.mark.slow
def test_a_dead_node_with_a_higher_one_holds_nobody_up(
    new_cluster: NewCluster, mariadb: DatabaseServer, channel_of: ChannelOf, name: str
) -> None:
    cluster = new_cluster(mariadb, 2)
    cluster.start()
    here, there = channel_of(cluster[0]), channel_of(cluster[1])
    declare(here, name)
    high = consume(there, name, acks=False, prefetch=ROOM, priority=9)
    low = consume(here, name)
    publisher = channel_of(cluster[0])
    publish(publisher, name, numbered(2))
    high.wait(2)
    cluster[1].kill9()
    publish(publisher, name, numbered(5, 100))
    process_until(here, lambda: len(low.taken) >= 7, 60.0)
    assert sorted(map(int, low.bodies)) == [0, 1, *range(100, 105)]
