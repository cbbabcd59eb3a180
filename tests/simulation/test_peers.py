"""Membership among peers under faults: one coordinator with power, everybody seen who is there, nobody who is not."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf
from typing import Any

import pytest

from broker.coordination.peering.view import Detector
from tests.simulation.peers import DETECTOR, PeerCluster, draw_peers
from tests.simulation.schedule import Fault, Schedule
from tests.simulation.store import Violation


def hold(schedules: Iterable[Schedule]) -> None:
    """Run every schedule; print the one that fails."""
    for schedule in schedules:
        try:
            PeerCluster(schedule).run()
        except Violation as violation:
            pytest.fail(f"{violation}\n{schedule}", pytrace=False)


def run_all(schedules: Iterable[Schedule], **planted: Any) -> None:
    for schedule in schedules:
        PeerCluster(schedule, **planted).run()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("first", range(0, 10_000, 2_500))
def test_ten_thousand_short_schedules_of_faults_break_no_rule_of_membership_among_peers(first: int) -> None:
    hold(draw_peers(seed, is_short=True) for seed in range(first, first + 2_500))


def test_long_schedules_of_faults_break_no_rule_of_membership_among_peers() -> None:
    hold(draw_peers(seed) for seed in range(100))


@pytest.mark.slow
def test_ten_thousand_long_schedules_of_faults_break_no_rule_of_membership_among_peers() -> None:
    hold(draw_peers(seed) for seed in range(100, 10_100))


def test_without_the_fence_two_coordinators_have_power() -> None:
    with pytest.raises(Violation, match="I51"):
        run_all((draw_peers(seed) for seed in range(600)), fenced=False)


def test_a_view_that_forgets_nobody_lists_members_that_are_gone() -> None:
    schedule = Schedule(1, 0.0, (1.0, 1.0, 1.0), (Fault(12.0, "kill", 1, 40.0),))
    with pytest.raises(Violation, match=r"not settled|who are gone"):
        run_all((draw_peers(seed) for seed in range(50)), detector=Detector(DETECTOR.interval, inf))
    PeerCluster(schedule).run()


def test_nominating_a_node_that_does_not_reach_the_store_leaves_the_cluster_without_a_coordinator() -> None:
    # The two oldest nodes are cut off from the store, and not from their peers, for much longer than a lease lasts.
    schedule = Schedule(3, 0.0, (1.0, 1.0, 1.0), tuple(Fault(10.0, "isolated", node, 25.0) for node in (0, 1)))
    leading = PeerCluster(schedule)
    leading.run()
    assert {node for at, node in leading.world.led_since if 12.0 < at < 35.0} == {"node 2"}
    planted = PeerCluster(schedule, ignores_store=True)
    planted.run()
    assert not [node for at, node in planted.world.led_since if 12.0 < at < 35.0]
