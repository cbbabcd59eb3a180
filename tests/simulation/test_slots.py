"""Slots under faults: no message has two owners, none is lost, none comes twice unsaid, and everything drains."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest
import structlog

from tests.simulation.slots_faults import PLANTS, SOUND, Plant
from tests.simulation.slots_history import Violation
from tests.simulation.slots_schedule import SlotSchedule, draw
from tests.simulation.slots_world import SlotWorld
from tests.support.virtual_loop import VirtualLoop
from tests.support.virtual_loop import run as run_in_virtual_time

SCHEDULES = 1_000


def run(schedule: SlotSchedule, plant: Plant = SOUND) -> SlotWorld:
    async def main(loop: VirtualLoop) -> SlotWorld:
        world = SlotWorld(schedule, loop, plant)
        await world.run()
        return world

    # What is logged thousands of times says nothing, and costs a third of the run.
    with structlog.testing.capture_logs():
        return run_in_virtual_time(main)


def hold(seeds: Iterable[int]) -> None:
    """Run the schedule of every seed; print the one that fails."""
    runs = 0
    for seed in seeds:
        try:
            run(draw(seed))
        except Violation as violation:
            pytest.fail(f"{violation}\n{draw(seed)}", pytrace=False)
        runs += 1
    print(f"{runs} schedules run, 0 violations")


def first_violation(plant: Plant, seeds: Iterable[int]) -> tuple[int, str] | None:
    """Return how many schedules it took, and what was found."""
    for runs, seed in enumerate(seeds, 1):
        try:
            run(draw(seed), plant)
        except Violation as violation:
            return runs, str(violation)
    return None


@pytest.mark.parametrize("part", range(4))
def test_three_thousand_schedules_of_faults_break_no_invariant(part: int) -> None:
    hold(range(part, SCHEDULES, 4))


@pytest.mark.slow
@pytest.mark.parametrize("part", range(20))
def test_thirty_thousand_more_schedules_of_faults_break_no_invariant(part: int) -> None:
    hold(range(SCHEDULES + part, SCHEDULES + 30_000, 20))


def test_a_run_is_a_function_of_its_schedule() -> None:
    state = random.getstate()
    first, second = run(draw(11)), run(draw(11))

    assert (first.loop.time(), first.history.confirmed) == (second.loop.time(), second.history.confirmed)
    assert random.getstate() == state


@pytest.mark.parametrize("fault", PLANTS)
def test_a_planted_fault_is_found(fault: str) -> None:
    plant = PLANTS[fault]
    found = first_violation(plant, range(SCHEDULES))
    assert found is not None
    print(f"{fault}: found after {found[0]} schedules, {found[1]}")
    assert found[1].split(":")[0] in plant.rules.split()
