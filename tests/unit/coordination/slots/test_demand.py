"""Sessions of a long poll: everything first, then changes, and what happens when the coordinator is another or away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from broker.coordination.slots.demand import WAIT_MS, DemandSession
from broker.ports.peer_calls import Caller, Demand, Fence, Grant, QueueName, Supply, Unavailable
from broker.ports.slot import Slot
from broker.queue.queue import Queue
from tests.support.virtual_loop import VirtualLoop, in_virtual_time

DEMAND_SIZE = 2000
NOTHING: Any = None


def queue(queue_id: int) -> Queue:
    name = f"queue {queue_id}"
    return Queue("/", name, queue_id, durable=True, journal=NOTHING, read_slots=NOTHING)


ORDERS = queue(1)
INVOICES = queue(2)


@dataclass(eq=False)
class Coordinator:
    """Answers the first call of a session at once, and the others when told so: calls are ids, messages and waits."""

    is_away: bool = False
    calls: list[tuple[dict[int, int], int]] = field(default_factory=list)
    callers: list[Caller] = field(default_factory=list)
    waiting: list[asyncio.Future[Supply]] = field(default_factory=list)

    async def await_slots(self, demands: Sequence[Demand], wait_ms: int, caller: Caller) -> Supply:
        self.calls.append(({demand.queue.queue_id: demand.messages for demand in demands}, wait_ms))
        self.callers.append(caller)
        if self.is_away:
            raise Unavailable("unknown session")
        for older in self.waiting:
            if not older.done():
                older.set_result(Supply())
        if not wait_ms:
            return Supply()
        answer: asyncio.Future[Supply] = asyncio.get_running_loop().create_future()
        self.waiting.append(answer)
        return await answer

    def answer(self, supply: Supply) -> None:
        self.waiting.pop().set_result(supply)

    def fail(self) -> None:
        self.waiting.pop().set_exception(Unavailable("restarted"))


class Bench:
    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        self.loop = loop
        self.service: Coordinator | None = Coordinator()
        self.fence = Fence(1, "term 1")
        self.sessions = 0
        self.grants: list[tuple[Grant, float]] = []
        self.wanted: list[Demand] = []
        numbers = count(1)
        service: Any = lambda: self.service  # noqa: E731
        self.demand = DemandSession(
            clock=loop,
            coordinator=service,
            caller=lambda: Caller("alice", "a", fence=self.fence),
            new_request_id=lambda: f"call {next(numbers)}",
            demand_size=DEMAND_SIZE,
            on_grants=lambda grants, asked_at: self.grants.extend((grant, asked_at) for grant in grants),
            on_remote_demand=self.wanted.extend,
            on_session=self._on_session,
        )

    def _on_session(self) -> None:
        self.sessions += 1


@asynccontextmanager
async def session(*asked: Queue) -> AsyncIterator[tuple[Bench, Coordinator]]:
    bench = Bench()
    assert bench.service is not None
    for each in asked:
        bench.demand.add(each)
    async with asyncio.TaskGroup() as tasks:
        run = tasks.create_task(bench.demand.run())
        await asyncio.sleep(0.01)
        yield bench, bench.service
        run.cancel()


def has_failed(demand: DemandSession) -> bool:
    return demand.failing_since is not None


def grant(messages: int = 10) -> Grant:
    return Grant(QueueName(ORDERS.name, 1), Slot(1, 2, 100, 200, messages), "alice")


@in_virtual_time
async def test_a_session_begins_with_everything_and_without_a_wait() -> None:
    async with session(ORDERS, INVOICES) as (it, coordinator):
        assert coordinator.calls == [({1: DEMAND_SIZE, 2: DEMAND_SIZE}, 0), ({}, WAIT_MS)]
        assert it.sessions == 1


@in_virtual_time
async def test_a_node_without_demand_polls_too_because_others_may_have_some() -> None:
    async with session() as (it, coordinator):
        assert coordinator.calls == [({}, 0), ({}, WAIT_MS)]
        demand = Demand(QueueName("queue 2", 2), 5)
        coordinator.answer(Supply(remote_demand=(demand,)))
        await asyncio.sleep(0.01)
        assert it.wanted == [demand]
        assert coordinator.calls[2:] == [({}, WAIT_MS)]


@in_virtual_time
async def test_only_changes_follow_each_at_once() -> None:
    async with session(ORDERS) as (it, coordinator):
        it.demand.add(INVOICES)
        await asyncio.sleep(0.01)
        it.demand.withdraw(ORDERS)
        await asyncio.sleep(0.01)
        assert coordinator.calls[2:] == [({2: DEMAND_SIZE}, WAIT_MS), ({1: 0}, WAIT_MS)]


@in_virtual_time
async def test_changes_of_the_same_turn_travel_together_and_the_last_one_counts() -> None:
    async with session(ORDERS) as (it, coordinator):
        it.demand.withdraw(ORDERS)
        it.demand.add(INVOICES)
        it.demand.add(ORDERS)
        await asyncio.sleep(0.01)
        assert coordinator.calls[2:] == [({1: DEMAND_SIZE, 2: DEMAND_SIZE}, WAIT_MS)]


@in_virtual_time
async def test_a_call_names_no_more_than_a_thousand_queues_and_the_next_one_follows_at_once() -> None:
    async with session(*(queue(number) for number in range(1, 1202))) as (_, coordinator):
        assert [(len(asked), wait_ms) for asked, wait_ms in coordinator.calls] == [(1000, 0), (201, WAIT_MS)]


@in_virtual_time
async def test_each_call_has_an_id_of_its_own_and_names_the_power_it_is_for() -> None:
    async with session() as (_, coordinator):
        assert [(caller.request_id, caller.fence.epoch) for caller in coordinator.callers] == [
            ("call 1", 1),
            ("call 2", 1),
        ]


@in_virtual_time
async def test_what_is_granted_is_handed_on_with_the_time_of_the_question() -> None:
    async with session(ORDERS) as (it, coordinator):
        asked_at = it.loop.time() - 0.01
        await asyncio.sleep(5)
        coordinator.answer(Supply(grants=(grant(),)))
        await asyncio.sleep(0.01)
        assert it.grants == [(grant(), asked_at)]


@in_virtual_time
async def test_a_queue_has_demand_until_all_that_was_asked_for_is_granted() -> None:
    async with session(ORDERS) as (it, _):
        it.demand.on_granted(1, DEMAND_SIZE - 1)
        assert it.demand.has_demand(1)
        it.demand.on_granted(1, 1)
        assert (it.demand.has_demand(1), it.demand.queues) == (False, [])
        it.demand.on_granted(1, 1)


@in_virtual_time
async def test_a_queue_that_was_granted_enough_says_nothing_when_it_wants_no_more() -> None:
    async with session(ORDERS) as (it, coordinator):
        it.demand.on_granted(1, DEMAND_SIZE)
        it.demand.withdraw(ORDERS)
        await asyncio.sleep(0.01)
        assert len(coordinator.calls) == 2


@in_virtual_time
async def test_another_coordinator_is_told_everything_anew() -> None:
    async with session(ORDERS) as (it, coordinator):
        it.demand.on_granted(1, 500)
        it.service = other = Coordinator()
        it.demand.look()
        await asyncio.sleep(0.01)
        assert (other.calls, it.sessions) == ([({1: DEMAND_SIZE}, 0), ({}, WAIT_MS)], 2)
        it.demand.on_granted(1, 1999)
        assert it.demand.has_demand(1)
        coordinator.answer(Supply(grants=(grant(),), remote_demand=(Demand(QueueName("queue 2", 2), 5),)))
        await asyncio.sleep(0.01)
        assert ([each for each, _ in it.grants], it.wanted) == ([grant()], [])


@in_virtual_time
async def test_a_new_term_of_the_same_coordinator_is_a_new_session() -> None:
    async with session(ORDERS) as (it, coordinator):
        it.fence = Fence(2, "term 2")
        it.demand.look()
        await asyncio.sleep(0.01)
        assert coordinator.calls[2:] == [({1: DEMAND_SIZE}, 0), ({}, WAIT_MS)]


@in_virtual_time
async def test_looking_at_the_same_coordinator_changes_nothing() -> None:
    async with session(ORDERS) as (it, coordinator):
        it.demand.look()
        await asyncio.sleep(0.01)
        assert (len(coordinator.calls), it.sessions) == (2, 1)


@in_virtual_time
async def test_a_session_that_fails_begins_anew_after_a_while() -> None:
    async with session(ORDERS) as (it, coordinator):
        coordinator.fail()
        await asyncio.sleep(0.01)
        failing_since = it.demand.failing_since
        assert failing_since is not None
        assert len(coordinator.calls) == 2
        await asyncio.sleep(0.2)
        assert coordinator.calls[2:] == [({1: DEMAND_SIZE}, 0), ({}, WAIT_MS)]
        assert (it.demand.failing_since, it.sessions) == (None, 2)


@in_virtual_time
async def test_a_coordinator_that_is_away_is_asked_ever_more_rarely_but_once_a_second() -> None:
    async with session(ORDERS) as (it, coordinator):
        coordinator.is_away = True
        began = it.loop.time()
        coordinator.fail()
        await asyncio.sleep(9.9)
        assert it.demand.failing_since == began
        assert 11 <= len(coordinator.calls) - 2 <= 14


@in_virtual_time
async def test_without_a_coordinator_it_is_failing_until_there_is_one() -> None:
    async with session(ORDERS) as (it, _):
        it.service = None
        it.demand.look()
        await asyncio.sleep(3)
        assert has_failed(it.demand)
        it.service = other = Coordinator()
        await asyncio.sleep(1.1)
        assert not has_failed(it.demand)
        assert other.calls[0] == ({1: DEMAND_SIZE}, 0)


@in_virtual_time
async def test_a_new_coordinator_is_not_kept_waiting_for_one_that_was_away() -> None:
    async with session(ORDERS) as (it, coordinator):
        coordinator.is_away = True
        coordinator.fail()
        await asyncio.sleep(9.9)
        for away in (coordinator, None):
            it.service = away
            it.demand.look()
            await asyncio.sleep(5.05)
            it.service = other = Coordinator()
            it.demand.look()
            await asyncio.sleep(0.01)
            assert other.calls == [({1: DEMAND_SIZE}, 0), ({}, WAIT_MS)]


@in_virtual_time
async def test_one_call_is_under_way_when_nothing_changes() -> None:
    async with session(ORDERS) as (_, coordinator):
        for _ in range(3):
            coordinator.answer(Supply())
            await asyncio.sleep(0.01)
        assert coordinator.calls[1:] == [({}, WAIT_MS)] * 4
