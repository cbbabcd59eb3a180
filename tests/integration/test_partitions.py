"""Networks that are split between the servers of a database, with brokers on either side, under confirmed load: nothing
that was confirmed is lost, whoever is cut off (ADR 86, ADR 88).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks.nodes.configuration import CALM
from tests.integration.test_failover import LOST, ROUNDS, STARTED_WITHIN, judged, run_alone
from tests.integration.test_kill import first_of_each
from tests.support.cluster import ClusterOfProcesses
from tests.support.cluster_chaos import brief, survive
from tests.support.cluster_load import ClusterLoad
from tests.support.databases import DatabaseMissing
from tests.support.events import Op
from tests.support.failovers import FailOvers, Partition, of_galera, of_pair
from tests.support.galera import Galera
from tests.support.network import Host, Network, NetworkMissing
from tests.support.standbys import Pair, PostgreSQLPair
from tests.support.waiting import wait_until

GONE_WITHIN = 60.0
SECRETS = ("a secret of all hosts",) * 3

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@dataclass
class Scene:
    """Servers of a database and hosts for so many brokers, on one network."""

    servers: Pair | Galera
    hosts: list[Host]
    partition: Partition
    fails: FailOvers


@contextmanager
def scene(kind: str, brokers: int) -> Iterator[Scene]:
    size = 3 if kind == "galera" else 2
    try:
        with Network(size + brokers) as network:
            at, hosts = network.hosts[:size], network.hosts[size:]
            servers = Galera(hosts=at) if kind == "galera" else PostgreSQLPair(is_synchronous=True, hosts=at)
            with servers:
                partition = Partition(network, hosts)
                is_galera = isinstance(servers, Galera)
                fails = of_galera(servers, 1, partition) if is_galera else of_pair(servers, 1, partition)
                yield Scene(servers, hosts, partition, fails)
    except (DatabaseMissing, NetworkMissing) as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("fault", ["partition", "partition with a broker"])
@pytest.mark.parametrize("kind", ["synchronous", "galera"])
def test_one_broker_loses_nothing_in_ten_partitions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, fault: str
) -> None:
    with scene(kind, 1) as here:
        log, events = run_alone(tmp_path, here.servers, here.fails, fault, here.hosts[0])
    faults = judged(tmp_path, events)
    with capsys.disabled():
        confirmed = sum(event.op is Op.CONFIRM for event in events)
        print(f"\none broker, {kind}, {here.fails.table}; {confirmed} confirms, broken promises: {len(faults)}")
    assert not faults, f"{first_of_each(faults)} (history and log in {tmp_path})"
    assert LOST not in log


@pytest.mark.parametrize("fault", ["partition", "partition with a broker"])
@pytest.mark.parametrize("kind", ["synchronous", "galera"])
def test_three_nodes_lose_nothing_in_ten_partitions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, fault: str
) -> None:
    with scene(kind, 3) as here:

        def strike(load: ClusterLoad) -> list[object]:
            here.fails.rounds(fault, ROUNDS, load.recorder)
            return list(here.fails.struck)

        with ClusterOfProcesses(tmp_path, here.servers, 3, rhythm=CALM, hosts=here.hosts, secrets=SECRETS) as cluster:
            first = cluster[0].node_id
            here.partition.wait_until_gone = lambda: wait_until(
                lambda: first not in cluster.up(), GONE_WITHIN, "the node that is cut off counts as gone", cluster.nodes
            )
            cluster.start(STARTED_WITHIN)
            outcome = survive(cluster, 1, 0.0, record=tmp_path / "broken", strike=strike)  # type: ignore[arg-type]
            (tmp_path / "nodes.log").write_text(cluster.log)
    with capsys.disabled():
        print(f"\nthree nodes, {kind}, {here.fails.table}\n{outcome.table}")
    assert not outcome.broken, f"{brief(outcome.broken)} (logs in {tmp_path})"
    assert not outcome.died
