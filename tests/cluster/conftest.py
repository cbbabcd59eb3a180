"""Clusters of real processes on MariaDB and PostgreSQL: a pair that many tests share, and clusters of a test's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPError

from benchmarks.nodes.configuration import CALM
from benchmarks.nodes.process import BrokerProcess
from tests.support.cluster import ClusterOfProcesses
from tests.support.databases import DatabaseServer

ChannelOf = Callable[..., BlockingChannel]
NewCluster = Callable[..., ClusterOfProcesses]


@pytest.fixture(scope="session", params=["mariadb", "postgresql"])
def shared_pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    """Two nodes for all tests that leave them as they are."""
    server: DatabaseServer = request.getfixturevalue(request.param)
    with ClusterOfProcesses(tmp_path_factory.mktemp("pair"), server, 2, rhythm=CALM) as pair:
        pair.start()
        yield pair


@pytest.fixture
def pair(shared_pair: ClusterOfProcesses) -> Iterator[ClusterOfProcesses]:
    """Two nodes that a test leaves as they are; what they logged meanwhile is part of a failure's report."""
    marks = [node.output.mark() for node in shared_pair.nodes]
    yield shared_pair
    for node, mark in zip(shared_pair.nodes, marks, strict=True):
        print(f"--- {node}", node.output.since(mark), sep="\n")
        assert node.is_running(), f"{node} has died\n{node.log}"


@pytest.fixture
def new_cluster(tmp_path: Path) -> Iterator[NewCluster]:
    """Makes clusters of this test's own, of which nothing is left afterwards."""
    made: list[ClusterOfProcesses] = []

    def make(server: DatabaseServer, size: int, **options: object) -> ClusterOfProcesses:
        made.append(ClusterOfProcesses(tmp_path / f"cluster{len(made)}", server, size, **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for cluster in made:
        print(cluster.log)
        cluster.close()


@pytest.fixture
def channel_of() -> Iterator[ChannelOf]:
    """Opens a channel on a connection of its own, which ends with the test or with its node."""
    connections: list[pika.BlockingConnection] = []

    def open_channel(node: BrokerProcess, vhost: str = "/") -> BlockingChannel:
        parameters = pika.URLParameters(f"{node.url}?heartbeat=0")
        parameters.virtual_host = vhost
        connections.append(pika.BlockingConnection(parameters))
        return connections[-1].channel()

    yield open_channel
    for connection in connections:
        with suppress(AMQPError):
            connection.close()


@pytest.fixture
def name() -> str:
    """A name that no other test uses."""
    return f"q.{uuid4().hex[:12]}"
