"""Real nodes that meet as peers: who is seen, who coordinates, and what clients notice of faults."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pika
import pytest
from pika.exceptions import AMQPError, ConnectionClosed

from benchmarks.nodes.configuration import CALM
from benchmarks.nodes.process import BrokerProcess
from broker.thrift.secret import SharedSecret
from tests.cluster.conftest import ChannelOf, NewCluster
from tests.support.cluster import ClusterOfProcesses
from tests.support.databases import DatabaseServer
from tests.support.waiting import wait_until

BEAT = CALM.heartbeat_interval / 1000


@pytest.fixture(scope="module", params=["mariadb", "postgresql"])
def peers(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterOfProcesses]:
    """Two nodes that meet as peers, for tests that leave both running."""
    server: DatabaseServer = request.getfixturevalue(request.param)
    folder = tmp_path_factory.mktemp("peers")
    with ClusterOfProcesses(folder, server, 2, rhythm=CALM, meets_as_peers=True) as cluster:
        cluster.start()
        yield cluster
        print(cluster.log)


def publish(channel_of: ChannelOf, node: BrokerProcess, name: str, count: int) -> None:
    channel = channel_of(node)
    channel.confirm_delivery()
    for number in range(count):
        channel.basic_publish("", name, str(number).encode(), pika.BasicProperties(delivery_mode=2))


def consume(channel_of: ChannelOf, node: BrokerProcess, name: str, count: int) -> list[int]:
    channel = channel_of(node)
    got = []
    for method, _, body in channel.consume(name, inactivity_timeout=10.0):
        if method is None:
            break
        channel.basic_ack(method.delivery_tag)
        got.append(int(body))
        if len(got) == count:
            break
    channel.cancel()
    return got


def test_peers_share_queues_and_follow_a_coordinator_that_is_killed(
    peers: ClusterOfProcesses, channel_of: ChannelOf, name: str
) -> None:
    channel_of(peers[0]).queue_declare(name, durable=True)
    channel_of(peers[0]).queue_declare(f"{name}-left", durable=True)
    publish(channel_of, peers[0], name, 100)
    assert consume(channel_of, peers[1], name, 100) == list(range(100))
    coordinator = peers.coordinator()
    (other,) = peers.others(coordinator)
    publish(channel_of, other, name, 50)
    publish(channel_of, coordinator, f"{name}-left", 20)
    mark = other.output.mark()
    coordinator.kill9()
    wait_until(lambda: peers.coordinator_id() == other.node_id, 8 * BEAT, "the other node coordinates", [other])
    wait_until(lambda: "Member left" in other.output.since(mark), 2 * BEAT, "the member has left", [other])
    assert consume(channel_of, other, name, 50) == list(range(50))
    assert consume(channel_of, other, f"{name}-left", 20) == list(range(20))  # once it has been evicted
    coordinator.start()
    peers.wait_until_complete()
    wait_until(lambda: "Member joined" in other.output.since(mark), 2 * BEAT, "the member has joined", [other])


def test_a_node_that_was_copied_takes_the_next_port_and_a_name_of_its_own(
    new_cluster: NewCluster, mariadb: DatabaseServer
) -> None:
    cluster = new_cluster(mariadb, 2, rhythm=CALM, meets_as_peers=True)
    path = cluster[1].config / "axis2.xml"
    first = str(cluster[0].configuration.node_id.rpartition(":")[2])
    text = path.read_text()
    second = cluster[1].configuration.node_id.rpartition(":")[2]
    path.write_text(text.replace(f'localMemberPort">{second}', f'localMemberPort">{first}'))
    cluster.start()
    assert "Member joined" in cluster[0].log
    assert {node.node_id for node in cluster.nodes} == set(cluster.up())
    mark = cluster[0].output.mark()
    assert cluster[1].stop() == 0
    wait_until(lambda: "Member left" in cluster[0].output.since(mark), BEAT, "it is seen to leave", cluster.nodes)
    assert cluster[0].stop() == 0


SECRET = "0123456789abcdef"
PEERS = "rdbmsBasedCoordination false, no minimumClusterSize, domain {}, on loopback, {}"
HERE = PEERS.format("wso2.carbon.domain", "no clusterSecret")


@pytest.mark.parametrize(
    ("file", "old", "new", "terms"),
    [
        (
            "axis2.xml",
            '<parameter name="membershipScheme">',
            '<parameter name="domain">other</parameter><parameter name="membershipScheme">',
            PEERS.format("other", "no clusterSecret"),
        ),
        (
            "broker.xml",
            "<coordination>",
            f"<coordination><clusterSecret>{SECRET}</clusterSecret>",
            PEERS.format("wso2.carbon.domain", f"clusterSecret #{SharedSecret(SECRET).mark()}"),
        ),
        (
            "broker.xml",
            '<rdbmsBasedCoordination enabled="false">',
            '<rdbmsBasedCoordination enabled="true">',
            "rdbmsBasedCoordination true, no minimumClusterSize",
        ),
    ],
    ids=["domain", "secret", "way"],
)
def test_a_node_that_disagrees_does_not_start_and_names_both_values(
    new_cluster: NewCluster, mariadb: DatabaseServer, file: str, old: str, new: str, terms: str
) -> None:
    cluster = new_cluster(mariadb, 2, rhythm=CALM, meets_as_peers=True)
    cluster[0].start()
    path = cluster[1].config / file
    path.write_text(path.read_text().replace(old, new))
    assert cluster[1].refused() == 78
    assert f"node '{cluster[0].node_id}' has '{HERE}', this one '{terms}'" in cluster[1].log
    assert cluster.up() == [cluster[0].node_id]
    assert ("thrift peer is not authorized" in cluster[0].log) == ("clusterSecret #" in terms)  # that one says so, too


def test_a_cluster_that_was_stopped_and_changed_meets_in_the_other_way(
    new_cluster: NewCluster, mariadb: DatabaseServer
) -> None:
    cluster = new_cluster(mariadb, 2, rhythm=CALM, meets_as_peers=True)
    cluster.start()
    for node in cluster.nodes:
        node.kill9()
        path = node.config / "broker.xml"
        path.write_text(
            path.read_text().replace('<rdbmsBasedCoordination enabled="false">', "<rdbmsBasedCoordination>")
        )
    cluster.start()
    assert "Member joined" in cluster[0].log


SPLITS = [((0,), (1, 2, 3, 4)), ((0, 1), (2, 3, 4)), ((0, 1), (2, 3), (4,))]


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("engine", ["mariadb", "postgresql"])
def test_of_five_nodes_only_a_part_of_three_serves_and_all_do_when_the_network_is_whole_again(
    request: pytest.FixtureRequest,
    new_cluster: NewCluster,
    engine: str,
    channel_of: ChannelOf,
    capsys: pytest.CaptureFixture[str],
) -> None:
    server: DatabaseServer = request.getfixturevalue(engine)
    cluster = new_cluster(server, 5, rhythm=CALM, is_proxied=True, meets_as_peers=True, minimum=3)
    cluster.start()
    wait_until(lambda: all(map(serves, cluster.nodes)), 10 * BEAT, "all nodes serve", cluster.nodes)
    channel_of(cluster[0]).queue_declare("five", durable=True)
    lines = []
    for parts in SPLITS:
        large = {number for part in parts if len(part) >= 3 for number in part}
        small = [cluster[number] for part in parts if len(part) < 3 for number in part]
        publish(channel_of, cluster[0], "five", 20)
        clients = [channel_of(node).connection for node in small]
        cluster.split(*parts)
        stopped = seconds_until(lambda small=small: not any(map(serves, small)), cluster)
        assert [closed_with(client) for client in clients] == [320] * len(clients)
        led = 0.0
        if large:
            inside = [cluster[number] for number in large]
            assert all(map(serves, inside))
            ids = {node.node_id for node in inside}
            led = seconds_until(lambda ids=ids: cluster.coordinator_id() in ids, cluster)
            assert consume(channel_of, inside[-1], "five", 20) == list(range(20))
        cluster.unite()
        back = seconds_until(lambda: all(map(serves, cluster.nodes)), cluster)
        lines.append(
            f"{parts}: stopped after {stopped:.1f} s, led after {led:.1f} s, serving {back:.1f} s after the end"
        )
        if not large:
            assert consume(channel_of, cluster[2], "five", 20) == list(range(20))
    with capsys.disabled():
        print("", engine, *lines, sep="\n")


def serves(node: BrokerProcess) -> bool:
    """Return whether a client gets in."""
    try:
        pika.BlockingConnection(pika.URLParameters(f"{node.url}?heartbeat=0")).close()
    except AMQPError:
        return False
    return True


def closed_with(connection: pika.BlockingConnection) -> int:
    """Return the code with which the node has closed a connection."""
    with pytest.raises(ConnectionClosed) as closed:
        connection.process_data_events(5.0)
    return int(closed.value.reply_code)


def seconds_until(holds: Callable[[], bool], cluster: ClusterOfProcesses) -> float:
    began = time.monotonic()
    wait_until(holds, 12 * BEAT, "the parts of the network are noticed", cluster.nodes)
    return time.monotonic() - began
