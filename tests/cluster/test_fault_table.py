"""The fault table: each fault several times on three nodes under confirmed load, in both ways in which nodes meet.

`CORDILLERA_ROUNDS` says how often (5), `CORDILLERA_FAULTS` which ones: words of their names, apart by commas.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchmarks.nodes.configuration import CALM
from tests.cluster.conftest import NewCluster
from tests.support.cluster_chaos import ALL_NODES, Struck, brief, survive
from tests.support.cluster_load import ClusterLoad
from tests.support.databases import DatabaseServer
from tests.support.fault_rows import Round, Striker, rows
from tests.support.fault_table import lines

ROUNDS = int(os.environ.get("CORDILLERA_ROUNDS", "5"))
FAULTS = os.environ.get("CORDILLERA_FAULTS", "").split(",")
RATE = 150.0  # messages a second of each publisher: what is measured is not how fast the machine is
CONFIRMS = 100  # between two faults
STARTED_WITHIN = 120.0  # many of these may run on one machine


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("meets_as_peers", [False, True], ids=["database", "peers"])
@pytest.mark.parametrize("engine", ["mariadb", "postgresql"])
def test_every_fault_of_the_table_is_noticed_and_loses_nothing(
    request: pytest.FixtureRequest,
    new_cluster: NewCluster,
    engine: str,
    meets_as_peers: bool,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    server: DatabaseServer = request.getfixturevalue(engine)
    cluster = new_cluster(server, 3, rhythm=CALM, window_size=200, is_proxied=True, meets_as_peers=meets_as_peers)
    cluster.start(STARTED_WITHIN)
    striker = Striker(cluster, 1)
    rounds: list[Round] = []
    table: list[str] = []

    def strike(load: ClusterLoad) -> list[Struck]:
        for row in rows(CALM.heartbeat_interval / 1000):
            most = min(ROUNDS, 2) if row.ends_all else ROUNDS
            for _ in range(most if any(word in row.name for word in FAULTS) else 0):
                load.spread()
                load.recorder.wait_until_confirmed(load.recorder.confirmed + CONFIRMS, 60.0)
                rounds.append(striker.round(row))
        load.recorder.wait_until_confirmed(load.recorder.confirmed + CONFIRMS, 60.0)
        load.stop_publishing()
        table.extend(lines(f"{engine}, nodes meet {'as peers' if meets_as_peers else 'in the database'}", rounds, load))
        return [Struck(each.row.name, ALL_NODES, each.began, each.over) for each in rounds]

    outcome = survive(cluster, 1, 0.0, record=tmp_path / "history.jsonl", strike=strike, rate=RATE)
    with capsys.disabled():
        print("", *table, outcome.table, sep="\n")
    assert not outcome.broken, brief(outcome.broken)
    assert not outcome.overlaps
    assert not outcome.stuck
