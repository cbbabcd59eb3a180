"""What a coordinator does in its term: gets, dead nodes, a store that is away, the end of its power."""

from __future__ import annotations

import asyncio

import pytest

from broker.ports.peer_calls import (
    Fence,
    Grant,
    NotCoordinator,
    PeerUnreachable,
    Supply,
)
from broker.ports.slot import Slot
from tests.support.virtual_loop import in_virtual_time
from tests.unit.coordination.slots.slot_bench import ALICE, BOB, FENCE, ORDERS, caller, outcome, serving


@in_virtual_time
async def test_a_slot_that_nobody_submitted_is_found_within_a_second() -> None:
    async with serving() as bench, asyncio.TaskGroup() as tasks:
        await bench.begin(BOB, 5)
        poll = tasks.create_task(bench.poll(BOB))
        began = asyncio.get_running_loop().time()
        await asyncio.sleep(0.25)
        await bench.give(1)

        assert len((await poll).grants) == 1
        assert asyncio.get_running_loop().time() - began == pytest.approx(1.0)


@in_virtual_time
async def test_what_a_dead_node_had_goes_to_who_has_demand() -> None:
    async with serving() as bench:
        await bench.give(1)
        await bench.begin(BOB, 5)
        assert len((await bench.poll(BOB)).grants) == 1
        bench.cluster.end(BOB)
        bench.manager.set_living([ALICE])
        await bench.begin(ALICE, 5)

        (grant,) = (await bench.poll(ALICE)).grants
        assert grant.slot.maybe_delivered


@in_virtual_time
async def test_a_incarnation_that_is_over_for_the_store_alone_does_not_keep_the_store_busy() -> None:
    async with serving() as bench:
        await bench.give(1)
        await bench.begin(BOB, 5)
        bench.cluster.end(BOB)
        await bench.poll(BOB, wait_ms=2500)

        assert bench.store.calls.count("assign") <= 4


@in_virtual_time
async def test_a_get_returns_the_oldest_free_slot() -> None:
    async with serving() as bench:
        older = await bench.give(1)
        await bench.give(2)

        assert await bench.manager.get_slot(ORDERS, caller(BOB, "g")) == Grant(ORDERS, older, "bob", FENCE, "g")


@in_virtual_time
async def test_a_get_asks_the_others_when_nothing_is_free() -> None:
    async with serving() as bench:

        async def give() -> int:
            return (await bench.give(1)).count

        await asyncio.sleep(0.25)
        bench.nodes["alice"].give = give
        grant = await bench.manager.get_slot(ORDERS, caller(BOB, "g"))

        assert grant is not None
        assert (bench.nodes["alice"].released, bench.nodes["bob"].released) == (1, 0)


@in_virtual_time
async def test_a_get_of_what_nobody_has_returns_nothing() -> None:
    async with serving() as bench:
        assert await bench.manager.get_slot(ORDERS, caller(BOB, "g")) is None


@pytest.mark.parametrize("failure", [PeerUnreachable("gone"), None])
@in_virtual_time
async def test_a_node_that_does_not_answer_delays_a_get_by_a_second_at_most(failure: Exception | None) -> None:
    async with serving() as bench:

        async def give() -> int:
            await bench.give(1)
            if failure is not None:
                raise failure
            await asyncio.sleep(60.0)
            return 1

        await asyncio.sleep(0.25)
        bench.nodes["alice"].give = give
        began = asyncio.get_running_loop().time()

        assert await bench.manager.get_slot(ORDERS, caller(BOB, "g")) is not None
        assert asyncio.get_running_loop().time() - began <= 1.01


@in_virtual_time
async def test_a_repeated_get_returns_the_same_slot_even_if_its_caller_had_gone() -> None:
    async with serving() as bench, asyncio.TaskGroup() as tasks:
        slot = await bench.give(1)
        await bench.give(2)
        first = tasks.create_task(bench.manager.get_slot(ORDERS, caller(BOB, "g")))
        await asyncio.sleep(0)
        first.cancel()

        grant = await bench.manager.get_slot(ORDERS, caller(BOB, "g"))
        assert grant is not None
        assert grant.slot == slot
        assert len(bench.cluster.owned(BOB)) == 1


@in_virtual_time
async def test_a_submitted_slot_that_the_store_does_not_have_is_forgotten() -> None:
    async with serving() as bench:
        await bench.begin(BOB, 5)
        await bench.manager.submit_slot(ORDERS, Slot(1, 1, 5, 9, 5), caller(ALICE, "s"))

        assert (await bench.poll(BOB, wait_ms=1500)).grants == ()


@pytest.mark.parametrize("after", [False, True])
@in_virtual_time
async def test_an_assignment_without_an_answer_is_asked_for_again(after: bool) -> None:
    async with serving() as bench:
        bench.store.fail("assign", 3, after=after)
        await bench.give(1)
        await bench.begin(BOB, 5)

        assert len((await bench.poll(BOB)).grants) == 1
        assert bench.store.calls.count("assign") == 4


@in_virtual_time
async def test_while_the_store_is_away_polls_are_answered_empty() -> None:
    async with serving() as bench:
        bench.store.fail("slots", 20)
        await bench.begin(BOB, 5)

        assert await bench.poll(BOB, wait_ms=2000) == Supply(fence=FENCE)


@in_virtual_time
async def test_a_coordinator_that_is_fenced_says_so_and_ends() -> None:
    async with serving() as bench, asyncio.TaskGroup() as tasks:
        await bench.begin(BOB, 5)
        poll = tasks.create_task(outcome(bench.poll(BOB)))
        await asyncio.sleep(0.25)
        await bench.give(1)
        bench.cluster.claim(Fence(2, "term 2"))

        assert isinstance(await poll, NotCoordinator)
        assert bench.fenced == ["term 1"]
        assert bench.cluster.owned(BOB) == []
        assert isinstance(await outcome(bench.begin(BOB, 5)), NotCoordinator)


@in_virtual_time
async def test_when_power_ends_whoever_waits_is_sent_away() -> None:
    async with asyncio.TaskGroup() as tasks:
        async with serving() as bench:
            await bench.begin(BOB, 5)
            poll = tasks.create_task(outcome(bench.poll(BOB)))
            bench.store.fail("slots", 100)
            get = tasks.create_task(outcome(bench.manager.get_slot(ORDERS, caller(BOB, "g"))))
            await asyncio.sleep(0.25)

        assert isinstance(await poll, NotCoordinator)
        assert isinstance(await get, NotCoordinator)


@in_virtual_time
async def test_a_purged_queue_has_no_free_slots() -> None:
    async with serving() as bench:
        await bench.give_and_submit(1)
        await bench.store.purge(1)

        assert await bench.manager.get_slot(ORDERS, caller(BOB, "g")) is None
