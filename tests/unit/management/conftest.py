from __future__ import annotations

import pytest

from broker.management.figures.view import MachineFigures, NodeView
from tests.support.harness import Client, Harness


@pytest.fixture
def harness() -> Harness:
    return Harness()


@pytest.fixture
def peer(harness: Harness) -> Client:
    return harness.peer()


@pytest.fixture
def view(harness: Harness) -> NodeView:
    return NodeView(
        harness.broker,
        "NODE:1",
        version="0.1.0",
        named=lambda name: "test" if name == "cluster_name" else "",
        now_ms=harness.clock.wall_ms,
        machine=lambda: MachineFigures(memory_used=1000, process_id=17, descriptors_total=1024),
        platform="Python 3.11",
    )
