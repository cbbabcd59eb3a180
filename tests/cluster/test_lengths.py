"""Lengths of queues over nodes: what is too much leaves or is refused wherever it was published (contract F8)."""

from __future__ import annotations

from contextlib import suppress

import pytest
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import NackError

from tests.cluster.clients import PERSISTENT, consume, numbered, process_until, publish, ready
from tests.cluster.conftest import ChannelOf, NewCluster
from tests.support.cluster import ClusterOfProcesses
from tests.support.databases import DatabaseServer

MAX_LENGTH = 20


def declare(channel: BlockingChannel, name: str, **arguments: object) -> None:
    channel.queue_declare(
        name, durable=True, arguments={f"x-{key.replace('_', '-')}": arguments[key] for key in arguments}
    )
    channel.confirm_delivery()


def accepted(channel: BlockingChannel, name: str, bodies: list[bytes]) -> list[bytes]:
    """Publish one after the other; return what was not refused."""
    taken = []
    for body in bodies:
        with suppress(NackError):
            channel.basic_publish("", name, body, PERSISTENT)
            taken.append(body)
    return taken


def everything(channel: BlockingChannel, name: str) -> list[bytes]:
    bodies = []
    while (found := channel.basic_get(name, auto_ack=True))[0] is not None:
        bodies.append(found[2])
    return bodies


def test_the_oldest_leave_a_queue_to_which_two_nodes_publish(
    pair: ClusterOfProcesses, channel_of: ChannelOf, name: str
) -> None:
    channels = channel_of(pair[0]), channel_of(pair[1])
    for channel in channels:
        declare(channel, name, max_length=MAX_LENGTH)
    stored_before = pair.stored()  # of other tests
    for number, body in enumerate(numbered(3 * MAX_LENGTH)):
        publish(channels[number % 2], name, [body])
    for channel in channels:
        process_until(channel, lambda channel=channel: ready(channel, name)[0] == MAX_LENGTH)  # type: ignore[misc]
    process_until(channels[0], lambda: pair.stored() - stored_before == MAX_LENGTH)
    left = sorted(map(int, everything(channels[0], name)))
    assert len(left) == MAX_LENGTH
    assert left[0] >= 2 * MAX_LENGTH - 2


def test_publishers_on_both_nodes_are_refused_when_the_queue_is_full(
    pair: ClusterOfProcesses, channel_of: ChannelOf, name: str
) -> None:
    channels = channel_of(pair[0]), channel_of(pair[1])
    for channel in channels:
        declare(channel, name, max_length=MAX_LENGTH, overflow="reject-publish")
    taken = accepted(channels[0], name, numbered(MAX_LENGTH // 2))
    assert len(taken) == MAX_LENGTH // 2
    process_until(channels[1], lambda: ready(channels[1], name)[0] == MAX_LENGTH // 2)
    taken += accepted(channels[1], name, numbered(2 * MAX_LENGTH, 100))
    assert len(taken) <= 2 * MAX_LENGTH
    process_until(channels[0], lambda: ready(channels[0], name)[0] == len(taken))
    process_until(channels[1], lambda: not accepted(channels[1], name, [b"no"]))
    assert accepted(channels[0], name, [b"no"]) == []
    assert sorted(everything(channels[1], name)) == sorted(taken)
    process_until(channels[1], lambda: bool(accepted(channels[1], name, [b"again"])))


@pytest.mark.slow
def test_the_length_holds_when_the_node_that_keeps_it_is_killed(
    new_cluster: NewCluster, database_server: DatabaseServer, channel_of: ChannelOf, name: str
) -> None:
    cluster = new_cluster(database_server, 2)
    cluster.start()
    keeper, other = sorted(cluster.nodes, key=lambda node: node.node_id)
    on_keeper, on_other = channel_of(keeper), channel_of(other)
    declare(on_keeper, name, max_length=MAX_LENGTH)
    declare(on_other, name, max_length=MAX_LENGTH)
    publish(on_other, name, numbered(MAX_LENGTH))
    publish(on_keeper, name, numbered(MAX_LENGTH, 100))
    process_until(on_other, lambda: cluster.stored() == MAX_LENGTH)
    keeper.kill9()
    publish(on_other, name, numbered(MAX_LENGTH // 2, 200))
    process_until(on_other, lambda: ready(on_other, name)[0] == MAX_LENGTH and cluster.stored() == MAX_LENGTH, 60.0)
    bodies = consume(on_other, name).wait(MAX_LENGTH)
    assert sorted(map(int, bodies)) == [*range(110, 120), *range(200, 210)]
