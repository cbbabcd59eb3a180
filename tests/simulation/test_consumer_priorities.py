"""Consumers of three nodes with priorities: who has room comes first, and holds nobody up (contract B17)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable

import pytest
import structlog

from broker.coordination.slots.balancer import Balancer
from broker.coordination.slots.runner import Deciders
from broker.message import PENDING
from broker.queue.queue import Queue
from tests.simulation.slots_faults import SOUND, Plant
from tests.simulation.slots_history import Violation
from tests.simulation.slots_node import Member
from tests.simulation.slots_schedule import draw
from tests.simulation.slots_world import SlotWorld
from tests.support.virtual_loop import VirtualLoop
from tests.support.virtual_loop import run as run_in_virtual_time

LOW, HIGH, NOBODY = range(3)
"""The nodes of a consumer of priority 0, of one of priority 9, and of none."""


def play(script: Callable[[SlotWorld], Awaitable[None]], plant: Plant = SOUND) -> None:
    async def main(loop: VirtualLoop) -> None:
        await SlotWorld(draw(1), loop, plant).play(script)

    with structlog.testing.capture_logs():
        run_in_virtual_time(main)


def member_of(world: SlotWorld, number: int) -> Member:
    member = world.nodes[number].member
    assert member is not None
    return member


def begin(world: SlotWorld, credit: int = 3) -> None:
    """Two consumers begin, each of which takes so many messages without settling any."""
    for number in range(3):
        member_of(world, number).queues[1].rank()
    for number in (HIGH, LOW):
        member = member_of(world, number)
        consumer = member.consumers[1]
        consumer.credit = credit
        consumer.priority = 9 if number == HIGH else 0
        member.start_consuming(1)


async def publish(world: SlotWorld, number: int, count: int) -> None:
    member = member_of(world, number)
    member.publish(member.queues[1], count, PENDING)
    await asyncio.sleep(0.4)


def held(world: SlotWorld) -> list[int]:
    return [len(member_of(world, number).consumers[1].unacked) for number in (LOW, HIGH)]


@pytest.mark.parametrize("publisher", [LOW, HIGH, NOBODY])
def test_the_higher_one_gets_all_it_has_room_for_before_the_lower_one_gets_any(publisher: int) -> None:
    async def script(world: SlotWorld) -> None:
        begin(world)
        await asyncio.sleep(0.2)
        await publish(world, publisher, 2)
        assert held(world) == [0, 2]
        await publish(world, publisher, 2)
        assert held(world) == [1, 3]
        await publish(world, publisher, 7)
        await asyncio.sleep(2.0)
        assert held(world) == [3, 3]
        high = member_of(world, HIGH)
        high._settle(high.queues[1], high.consumers[1].unacked[:1])
        await asyncio.sleep(0.4)
        assert held(world) == [3, 3]
        low = member_of(world, LOW)
        low._settle(low.queues[1], low.consumers[1].unacked[:2])
        await asyncio.sleep(2.0)
        assert held(world) == [3, 3]

    play(script)


def test_when_the_higher_one_goes_the_lower_one_goes_on() -> None:
    async def script(world: SlotWorld) -> None:
        begin(world)
        await asyncio.sleep(0.2)
        await publish(world, LOW, 2)
        high = member_of(world, HIGH)
        high.stop_consuming(1, is_closing=True)
        await asyncio.sleep(1.0)
        assert held(world) == [2, 0]

    play(script)


def test_when_its_node_dies_the_lower_one_goes_on_as_soon_as_that_is_known() -> None:
    async def script(world: SlotWorld) -> None:
        begin(world)
        await asyncio.sleep(0.2)
        dead = member_of(world, HIGH)
        world.nodes[HIGH].die()
        await publish(world, LOW, 2)
        world.nodes[HIGH].end_incarnation(dead.incarnation)
        await asyncio.sleep(2.0)
        assert len(member_of(world, LOW).consumers[1].unacked) == 2

    play(script)


def test_a_transaction_that_keeps_messages_here_keeps_nobody_waiting_for_long() -> None:
    async def script(world: SlotWorld) -> None:
        begin(world)
        await asyncio.sleep(0.2)
        queue = member_of(world, LOW).queues[1]
        queue.slots.begin_transaction()
        await publish(world, LOW, 2)
        assert held(world) == [0, 0]
        await asyncio.sleep(1.0)
        assert held(world) == [2, 0]
        queue.slots.end_transaction()

    play(script)


def hold(seeds: Iterable[int]) -> None:
    """Let faults come over nodes whose consumers have the priorities -1, 0, 1: everything is delivered in the end."""

    async def main(loop: VirtualLoop) -> None:
        world = SlotWorld(draw(seed), loop)
        world.is_ranked = True
        await world.run()

    for seed in seeds:
        with structlog.testing.capture_logs():
            try:
                run_in_virtual_time(main)
            except Violation as violation:
                pytest.fail(f"{violation}\n{draw(seed)}", pytrace=False)


def test_consumers_of_any_priority_drain_their_queues_after_any_faults() -> None:
    hold(range(15))


@pytest.mark.slow
@pytest.mark.parametrize("part", range(10))
def test_thousands_of_schedules_of_faults_keep_no_consumer_waiting(part: int) -> None:
    hold(range(15 + part, 2000, 10))


class GivesNoWay(Balancer):
    def _give_way(self, queue: Queue, priority: int) -> None:
        """Deliver as if there was nobody else."""


class WaitsForEver(Balancer):
    def _see_to_yielding(self) -> None:
        """Wait for consumers elsewhere whatever happens."""


@pytest.mark.parametrize(
    ("balancer", "test"),
    [
        (GivesNoWay, lambda: test_the_higher_one_gets_all_it_has_room_for_before_the_lower_one_gets_any(LOW)),
        (WaitsForEver, test_a_transaction_that_keeps_messages_here_keeps_nobody_waiting_for_long),
    ],
)
def test_a_planted_fault_of_priorities_is_found(
    balancer: type[Balancer], test: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(play, "__defaults__", (Plant(deciders=Deciders(balancer=balancer)),))
    with pytest.raises(AssertionError):
        test()
