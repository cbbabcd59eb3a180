"""Slots under faults: no message has two owners, none is lost, none comes twice unsaid, and everything drains."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable

import pytest
import structlog

from tests.simulation.slots_schedule import SlotSchedule, draw
from tests.simulation.slots_world import SlotWorld
from tests.support.memory_slots import Violation
from tests.support.virtual_loop import VirtualLoop
from tests.support.virtual_loop import run as run_in_virtual_time


def run(schedule: SlotSchedule, bugs: Collection[str] = ()) -> SlotWorld:
    async def main(loop: VirtualLoop) -> SlotWorld:
        world = SlotWorld(schedule, loop, bugs)
        await world.run()
        return world

    # What is logged thousands of times says nothing, and costs a third of the run.
    with structlog.testing.capture_logs():
        return run_in_virtual_time(main)


def hold(seeds: Iterable[int]) -> None:
    """Run the schedule of every seed; print the one that fails."""
    for seed in seeds:
        try:
            run(draw(seed))
        except Violation as violation:
            pytest.fail(f"{violation}\n{draw(seed)}", pytrace=False)


def first_violation(bug: str, seeds: Iterable[int]) -> str | None:
    for seed in seeds:
        try:
            run(draw(seed), {bug})
        except Violation as violation:
            return str(violation)
    return None


@pytest.mark.parametrize("part", range(4))
def test_three_thousand_schedules_of_faults_break_no_invariant(part: int) -> None:
    hold(range(part, 3_000, 4))


@pytest.mark.slow
@pytest.mark.parametrize("part", range(20))
def test_a_hundred_thousand_schedules_of_faults_break_no_invariant(part: int) -> None:
    hold(range(3_000 + part, 103_000, 20))


def test_a_run_is_a_function_of_its_schedule() -> None:
    state = random.getstate()
    first, second = run(draw(11)), run(draw(11))

    assert (first.loop.time(), first.history.confirmed) == (second.loop.time(), second.history.confirmed)
    assert random.getstate() == state


@pytest.mark.parametrize(
    ("bug", "rule"),
    [
        ("assign without CAS", "C3"),
        ("assign without fence", "C1"),
        ("assign to anybody", "C4"),
        ("reclaim without fence", "C1"),
        ("reclaim from all", "C3"),
        ("reclaim unflagged", "R1"),
        ("no check of incarnations", "C4"),
        ("finish too early", "L3"),
        ("cut forgets what is held", "A4"),
        ("no reconciliation", "L3"),
        ("no rescan", "L3"),
    ],
)
def test_a_planted_bug_is_found(bug: str, rule: str) -> None:
    assert str(first_violation(bug, range(200))).startswith(rule)
