"""What is concluded from the faults of a run."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.cluster_chaos import ALL_NODES, GRACE, NO_NODE, Struck, disturbance
from tests.support.cluster_load import Disturbance
from tests.support.cluster_watch import IncarnationEnded

ENDED = IncarnationEnded("B", "incarnation", last_seen=106.0, at=107.0)
CLUSTER: Any = SimpleNamespace(nodes=[SimpleNamespace(number=0, node_id="A"), SimpleNamespace(number=1, node_id="B")])


@pytest.mark.parametrize(
    ("struck", "expected"),
    [
        pytest.param([], Disturbance(1, 106.0 - GRACE, 107.0), id="no fault"),
        pytest.param([Struck("killed", 0, 104.0, 110.0)], Disturbance(1, 106.0 - GRACE, 107.0), id="another node"),
        pytest.param([Struck("snapshot held", NO_NODE, 104.0, 110.0)], Disturbance(1, 91.0, 107.0), id="nobody"),
        pytest.param([Struck("restarted", ALL_NODES, 104.0, 105.0)], Disturbance(1, 104.0, 107.0), id="database"),
        pytest.param([Struck("no peers", 1, 104.0, 110.0)], Disturbance(1, 104.0, 110.0), id="cut off"),
        pytest.param(
            [Struck("suspended", 1, 104.0, 110.0)], Disturbance(1, 104.0, 110.0, ((104.0, 110.0),)), id="suspended"
        ),
        pytest.param(
            [Struck("clock jumps", 1, 103.0, 103.1), Struck("suspended", 1, 104.0, 110.0)],
            Disturbance(1, 103.0, 110.0, ((104.0, 110.0),)),
            id="suspended just after another fault",
        ),
        pytest.param(
            [Struck("suspended", 1, 103.0, 105.0), Struck("no peers", 1, 105.5, 110.0)],
            Disturbance(1, 103.0, 107.0),
            id="suspended and seen again",
        ),
        pytest.param(
            [Struck("clock jumps", 1, 103.0, 103.1), Struck("suspended", 1, 107.5, 110.0)],
            Disturbance(1, 103.0, 107.0),
            id="suspended when it had ended",
        ),
    ],
)
def test_a_node_is_silent_by_whichever_of_its_faults_stopped_it(struck: list[Struck], expected: Disturbance) -> None:
    assert disturbance(ENDED, struck, CLUSTER) == expected
