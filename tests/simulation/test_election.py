"""Elections under faults: at most one coordinator has effective power, and before long there is one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial

import pytest

from tests.simulation.andes import AndesDriver, AndesStore
from tests.simulation.drivers import ElectionDriver
from tests.simulation.schedule import Fault, Schedule, draw, late_replies_before_isolation
from tests.simulation.store import SimulatedStore, Violation
from tests.simulation.world import World


def run(schedule: Schedule, *, fenced: bool = True, trusts_answer: bool = False) -> World:
    store = SimulatedStore(fenced=fenced)
    world = World(schedule, lambda machine: ElectionDriver(machine, store, trusts_answer=trusts_answer), store)
    world.run()
    return world


def run_andes(schedule: Schedule) -> World:
    """Run Andes' election, with the wait it relies on."""
    store = AndesStore()
    world = World(replace(schedule, creation_wait=3.0), lambda machine: AndesDriver(machine, store), store)
    world.run()
    return world


def hold(schedules: Iterable[Schedule]) -> None:
    """Run every schedule; print the one that fails."""
    for schedule in schedules:
        try:
            run(schedule)
        except Violation as violation:
            pytest.fail(f"{violation}\n{schedule}", pytrace=False)


def first_violation(schedules: Iterable[Schedule], runner: Callable[[Schedule], World]) -> str | None:
    for schedule in schedules:
        try:
            runner(schedule)
        except Violation as violation:
            return str(violation)
    return None


def seconds_without_coordinator(kind: str, seed: int) -> float:
    """Let `kind` happen to the coordinator of three nodes when all are well, and return how long nobody leads."""
    at = 12.0 + seed * 0.037
    world = run(Schedule(seed, 3.0, (1.0, 1.0, 1.0), (Fault(at, kind, -1, 60.0),)))
    return next(since for since, _ in world.led_since if since > at) - at


def test_ten_thousand_schedules_of_faults_break_no_invariant() -> None:
    hold(draw(seed) for seed in range(10_000))


@pytest.mark.slow
def test_two_hundred_thousand_schedules_of_faults_break_no_invariant() -> None:
    hold(draw(seed) for seed in range(10_000, 210_000))


def test_late_replies_let_no_two_nodes_believe_in_power() -> None:
    hold(late_replies_before_isolation(seed) for seed in range(2_000))


def test_after_a_crash_there_is_a_new_coordinator_within_15_5_seconds() -> None:
    assert max(seconds_without_coordinator("kill-coordinator", seed) for seed in range(300)) <= 15.5


def test_after_a_graceful_stop_nobody_waits_for_silence() -> None:
    assert max(seconds_without_coordinator("stop-coordinator", seed) for seed in range(300)) <= 2.5


def test_the_first_coordinator_of_a_new_cluster_leads_at_once() -> None:
    world = run(Schedule(1, 3.0, (1.0, 1.0, 1.0), ()))
    assert world.led_since[0][0] <= 0.1


def test_a_run_is_a_function_of_its_schedule() -> None:
    assert run(draw(11)).led_since == run(draw(11)).led_since


def test_without_the_fence_a_late_write_of_a_former_coordinator_is_found() -> None:
    schedules = (draw(seed) for seed in range(300))
    assert "when" in str(first_violation(schedules, partial(run, fenced=False)))


def test_trust_counted_from_the_answer_is_found() -> None:
    schedules = (late_replies_before_isolation(seed) for seed in range(300))
    found = first_violation(schedules, partial(run, trusts_answer=True))
    assert "both believe in power" in str(found)


def test_the_election_of_andes_is_found_to_have_two_coordinators() -> None:
    schedules = (draw(seed, unsafe=False) for seed in range(1_000))
    assert "I51" in str(first_violation(schedules, run_andes))


def test_the_election_of_andes_needs_no_fault_but_a_wall_clock_that_jumps() -> None:
    schedules = (draw(seed, unsafe=False, kinds=("wall-jump",)) for seed in range(100))
    assert "I51" in str(first_violation(schedules, run_andes))
