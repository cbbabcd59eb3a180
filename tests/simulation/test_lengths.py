"""Queues of a certain length under faults: what is too much leaves, on one node, and nothing else does (ADR 67)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

import pytest
import structlog

from broker.coordination.slots.balancer import Balancer
from broker.coordination.slots.handoff import Portion
from broker.coordination.slots.runner import Deciders
from broker.message import PENDING
from broker.queue.queue import Queue
from broker.queue.settings import Overflow, QueueSettings
from tests.simulation.slots_faults import SOUND, Plant
from tests.simulation.slots_history import Violation
from tests.simulation.slots_schedule import SlotSchedule, draw
from tests.simulation.slots_world import SlotWorld
from tests.support.virtual_loop import VirtualLoop
from tests.support.virtual_loop import run as run_in_virtual_time

MAX_LENGTH = 7


def run(schedule: SlotSchedule, plant: Plant = SOUND) -> SlotWorld:
    async def main(loop: VirtualLoop) -> SlotWorld:
        world = SlotWorld(schedule, loop, plant, QueueSettings(max_length=MAX_LENGTH))
        await world.run()
        return world

    with structlog.testing.capture_logs():
        return run_in_virtual_time(main)


def hold(schedules: Iterable[SlotSchedule]) -> int:
    """Run every schedule; print the one that fails. Return how many messages were let go."""
    dropped = 0
    for schedule in schedules:
        try:
            dropped += run(schedule).history.dropped
        except Violation as violation:
            pytest.fail(f"{violation}\n{schedule}", pytrace=False)
    return dropped


def test_a_queue_is_as_long_as_it_may_be_after_any_faults() -> None:
    assert hold(map(draw, range(12))) > 0


@pytest.mark.slow
@pytest.mark.parametrize("part", range(20))
def test_thousands_of_schedules_of_faults_leave_lengths_as_they_may_be(part: int) -> None:
    assert hold(map(draw, range(12 + part, 1500, 20))) > 0


class KeepsWhatItHas(Balancer):
    def _portion(self, queue: Queue) -> Portion:
        return Portion(self._remote_demand.get(queue.queue_id, 0))


class TakesItselfForTheKeeper(Balancer):
    def _see_to_keeper(self, queue: Queue) -> None:
        super()._see_to_keeper(queue)
        queue.whole.keep_length(is_here=True)


PLANTS = {
    "nobody keeps it": Plant(knows_keeper=False),
    "keep what another node should have": Plant(deciders=Deciders(balancer=KeepsWhatItHas)),
    "take oneself for the keeper": Plant(deciders=Deciders(balancer=TakesItselfForTheKeeper)),
}


@pytest.mark.parametrize("fault", PLANTS)
def test_a_planted_fault_of_lengths_is_found(fault: str) -> None:
    assert any(is_found(seed, PLANTS[fault]) for seed in range(120))


def is_found(seed: int, plant: Plant) -> bool:
    try:
        run(draw(seed), plant)
    except Violation as violation:
        return str(violation).startswith("I64")
    return False


# Without faults: what clients of three nodes do


def play(script: Callable[[SlotWorld], Awaitable[None]], **settings: Any) -> None:
    async def main(loop: VirtualLoop) -> None:
        await SlotWorld(draw(1), loop, settings=QueueSettings(**settings)).play(script)

    with structlog.testing.capture_logs():
        run_in_virtual_time(main)


def queue_on(world: SlotWorld, number: int) -> Queue:
    member = world.nodes[number].member
    assert member is not None
    return member.queues[1]


async def publish(world: SlotWorld, number: int, count: int) -> None:
    """Publish on one node; what is published later has later ids, on whatever node."""
    member = world.nodes[number].member
    assert member is not None
    member.publish(member.queues[1], count, PENDING)
    await asyncio.sleep(1.0)


def lengths(world: SlotWorld) -> list[int]:
    return [queue_on(world, number).ready_count for number in range(3)]


def stored(world: SlotWorld) -> list[int]:
    return sorted(world.cluster.state.rows)


@pytest.mark.parametrize("order", [(1, 2), (2, 1), (0, 1), (1, 0), (1, 2, 0, 1), (0, 0, 2, 0)])
def test_the_oldest_leave_on_whatever_node_they_were_published(order: Sequence[int]) -> None:
    async def script(world: SlotWorld) -> None:
        for number in order[:-1]:
            await publish(world, number, 3)
        before = stored(world)
        await publish(world, order[-1], 3)
        assert lengths(world) == [5, 0, 0]
        assert stored(world)[:2] == before[-2:]
        assert len(stored(world)) == 5
        assert max(stored(world)) > max(before)

    play(script, max_length=5)


def test_what_older_nodes_bring_late_leaves_first() -> None:
    async def script(world: SlotWorld) -> None:
        world.is_scripted = True
        member = world.nodes[1].member
        assert member is not None
        for _ in range(4):
            for number in (0, 1):
                each = world.nodes[number].member
                assert each is not None
                each.publish(each.queues[1], 1, PENDING)
                await asyncio.sleep(0.003)
        await asyncio.sleep(2.0)
        ids = sorted(world.history.confirmed)
        assert len(ids) == 8
        assert stored(world) == ids[-3:]

    play(script, max_length=3)


def test_the_octets_of_what_comes_from_other_nodes_count() -> None:
    async def script(world: SlotWorld) -> None:
        for number in (1, 2, 1):
            await publish(world, number, 4)
        assert lengths(world) == [7, 0, 0]
        assert queue_on(world, 0).ready_octets == 70

    play(script, max_length_bytes=75)


def test_the_next_node_keeps_the_length_of_a_queue_whose_keeper_is_killed() -> None:
    async def script(world: SlotWorld) -> None:
        await publish(world, 1, 7)
        await publish(world, 2, 7)
        assert lengths(world) == [7, 0, 0]
        before = stored(world)
        keeper = world.nodes[0]
        assert keeper.member is not None
        incarnation = keeper.member.incarnation
        keeper.die()
        keeper.restart_manager()
        world._elect(world.nodes[1], 0.0)
        await publish(world, 2, 3)
        keeper.end_incarnation(incarnation)
        await asyncio.sleep(20.0)
        assert [queue_on(world, number).ready_count for number in (1, 2)] == [7, 0]
        assert stored(world)[:4] == before[-4:]

    play(script, max_length=7)


def test_a_node_gets_what_its_consumers_take_and_its_keeper_keeps_the_rest() -> None:
    async def script(world: SlotWorld) -> None:
        for number in (1, 2):
            member = world.nodes[number].member
            assert member is not None
            member.start_consuming(1)
        for number in (2, 1, 0):
            await publish(world, number, 9)
        assert lengths(world) == [0, 7, 0]
        assert [queue_on(world, number).unacked_count for number in range(3)] == [0, 3, 3]

    play(script, max_length=7)


def test_a_node_that_keeps_no_length_accepts_what_the_queue_has_room_for() -> None:
    async def script(world: SlotWorld) -> None:
        await publish(world, 0, 2)
        queue = queue_on(world, 2)
        queue.dispatch()
        assert queue.elsewhere is not None
        queue.elsewhere.begin_exchange()
        queue.elsewhere.end_exchange(2, 20)
        accepted = 0
        while not queue.refuses(10):
            await publish(world, 2, 1)
            accepted += 1
            assert accepted < 10
        assert accepted == 5, "what it has given away since it heard of the others is not added to that"
        queue.elsewhere.begin_exchange()
        queue.elsewhere.end_exchange(5, 50)
        assert queue.refuses(10)
        queue.elsewhere.end_exchange(4, 40)
        assert not queue.refuses(10)

    play(script, max_length=5, overflow=Overflow.REJECT_PUBLISH)
