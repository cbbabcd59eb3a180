"""What the coordinator answers: long polls, repeated calls, counts, and whom it refuses."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from broker.ports.peer_calls import (
    Caller,
    Demand,
    Fence,
    Grant,
    NotCoordinator,
    QueueCount,
    QueueName,
    Supply,
    Unavailable,
)
from broker.ports.slot import Slot
from tests.support.ids import message_id
from tests.support.virtual_loop import in_virtual_time
from tests.unit.coordination.slots.slot_bench import ALICE, BOB, FENCE, ORDERS, Bench, caller, outcome, serving


@in_virtual_time
async def test_a_node_with_demand_gets_what_is_free_with_the_coordinators_fence() -> None:
    async with serving() as bench:
        slot = await bench.give(1)
        await bench.begin(BOB, 5)

        assert await bench.poll(BOB) == Supply((Grant(ORDERS, slot, "bob", FENCE, "poll"),), (), FENCE)
        assert [row.start for row in bench.cluster.owned(BOB)] == [slot.start]


@in_virtual_time
async def test_a_waiting_poll_is_answered_as_soon_as_a_slot_is_submitted() -> None:
    async with serving() as bench, asyncio.TaskGroup() as tasks:
        await bench.begin(BOB, 5)
        poll = tasks.create_task(bench.poll(BOB))
        began = asyncio.get_running_loop().time()
        await asyncio.sleep(0.25)
        slot = await bench.give_and_submit(1)

        assert [grant.slot for grant in (await poll).grants] == [slot]
        assert asyncio.get_running_loop().time() - began == pytest.approx(0.25)


@in_virtual_time
async def test_what_one_node_wants_is_told_to_the_others() -> None:
    async with serving() as bench, asyncio.TaskGroup() as tasks:
        await bench.begin(ALICE, 0)
        poll = tasks.create_task(bench.poll(ALICE))
        await asyncio.sleep(0.25)
        await bench.begin(BOB, 5)

        assert await poll == Supply((), (Demand(ORDERS, 5),), FENCE, 1)


@in_virtual_time
async def test_a_poll_with_nothing_to_tell_is_answered_after_its_wait() -> None:
    async with serving() as bench:
        await bench.begin(BOB, 5)
        began = asyncio.get_running_loop().time()

        assert await bench.poll(BOB, wait_ms=3000) == Supply(fence=FENCE)
        assert asyncio.get_running_loop().time() - began == pytest.approx(3.0)


@in_virtual_time
async def test_a_newer_poll_ends_the_older_one() -> None:
    async with serving() as bench, asyncio.TaskGroup() as tasks:
        await bench.begin(BOB, 5)
        older = tasks.create_task(bench.poll(BOB, "1"))
        await asyncio.sleep(0.25)
        newer = tasks.create_task(bench.poll(BOB, "2"))

        assert await older == Supply(fence=FENCE)
        await bench.give_and_submit(1)
        assert len((await newer).grants) == 1


@in_virtual_time
async def test_a_repeated_poll_is_answered_as_the_first_time() -> None:
    async with serving() as bench:
        await bench.give(1)
        await bench.begin(BOB, 5)
        first = await bench.poll(BOB, "1")

        assert await bench.poll(BOB, "1") == first
        assert (await bench.poll(BOB, "2", 100)).grants == ()


@in_virtual_time
async def test_a_poll_repeated_while_it_waits_takes_its_place() -> None:
    async with serving() as bench, asyncio.TaskGroup() as tasks:
        await bench.begin(BOB, 0)
        demands = [Demand(ORDERS, 1)]
        first = tasks.create_task(bench.manager.await_slots(demands, 5000, caller(BOB, "1")))
        await asyncio.sleep(0.25)
        again = tasks.create_task(bench.manager.await_slots(demands, 5000, caller(BOB, "1")))

        assert await first == Supply(fence=FENCE)
        slot = await bench.give_and_submit(1)
        assert [grant.slot for grant in (await again).grants] == [slot]


@in_virtual_time
async def test_a_poll_that_arrives_when_its_node_has_begun_another_session_changes_nothing() -> None:
    async with serving() as bench, asyncio.TaskGroup() as tasks:
        await bench.begin(ALICE, 5)
        second = replace(caller(BOB, "3"), session=2)
        assert (await bench.manager.await_slots([Demand(ORDERS, 5)], 0, second)).remote_demand == (Demand(ORDERS, 5),)
        for wait_ms, late in ((0, "1"), (5000, "2")):
            with pytest.raises(Unavailable, match="a later poll has come before this one"):
                await bench.manager.await_slots([], wait_ms, replace(caller(BOB, late), session=1))

        waiting = tasks.create_task(bench.manager.await_slots([], 5000, replace(second, request_id="4")))
        await bench.poll(ALICE, wait_ms=100)
        bench.manager.set_living([BOB])
        slot = await bench.give_and_submit(1)
        assert [grant.slot for grant in (await waiting).grants] == [slot]


@in_virtual_time
async def test_a_poll_that_a_later_one_of_its_session_has_overtaken_changes_nothing() -> None:
    async with serving() as bench, asyncio.TaskGroup() as tasks:
        await bench.begin(BOB, 0)
        waiting = tasks.create_task(
            bench.manager.await_slots([Demand(ORDERS, 5)], 5000, replace(caller(BOB, "3"), poll=2))
        )
        await asyncio.sleep(0.25)
        with pytest.raises(Unavailable, match="a later poll has come before this one"):
            await bench.manager.await_slots([Demand(ORDERS, 0)], 5000, replace(caller(BOB, "2"), poll=1))

        slot = await bench.give_and_submit(1)
        assert [grant.slot for grant in (await waiting).grants] == [slot]


@in_virtual_time
async def test_a_poll_repeated_after_the_next_one_is_refused_because_its_answer_is_forgotten() -> None:
    async with serving() as bench:
        await bench.begin(ALICE, 5)
        await bench.begin(BOB, 0)
        first = replace(caller(BOB, "1"), poll=1)
        await bench.manager.await_slots([], 1000, first)
        await bench.manager.await_slots([], 1000, replace(caller(BOB, "2"), poll=2))

        with pytest.raises(Unavailable, match="a later poll has come before this one"):
            await bench.manager.await_slots([], 1000, first)


@in_virtual_time
async def test_answers_that_tell_of_demand_are_numbered() -> None:
    async with serving() as bench:
        await bench.begin(ALICE, 0)
        await bench.begin(BOB, 0)
        numbers = []
        for wanted in (5, 0, 7):
            await bench.manager.await_slots([Demand(ORDERS, wanted)], 1, caller(BOB, f"wants {wanted}"))
            numbers.append((await bench.poll(ALICE, str(wanted), 100)).number)

        assert (await bench.poll(ALICE, "none", 100)).number == 0
        assert 0 < numbers[0] < numbers[1] < numbers[2]


@in_virtual_time
async def test_a_poll_without_a_session_is_refused() -> None:
    async with serving() as bench:
        with pytest.raises(Unavailable, match="unknown session"):
            await bench.poll(BOB)


@in_virtual_time
async def test_who_is_not_living_is_refused_and_its_poll_ends() -> None:
    async with serving() as bench, asyncio.TaskGroup() as tasks:
        await bench.begin(BOB, 5)
        poll = tasks.create_task(outcome(bench.poll(BOB)))
        await asyncio.sleep(0.25)
        bench.manager.set_living([ALICE])

        assert "not known to live" in str(await poll)
        assert "not known to live" in str(await outcome(bench.begin(BOB, 5)))


@in_virtual_time
async def test_a_repeated_submit_changes_nothing_more() -> None:
    async with serving() as bench:
        slot = await bench.give_and_submit(1)
        await bench.begin(BOB, 5)
        await bench.poll(BOB)
        await bench.manager.submit_slot(ORDERS, slot, caller(ALICE, "submit 1"))

        assert await bench.manager.exchange_counts([], caller(ALICE)) == []


@in_virtual_time
async def test_who_knows_a_newer_coordinator_is_sent_there() -> None:
    async with serving() as bench:
        with pytest.raises(NotCoordinator):
            await bench.manager.get_slot(ORDERS, caller(BOB, "g", Fence(2, "term 2")))


@in_virtual_time
async def test_without_power_nothing_is_served() -> None:
    bench = Bench()
    calls = [
        bench.manager.await_slots([], 0, caller(BOB)),
        bench.manager.get_slot(ORDERS, caller(BOB)),
        bench.manager.submit_slot(ORDERS, Slot(1, 1, 5, 9, 5), caller(BOB)),
        bench.manager.exchange_counts([], caller(BOB)),
    ]

    assert [type(await outcome(call)) for call in calls] == [NotCoordinator] * 4


@in_virtual_time
async def test_nodes_of_andes_are_told_that_they_cannot_share_this_store() -> None:
    async with serving() as bench:
        for call in (
            bench.manager.get_slot(ORDERS, Caller("wso2")),
            bench.manager.get_slot(QueueName("orders"), caller(BOB)),
        ):
            assert "those of Andes" in str(await outcome(call))


@in_virtual_time
async def test_counts_are_the_sums_of_the_others_and_of_free_slots() -> None:
    async with serving() as bench:
        await bench.give_and_submit(1)
        await bench.manager.exchange_counts([QueueCount(1, 7, 2)], caller(ALICE))

        assert await bench.manager.exchange_counts([QueueCount(1, 5, 1)], caller(BOB)) == [QueueCount(1, 8, 2)]
        bench.manager.set_living([BOB])
        assert await bench.manager.exchange_counts([], caller(BOB)) == [QueueCount(1, 1, 0)]


@in_virtual_time
async def test_the_coordinator_takes_what_has_expired_when_nobody_wants_it() -> None:
    expired: dict[int, int] = {}
    async with serving(expired=lambda queue_id: expired.get(queue_id, 0)) as bench:
        slots = [await bench.give_and_submit(number) for number in (1, 2, 3)]
        await bench.begin(ALICE, 0)
        assert (await bench.poll(ALICE, wait_ms=3000)).grants == ()
        expired[ORDERS.queue_id] = slots[2].start
        answer = await bench.poll(ALICE, "again", wait_ms=3000)
        assert [grant.slot.start for grant in answer.grants] == [slots[0].start, slots[1].start]


@in_virtual_time
async def test_what_another_node_wants_does_not_go_to_the_coordinator_though_it_has_expired() -> None:
    async with serving(expired=lambda queue_id: 1 << 62) as bench:
        await bench.begin(ALICE, 0)
        await bench.begin(BOB, 5)
        slot = await bench.give_and_submit(1)
        assert [grant.slot for grant in (await bench.poll(BOB)).grants] == [slot]


@in_virtual_time
async def test_the_coordinator_takes_slots_in_which_messages_have_expired_by_a_time_of_their_own() -> None:
    async with serving() as bench:
        slots = [await bench.give_and_submit(number) for number in (1, 2, 3)]
        await bench.begin(ALICE, 0)
        assert (await bench.poll(ALICE, wait_ms=3000)).grants == ()
        assert bench.asked == 1, "nothing is due, and no other slot is free"
        bench.due = {slots[1].start: 0, slots[2].start: 1 << 62}
        other = await bench.give_and_submit(4)
        answer = await bench.poll(ALICE, "again", wait_ms=3000)
        assert [grant.slot.start for grant in answer.grants] == [slots[1].start]
        del bench.due[slots[1].start]
        await bench.begin(BOB, 9)
        starts = [grant.slot.start for grant in (await bench.poll(BOB)).grants]
        assert starts == [slots[0].start, slots[2].start, other.start]


@in_virtual_time
async def test_a_coordinator_without_a_session_of_its_own_takes_nothing_that_has_expired() -> None:
    async with serving() as bench:
        bench.due = {message_id(0, 1): 0}
        await bench.give_and_submit(1)
        await asyncio.sleep(3.0)
        assert bench.asked == 0
