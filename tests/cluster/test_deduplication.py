"""De-duplication over nodes: what is published on both at once, or again on another one, is in the queue once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pika
import pytest

from benchmarks.nodes.process import BrokerProcess
from tests.cluster.conftest import ChannelOf, NewCluster
from tests.support.cluster import ClusterOfProcesses
from tests.support.databases import DatabaseServer
from tests.support.proxy import Proxy
from tests.support.repeaters import QUEUES, Repeater, contents, declare, rounds_of_repeats

KEYS = 100


def keyed(key: str) -> pika.BasicProperties:
    return pika.BasicProperties(delivery_mode=2, headers={"x-dedup-id": key})


def test_what_is_published_again_on_another_node_is_left_out(
    pair: ClusterOfProcesses, channel_of: ChannelOf, name: str
) -> None:
    here, there = channel_of(pair[0]), channel_of(pair[1])
    here.queue_declare(name, durable=True, arguments={"x-message-deduplication": True})
    for channel in (here, there):
        channel.confirm_delivery()
    for number in range(20):
        here.basic_publish("", name, b"first", keyed(str(number)))
        there.basic_publish("", name, b"again", keyed(str(number)))
    bodies = []
    for method, _, body in there.consume(name, inactivity_timeout=30):
        assert method is not None
        bodies.append(body)
        there.basic_ack(method.delivery_tag)
        if len(bodies) == 20:
            break
    assert bodies == [b"first"] * 20
    there.cancel()
    there.queue_declare(name, passive=True)  # the acks are done
    here.basic_publish("", name, b"new", keyed("0"))
    method, _, body = next(here.consume(name, inactivity_timeout=30))
    assert (method is not None, body) == (True, b"new")


@pytest.mark.slow
@pytest.mark.timeout(1800)
async def test_twenty_rounds_of_repeats_on_two_nodes_leave_each_key_in_the_queue_once(
    new_cluster: NewCluster, database_server: DatabaseServer, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster = new_cluster(database_server, 2)
    cluster.start()
    first, second = cluster.nodes
    declare(first.url)

    def kill(node: BrokerProcess) -> Callable[[], Awaitable[None]]:
        async def kill_node() -> None:
            await asyncio.to_thread(node.kill9)
            await asyncio.to_thread(node.start, 120.0)

        return kill_node

    async def kill_database() -> None:
        await asyncio.to_thread(database_server.kill9)
        await asyncio.to_thread(database_server.start)

    async def cut() -> None:
        for proxy in proxies:
            await asyncio.to_thread(proxy.cut)

    with Proxy(first.port) as one, Proxy(second.port) as two:
        proxies = (one, two)
        repeaters = [
            Repeater(node.url.replace(f":{node.port}", f":{proxy.port}"))
            for node, proxy in zip(cluster.nodes, proxies, strict=True)
        ]
        faults = [kill(first), cut, kill(second), kill_database]
        order = [faults[number % len(faults)] for number in range(20)]
        keys = await rounds_of_repeats(repeaters, order, keys=KEYS, seed=20)
    for queue in QUEUES:
        found = await asyncio.to_thread(contents, second.url, queue, is_shared=True)
        assert {key: count for key, count in found.items() if count != 1} == {}, queue
        assert set(found) == set(keys), queue
    broken = sum(repeater.broken for repeater in repeaters)
    assert broken, "no fault has come while something was under way"
    with capsys.disabled():
        published = sum(repeater.published for repeater in repeaters)
        print(f"\n{database_server.kind}, two nodes: {len(keys)} keys, {published} publishes, {broken} broken off")
