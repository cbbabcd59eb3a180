"""Message groups over nodes under faults: not more of a group out than may be, in order, none lost (ADR 83, 84)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pytest
import structlog

from broker.queue.settings import QueueSettings
from tests.simulation.slots_faults import SOUND, Plant
from tests.simulation.slots_history import Violation
from tests.simulation.slots_schedule import SlotSchedule, draw
from tests.simulation.slots_world import SlotWorld
from tests.support.virtual_loop import VirtualLoop
from tests.support.virtual_loop import run as run_in_virtual_time


def run(schedule: SlotSchedule, concurrency: int = 1, plant: Plant = SOUND) -> SlotWorld:
    async def main(loop: VirtualLoop) -> SlotWorld:
        world = SlotWorld(schedule, loop, plant, QueueSettings(group_concurrency=concurrency))
        await world.run()
        return world

    with structlog.testing.capture_logs():
        return run_in_virtual_time(main)


def hold(schedules: Iterable[SlotSchedule], concurrency: int) -> int:
    """Run every schedule; print the one that fails. Return how many groups were out at once at most."""
    most = 0
    for schedule in schedules:
        try:
            world = run(schedule, concurrency)
        except Violation as violation:
            pytest.fail(f"{violation}\n{schedule}", pytrace=False)
        assert world.groups is not None
        most = max(most, world.groups.most)
    return most


@pytest.mark.parametrize(("concurrency", "seeds"), [(1, (4, 5, 76)), (2, (27, 189))])
def test_groups_keep_order_and_bounds_over_any_faults(concurrency: int, seeds: Sequence[int]) -> None:
    assert hold(map(draw, seeds), concurrency) > 1


@pytest.mark.slow
@pytest.mark.parametrize("concurrency", [1, 2])
@pytest.mark.parametrize("part", range(10))
def test_thousands_of_schedules_of_faults_leave_groups_in_order(part: int, concurrency: int) -> None:
    assert hold(map(draw, range(part, 1000, 10)), concurrency) > 1
