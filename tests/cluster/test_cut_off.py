"""Nodes that reach the database and not each other: everything goes on, slower, and it is said why (invariant I61)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import pytest
from pika.exceptions import ChannelClosedByBroker

from benchmarks.nodes.configuration import CALM
from tests.cluster.clients import consume, numbered, publish, ready_becomes
from tests.cluster.conftest import ChannelOf, NewCluster
from tests.support.cluster import ClusterOfProcesses
from tests.support.databases import DatabaseServer

Cause = Literal["each names localhost", "different secrets", "nothing passes"]

OUT = "Member cannot be reached"
IN = "Member does not reach this node"
UNREACHABLE = "4"


def cut_off_pair(new_cluster: NewCluster, server: DatabaseServer, cause: Cause) -> ClusterOfProcesses:
    """Return two nodes that know of each other and that nothing passes between."""
    if cause == "nothing passes":
        cluster = new_cluster(server, 2, rhythm=CALM, is_proxied=True)
        cluster.start()
        cluster.isolate_from_peers(cluster[0])
        return cluster
    if cause == "different secrets":
        cluster = new_cluster(server, 2, rhythm=CALM, secrets=("one secret of nodes", "another of the nodes"))
    else:
        cluster = new_cluster(server, 2, rhythm=CALM, is_misled=True)
    cluster.start()
    return cluster


@pytest.fixture(scope="module")
def cut_pair(mariadb: DatabaseServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterOfProcesses]:
    """Two nodes that know that nothing passes between them; tests leave it so."""
    with ClusterOfProcesses(tmp_path_factory.mktemp("cut"), mariadb, 2, rhythm=CALM, is_proxied=True) as cluster:
        cluster.start()
        cluster.isolate_from_peers(cluster[0])
        for node in cluster.nodes:
            node.output.wait_for(OUT)
        yield cluster


QUICK = [("mariadb", "each names localhost")]
OTHERS = [
    ("mariadb", "different secrets"),
    ("mariadb", "nothing passes"),
    ("postgresql", "nothing passes"),
    ("postgresql", "different secrets"),
    ("postgresql", "each names localhost"),
]


@pytest.mark.parametrize(
    ("engine", "cause"), [*QUICK, *(pytest.param(*each, marks=pytest.mark.slow) for each in OTHERS)]
)
def test_messages_find_consumers_through_the_database_in_both_directions_and_both_nodes_say_why(
    request: pytest.FixtureRequest, new_cluster: NewCluster, channel_of: ChannelOf, name: str, engine: str, cause: Cause
) -> None:
    cluster = cut_off_pair(new_cluster, request.getfixturevalue(engine), cause)
    coordinator = cluster.coordinator()
    [member] = cluster.others(coordinator)
    for number, (here, there) in enumerate(((coordinator, member), (member, coordinator))):
        queue, at_here, at_there = f"{name}.{number}", channel_of(here), channel_of(there)
        at_here.queue_declare(queue, durable=True)
        at_here.tx_select()
        publish(at_here, queue, numbered(200))
        at_here.tx_commit()
        taking = consume(at_there, queue, prefetch=10)
        taking.wait(200, 60.0)
        publish(at_here, queue, numbered(1300, 200))
        at_here.tx_commit()
        taking.wait(1500, 60.0)
        assert taking.first_time == numbered(1500)
        taking.cancel()
    for node, other in ((coordinator, member), (member, coordinator)):
        for event in (OUT, IN):
            node.output.wait_for(event)
        line = next(line for line in node.log.splitlines() if OUT in line)
        assert "warning" in line
        assert other.node_id in line
        assert f":{other.configuration.membership.thrift_port + other.number}" in line  # type: ignore[union-attr]
    noted = [line.split("\t") for line in cluster.rows("MB_MEMBERSHIP", "NODE_ID", "CHANGE_TYPE")]
    assert {node_id for node_id, change in noted if change == UNREACHABLE} == {coordinator.node_id, member.node_id}


def test_what_is_declared_and_bound_on_one_node_is_routed_on_the_other_when_it_is_answered(
    cut_pair: ClusterOfProcesses, channel_of: ChannelOf, name: str
) -> None:
    channels = [channel_of(node) for node in cut_pair.nodes]
    for channel in channels:
        channel.confirm_delivery()
    for number in range(6):
        here, there = channels[number % 2], channels[1 - number % 2]
        queue = f"{name}.{number}"
        here.queue_declare(queue)
        publish(there, queue, [b"by name"])
        here.queue_bind(queue, "amq.topic", queue)
        there.basic_publish("amq.topic", queue, b"by binding", mandatory=True)


def test_get_and_purge_find_what_lies_on_a_node_that_cannot_be_called_and_it_is_counted(
    cut_pair: ClusterOfProcesses, channel_of: ChannelOf, name: str
) -> None:
    here, there = channel_of(cut_pair[0]), channel_of(cut_pair[1])
    here.queue_declare(name, durable=True)
    here.tx_select()
    publish(here, name, numbered(300))
    here.tx_commit()
    ready_becomes(there, name, (300, 0), 5.0)
    with pytest.raises(ChannelClosedByBroker, match="not empty"):
        channel_of(cut_pair[1]).queue_delete(name, if_empty=True)
    assert there.basic_get(name, auto_ack=True)[2] == b"0"
    publish(here, name, [b"one more"])
    here.tx_commit()
    ready_becomes(there, name, (300, 0), 5.0)
    assert there.queue_purge(name).method.message_count == 300
    assert here.basic_get(name) == (None, None, None)
    ready_becomes(there, name, (0, 0), 5.0)
    there.queue_delete(name, if_empty=True)


def test_nodes_that_reach_each_other_again_say_so(cut_pair: ClusterOfProcesses) -> None:
    cut_pair.reconnect(cut_pair[0])
    for node in cut_pair.nodes:
        node.output.wait_for("Member is reached again")
        node.output.wait_for("Member reaches this node again")
    cut_pair.isolate_from_peers(cut_pair[0])
