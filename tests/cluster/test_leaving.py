"""Nodes that stop in order, one after the other or for good, and processes that may not take part at all."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from pika.exceptions import AMQPConnectionError, ConnectionClosedByBroker

from benchmarks.nodes.configuration import CALM, Membership, NodeConfiguration
from benchmarks.nodes.ports import quiet_port
from benchmarks.nodes.process import BrokerProcess
from broker.cli.program import run as brokerctl
from tests.cluster.clients import consume, numbered, publish
from tests.cluster.conftest import ChannelOf, NewCluster
from tests.support.cluster import ClusterOfProcesses
from tests.support.cluster_chaos import brief
from tests.support.cluster_load import CLUSTER_RULES, ClusterLoad, Disturbance
from tests.support.databases import DatabaseServer
from tests.support.history import check

EX_CONFIG, EX_UNAVAILABLE = 78, 69


def test_a_node_that_stops_hands_its_backlog_over_and_nothing_is_redelivered(
    new_cluster: NewCluster, database_server: DatabaseServer, channel_of: ChannelOf, name: str
) -> None:
    cluster = new_cluster(database_server, 2)
    cluster.start()
    leaving, staying = cluster.nodes
    on_leaving = channel_of(leaving)
    on_leaving.queue_declare(name, durable=True)
    on_leaving.tx_select()
    publish(on_leaving, name, numbered(2000))
    on_leaving.tx_commit()
    for number in range(500):
        assert on_leaving.basic_get(name, auto_ack=True)[2] == b"%d" % number
    on_leaving.connection.close()

    began = time.monotonic()
    assert leaving.stop() == 0
    seconds = time.monotonic() - began
    rest = consume(channel_of(staying), name)
    rest.wait(1500)

    assert rest.bodies == numbered(1500, 500)
    assert rest.first_time == rest.bodies
    assert seconds < 3.0
    staying.output.wait_for("Member left", 2.0)
    assert cluster.coordinator() is staying


@pytest.mark.slow
def test_a_node_that_is_drained_hands_its_backlog_over_and_takes_clients_again(
    new_cluster: NewCluster, mariadb: DatabaseServer, channel_of: ChannelOf, name: str
) -> None:
    cluster = new_cluster(mariadb, 2, has_console=True)
    cluster.start()
    drained, other = cluster.nodes
    publisher = channel_of(drained)
    publisher.queue_declare(name, durable=True)
    publisher.confirm_delivery()
    publish(publisher, name, numbered(500))
    control = ["--config", str(drained.config), "--quiet"]

    assert brokerctl([*control, "drain"], {}) == 0
    with pytest.raises(ConnectionClosedByBroker, match=r"320.*Node was put into maintenance mode"):
        publisher.connection.process_data_events(1.0)
    rest = consume(channel_of(other), name)
    rest.wait(500)
    assert rest.first_time == numbered(500)
    with pytest.raises(AMQPConnectionError):
        channel_of(drained)
    assert drained.is_running()

    assert brokerctl([*control, "resume"], {}) == 0
    again = channel_of(drained)
    publish(again, name, numbered(10, 500))
    rest.wait(510)


@pytest.mark.slow
def test_three_nodes_can_be_restarted_one_after_the_other_under_load(
    new_cluster: NewCluster, mariadb: DatabaseServer
) -> None:
    cluster = new_cluster(mariadb, 3, rhythm=CALM)
    cluster.start()
    load = ClusterLoad(cluster.nodes, seed=1)
    load.start()
    for node in cluster.nodes:
        load.recorder.wait_until_confirmed(load.recorder.confirmed + 500, 30.0)
        began = time.monotonic()
        assert node.stop() == 0
        load.disturb(Disturbance(node.number, began, time.monotonic()))
        node.start()
        cluster.wait_until_complete()
    load.recorder.wait_until_confirmed(load.recorder.confirmed + 500, 30.0)
    load.stop()
    load.drain(cluster[0])
    assert brief(check(load.history(), CLUSTER_RULES, may_come_late=True)) == []


def test_a_copy_of_a_node_is_refused_and_told_what_to_change(
    new_cluster: NewCluster, mariadb: DatabaseServer, tmp_path: Path
) -> None:
    cluster = new_cluster(mariadb, 1)
    cluster.start()
    double = a_node(tmp_path / "double", cluster)
    axis2 = double.config / "axis2.xml"
    axis2.write_text(axis2.read_text().replace("4007", "4000"))
    assert double.refused() == EX_CONFIG
    assert f"node id '{cluster[0].node_id}' is in use by a living node at 127.0.0.1:" in double.log
    assert f"localMemberPort ({axis2}:5)" in double.log
    assert cluster[0].is_running()


def test_a_standalone_broker_is_refused_a_database_that_a_cluster_uses(
    new_cluster: NewCluster, postgresql: DatabaseServer, tmp_path: Path
) -> None:
    cluster = new_cluster(postgresql, 1)
    cluster.start()
    alone = a_node(tmp_path / "alone", cluster, is_clustered=False)
    assert alone.refused() == EX_UNAVAILABLE
    assert cluster[0].node_id in alone.log


def test_a_cluster_is_refused_a_database_that_a_standalone_broker_uses(
    new_cluster: NewCluster, mariadb: DatabaseServer, tmp_path: Path
) -> None:
    cluster = new_cluster(mariadb, 1)
    alone = a_node(tmp_path / "alone", cluster, is_clustered=False)
    alone.start()
    try:
        assert cluster[0].refused() == EX_UNAVAILABLE
    finally:
        alone.close()


def a_node(directory: Path, cluster: ClusterOfProcesses, *, is_clustered: bool = True) -> BrokerProcess:
    """A further process on the cluster's database, with ports of its own."""
    url = cluster.server.jdbc_url(cluster.database)
    membership = Membership(7, quiet_port(8), CALM, is_enabled=is_clustered)
    return BrokerProcess(directory, NodeConfiguration(url, quiet_port(8), membership=membership))
