"""Members under faults: who is evicted has stopped before, commits nothing after, and everybody finds back."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from broker.coordination.membership.members import MemberJoined, MemberLeft
from broker.ports.cluster_rows import NodeRow
from tests.simulation.members import MemberDriver, NodeTable
from tests.simulation.schedule import Fault, Schedule, draw, late_replies_before_isolation
from tests.simulation.store import SimulatedStore, Violation
from tests.simulation.world import Machine, World


class Cluster:
    """A world of members, and what must hold between them."""

    def __init__(self, schedule: Schedule, *, fenced: bool = True) -> None:
        self.store = SimulatedStore()
        self.table = NodeTable(self.store, self._on_evicted, fenced=fenced)
        self.drivers: dict[str, MemberDriver] = {}
        self.evicted_at: list[float] = []
        self.world = World(schedule, self._drive, self.store, self.is_settled)

    def is_settled(self) -> bool:
        """Return whether every node trusts itself and sees all the others."""
        return all(
            driver.is_trusted() and driver.members.members.keys() == self.drivers.keys() - {name}
            for name, driver in self.drivers.items()
        )

    def _drive(self, machine: Machine) -> MemberDriver:
        driver = self.drivers[machine.name] = MemberDriver(machine, self.store, self.table)
        return driver

    def _on_evicted(self, row: NodeRow) -> None:
        self.evicted_at.append(self.world.now)
        machine = next(machine for machine in self.world.machines if machine.name == row.node_id)
        driver = self.drivers[machine.name]
        runs = machine.driver is driver and machine.paused_until <= self.world.now
        holds = driver.is_trusted() and driver.own_row.incarnation == row.incarnation
        if self.world.checks_belief and runs and holds:
            raise Violation(f"I53: {row.node_id} was evicted while it might still deliver")


def run(schedule: Schedule, *, fenced: bool = True) -> Cluster:
    cluster = Cluster(schedule, fenced=fenced)
    cluster.world.run()
    return cluster


def run_all(schedules: Iterable[Schedule], *, fenced: bool) -> None:
    for schedule in schedules:
        run(schedule, fenced=fenced)


def hold(schedules: Iterable[Schedule]) -> None:
    """Run every schedule; print the one that fails."""
    for schedule in schedules:
        try:
            run(schedule)
        except Violation as violation:
            pytest.fail(f"{violation}\n{schedule}", pytrace=False)


def three_nodes(seed: int, kind: str, node: int, seconds: float) -> Schedule:
    return Schedule(seed, 3.0, (1.0, 1.0, 1.0), (Fault(12.0 + seed * 0.037, kind, node, seconds),))


def test_two_thousand_schedules_of_faults_break_no_rule_of_membership() -> None:
    hold(draw(seed) for seed in range(2_000))


def test_late_replies_let_nobody_be_evicted_that_trusts_itself() -> None:
    hold(late_replies_before_isolation(seed) for seed in range(500))


def test_a_late_registration_that_was_evicted_meanwhile_is_not_taken_for_a_silent_node() -> None:
    faults = (Fault(28.23, "hang", -1, 12.0), Fault(34.13, "stop", 0, 6.84))
    network = (Fault(35.97, "slow", 0, 24.2), Fault(39.14, "lossy", 0, 23.18))
    hold([Schedule(22992, 3.0, (1.0, 1.02, 1.02), faults + network)])


@pytest.mark.slow
def test_forty_thousand_schedules_of_faults_break_no_rule_of_membership() -> None:
    hold(draw(seed) for seed in range(2_000, 42_000))


@pytest.mark.parametrize("kind", ["outage", "hang"])
def test_nobody_is_evicted_because_the_store_was_away(kind: str) -> None:
    for seed in range(100):
        cluster = run(three_nodes(seed, kind, -1, 30.0))
        assert (cluster.table.evictions, cluster.table.refused) == (0, 0)
        assert {driver.own_row.incarnation for driver in cluster.drivers.values()} == {"1.0"}


def test_a_dead_coordinator_is_evicted_within_16_5_seconds() -> None:
    for seed in range(100):
        cluster = run(three_nodes(seed, "kill-coordinator", -1, 40.0))
        assert cluster.evicted_at[0] <= 12.0 + seed * 0.037 + 16.5


def test_a_member_that_leaves_is_not_evicted_and_is_seen_to_come_back() -> None:
    cluster = run(three_nodes(1, "stop", 0, 30.0))
    assert cluster.table.evictions == 0
    assert [event for event in cluster.drivers["node 1"].events if event.node_id == "node 0"] == [
        MemberJoined("node 0", "1.0"),
        MemberLeft("node 0", "1.0"),
        MemberJoined("node 0", "2.0"),
    ]


def test_without_the_fence_of_nodes_a_late_commit_of_an_evicted_one_is_found() -> None:
    with pytest.raises(Violation, match="I54"):
        run_all((draw(seed) for seed in range(300)), fenced=False)
