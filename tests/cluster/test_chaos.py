"""Three nodes under confirmed load while nodes, network, clocks and the database fail in a seeded order.

`make test-chaos` runs the long ones; `CORDILLERA_CHAOS_SECONDS` and `CORDILLERA_CHAOS_SEED` say how long and which.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from benchmarks.nodes.configuration import CALM
from tests.cluster.conftest import NewCluster
from tests.support.cluster_chaos import Outcome, brief, survive
from tests.support.databases import DatabaseServer

SECONDS = float(os.environ.get("CORDILLERA_CHAOS_SECONDS", "300"))
SEED = int(os.environ.get("CORDILLERA_CHAOS_SEED", str(random.randrange(1_000_000))))
STARTED_WITHIN = 120.0  # on a machine that does other things


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 600)
@pytest.mark.parametrize("meets_as_peers", [False, True], ids=["database", "peers"])
@pytest.mark.parametrize("engine", ["mariadb", "postgresql"])
def test_nothing_is_lost_or_doubled_in_chaos(
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
    outcome = survive(cluster, SEED, SECONDS, record=tmp_path / "history.jsonl")
    with capsys.disabled():
        print(f"\n{outcome.table}")
    judge(outcome)


@pytest.mark.timeout(180)
def test_nothing_is_lost_or_doubled_in_a_short_chaos(
    new_cluster: NewCluster, mariadb: DatabaseServer, tmp_path: Path
) -> None:
    cluster = new_cluster(mariadb, 3, rhythm=CALM, window_size=200, is_proxied=True)
    cluster.start()
    outcome = survive(cluster, 7, 12.0, longest=2.0, record=tmp_path / "history.jsonl")
    print(outcome.table)
    judge(outcome)


def judge(outcome: Outcome) -> None:
    """Fail with everything that is wrong, not only the first."""
    wrong = brief(outcome.broken)
    wrong += [f"slots overlap: {outcome.overlaps[:3]}"] if outcome.overlaps else []
    wrong += [f"{outcome.stuck} messages were not delivered in time"] if outcome.stuck else []
    wrong += [f"ended by itself: {text}" for text in outcome.died]
    assert not wrong, "\n".join([*wrong, outcome.table])
