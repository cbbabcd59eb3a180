"""What a node gives and takes: when queues have demand, when others have, when it stops, and without a coordinator."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import pytest

from broker.coordination.slots.balancer import Balancer
from broker.coordination.slots.demand import DemandSession
from broker.coordination.slots.handoff import Handoff
from broker.message import Message
from broker.ports.cluster_rows import Incarnation
from broker.ports.peer_calls import Caller, Demand, Fence, Grant, QueueName, Supply, Unavailable
from broker.ports.slot import Slot
from broker.ports.store import Journal
from broker.queue.settings import QueueLimits
from broker.store.memory.store import MemoryState
from tests.support.clock import FakeClock
from tests.support.virtual_loop import VirtualLoop, in_virtual_time
from tests.unit.coordination.slots.test_handoff import QUEUE_ID, Node

ORDERS = QueueName("orders", QUEUE_ID)
DEMAND_SIZE = 100
BOB = Incarnation("bob", "b")


class HeldJournal:
    """A journal that writes gifts when it may."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.may_write = asyncio.Event()
        self.may_write.set()

    def spill(self, message: Message) -> None:
        self._journal.spill(message)

    async def flushed(self) -> None:
        await self.may_write.wait()
        await self._journal.flushed()

    async def give(self, slots: Sequence[Slot]) -> None:
        await self.may_write.wait()
        await self._journal.give(slots)


@dataclass(eq=False)
class Coordinator:
    """Is asked, told, or away."""

    is_away: bool = False
    demands: list[tuple[int, int]] = field(default_factory=list)
    submitted: list[tuple[str, int, int]] = field(default_factory=list)
    grant: Grant | None = None
    answers: asyncio.Queue[Supply] = field(default_factory=asyncio.Queue)

    async def await_slots(self, demands: Sequence[Demand], wait_ms: int, caller: Caller) -> Supply:
        self._check()
        self.demands += [(demand.queue.queue_id, demand.messages) for demand in demands]
        return await self.answers.get() if wait_ms else Supply()

    async def submit_slot(self, queue: QueueName, slot: Slot, local_safe_zone: int, caller: Caller) -> None:
        self._check()
        self.submitted.append((queue.name, slot.start, slot.end))

    async def get_slot(self, queue: QueueName, caller: Caller) -> Grant | None:
        self._check()
        return self.grant

    def _check(self) -> None:
        if self.is_away:
            raise Unavailable("away")


class Bench:
    """Alice, with a queue of the cluster."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        self.loop = loop
        self.coordinator: Coordinator | None = Coordinator()
        self.has_remote_consumers = False
        self.node = node = Node(MemoryState(), loop, "alice", "a", QueueLimits(window_size=10))
        node.queue.remove_consumer(node.taker)
        self.queue = node.queue
        self.journal = HeldJournal(node.journal)
        journal: Any = self.journal
        handoff = Handoff(
            node.store.slots,
            node.incarnation,
            node.lane,
            owned=node.owned,
            journal=journal,
            mark_redelivered=node.store.mark_redelivered,
            held_ids=lambda queue: sorted(node.held),
            window_size=10,
        )
        service: Any = lambda: self.coordinator  # noqa: E731
        numbers = count(1)

        def new_demand(sharing: Balancer) -> DemandSession:
            self.demand = DemandSession(
                clock=loop,
                coordinator=service,
                caller=self.caller,
                new_request_id=lambda: str(next(numbers)),
                demand_size=DEMAND_SIZE,
                on_grants=sharing.on_grants,
                on_remote_demand=sharing.on_remote_demand,
                on_session=sharing.on_session,
            )
            return self.demand

        self.sharing = Balancer(
            node.store.slots,
            node.incarnation,
            clock=loop,
            owned=node.owned,
            handoff=handoff,
            demand=new_demand,
            coordinator=service,
            caller=self.caller,
            queues=lambda: [self.queue],
            find_queue=lambda queue_id: self.queue if queue_id == QUEUE_ID else None,
            has_remote_consumers=lambda queue: self.has_remote_consumers,
        )
        self.queue._after_dispatch = self.sharing.after_dispatch
        self.queue._on_dropped = self.sharing.on_dropped

    def caller(self) -> Caller:
        return Caller("alice", "a", fence=Fence(1, "term"))

    def consume(self, credit: int) -> None:
        self.node.taker.credit = credit
        if not self.queue.consumers:
            self.queue.add_consumer(self.node.taker)
        self.queue.dispatch()
        self.node.stage.run()

    def cancel(self) -> None:
        self.queue.remove_consumer(self.node.taker)
        self.queue.dispatch()

    def want(self, messages: int) -> None:
        self.sharing.on_remote_demand((Demand(ORDERS, messages),))

    def free(self) -> list[tuple[int, int]]:
        return [(row.start, row.end) for row in self.node.free()]

    def free_slot_of_bob(self) -> Slot:
        """Bob gives three messages."""
        bob = Node(self.node.state, FakeClock(wall_ms=self.loop.wall_ms()), "bob", "b", QueueLimits(window_size=10))
        bob.publish(3)
        ((start, end, messages),) = bob.give(3)
        return Slot(QUEUE_ID, bob.lane, start, end, messages)

    def assigned(self, slot: Slot) -> Grant:
        (row,) = [row for row in self.node.free() if row.start == slot.start]
        return Grant(ORDERS, self.node.assign(row)[0], "alice")


@asynccontextmanager
async def sharing() -> AsyncIterator[Bench]:
    bench = Bench()
    async with asyncio.TaskGroup() as tasks:
        run = tasks.create_task(bench.sharing.run())
        await turn()
        yield bench
        run.cancel()
    bench.node.stage.run()


async def turn() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


@in_virtual_time
async def test_a_queue_with_a_consumer_and_nothing_to_deliver_has_demand() -> None:
    async with sharing() as it:
        it.consume(credit=5)
        await turn()
        assert it.coordinator is not None
        assert it.coordinator.demands == [(QUEUE_ID, DEMAND_SIZE)]


@in_virtual_time
async def test_a_queue_whose_consumer_has_no_credit_has_no_demand() -> None:
    async with sharing() as it:
        it.consume(credit=0)
        assert not it.demand.has_demand(QUEUE_ID)


@in_virtual_time
async def test_a_queue_that_has_lost_its_last_consumer_has_no_demand_any_more() -> None:
    async with sharing() as it:
        it.consume(credit=5)
        await turn()
        it.cancel()
        await turn()
        assert it.coordinator is not None
        assert it.coordinator.demands == [(QUEUE_ID, DEMAND_SIZE), (QUEUE_ID, 0)]


@in_virtual_time
async def test_granted_messages_are_delivered() -> None:
    async with sharing() as it:
        it.consume(credit=5)
        slot = it.free_slot_of_bob()
        it.sharing.on_grants((it.assigned(slot),), it.loop.time())
        it.node.stage.run()
        assert [message.id for message in it.node.taker.taken] == list(range(slot.start, slot.end + 1))


@in_virtual_time
async def test_a_grant_that_is_not_believed_leaves_the_demand_as_it_was() -> None:
    async with sharing() as it:
        slot = it.free_slot_of_bob()
        slot.count = DEMAND_SIZE
        grant = it.assigned(slot)
        grant.slot.count = DEMAND_SIZE
        asked_at = it.loop.time()
        it.sharing.on_grants((grant,), asked_at)
        it.node.stage.run()
        it.sharing.on_remote_demand((Demand(ORDERS, 1000),))
        await turn()
        assert it.queue.ready_count == 0
        it.consume(credit=5)
        await turn()
        it.sharing.on_grants((Grant(ORDERS, Slot(QUEUE_ID, 1, slot.start, slot.end, DEMAND_SIZE), "alice"),), asked_at)
        assert it.demand.has_demand(QUEUE_ID)


@in_virtual_time
async def test_what_others_want_is_given_and_the_coordinator_told() -> None:
    async with sharing() as it:
        ids = it.node.publish(3)
        it.want(2)
        await turn()
        assert it.free() == [(ids[0], ids[1])]
        assert it.coordinator is not None
        assert it.coordinator.submitted == [("orders", ids[0], ids[1])]


@in_virtual_time
async def test_what_is_published_while_others_want_it_is_given() -> None:
    async with sharing() as it:
        it.want(5)
        ids = it.node.publish(3)
        await turn()
        assert it.free() == [(ids[0], ids[2])]


@in_virtual_time
async def test_nothing_is_given_when_others_want_no_more() -> None:
    async with sharing() as it:
        it.want(5)
        it.want(0)
        it.node.publish(3)
        await turn()
        assert it.free() == []


@in_virtual_time
async def test_another_session_forgets_what_was_wanted() -> None:
    async with sharing() as it:
        it.want(5)
        it.sharing.on_session()
        it.node.publish(3)
        await turn()
        assert it.free() == []


@in_virtual_time
async def test_own_consumers_keep_the_older_half() -> None:
    async with sharing() as it:
        it.consume(credit=1)
        ids = it.node.publish(5)
        it.want(50)
        await turn()
        assert (it.free(), [message.id for message in it.queue.ready]) == ([(ids[3], ids[4])], ids[1:3])


@in_virtual_time
async def test_own_consumers_that_take_nothing_keep_nothing() -> None:
    async with sharing() as it:
        it.consume(credit=1)
        it.node.publish(5)
        it.want(50)
        await asyncio.sleep(2.1)
        assert it.queue.ready_count == 0


@in_virtual_time
async def test_a_coordinator_that_is_away_hinders_no_gift() -> None:
    async with sharing() as it:
        assert it.coordinator is not None
        it.coordinator.is_away = True
        it.want(5)
        ids = it.node.publish(1)
        await turn()
        assert it.free() == [(ids[0], ids[0])]


@in_virtual_time
async def test_a_release_gives_the_oldest_and_says_how_many() -> None:
    async with sharing() as it:
        ids = it.node.publish(3)
        assert await it.sharing.release(QUEUE_ID, 2) == 2
        assert it.free() == [(ids[0], ids[1])]


@in_virtual_time
async def test_a_release_of_nothing_is_answered_at_once() -> None:
    async with sharing() as it:
        assert await it.sharing.release(QUEUE_ID, 2) == 0
        assert await it.sharing.release(99, 2) == 0


@in_virtual_time
async def test_a_release_is_done_although_who_asked_has_gone() -> None:
    async with sharing() as it, asyncio.TaskGroup() as tasks:
        ids = it.node.publish(2)
        it.journal.may_write.clear()
        asking = tasks.create_task(it.sharing.release(QUEUE_ID, 2))
        await turn()
        assert (it.queue.ready_count, it.free()) == (0, [])
        asking.cancel()
        await turn()
        it.journal.may_write.set()
        await turn()
        assert it.free() == [(ids[0], ids[1])]
        it.node.publish(1)
        assert await it.sharing.release(QUEUE_ID, 1) == 1


@in_virtual_time
async def test_stopping_ends_when_the_gift_under_way_is_in_the_store() -> None:
    it = Bench()
    ids = it.node.publish(2)
    async with asyncio.TaskGroup() as tasks:
        run = tasks.create_task(it.sharing.run())
        it.journal.may_write.clear()
        it.want(2)
        await turn()
        it.sharing.stop()
        await asyncio.sleep(5)
        assert (run.done(), it.free()) == (False, [])
        it.journal.may_write.set()
        await turn()
        assert (run.done(), it.free()) == (True, [(ids[0], ids[1])])


@in_virtual_time
async def test_a_release_that_comes_too_late_gives_nothing_and_is_answered() -> None:
    it = Bench()
    it.node.publish(2)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(it.sharing.run())
        it.journal.may_write.clear()
        it.want(1)
        await turn()
        late = tasks.create_task(it.sharing.release(QUEUE_ID, 1))
        await turn()
        it.sharing.stop()
        it.journal.may_write.set()
        await turn()
        assert late.done()
        assert (late.result(), await it.sharing.release(QUEUE_ID, 1)) == (0, 0)


@in_virtual_time
async def test_leaving_gives_everything_back() -> None:
    it = Bench()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(it.sharing.run())
        ids = it.node.publish(3)
        it.sharing.stop()
    await it.sharing.leave()
    assert (it.queue.ready_count, it.free()) == (0, [(ids[0], ids[2])])


@in_virtual_time
async def test_leaving_finishes_what_is_empty_however_short_ago() -> None:
    it = Bench()
    slot = it.free_slot_of_bob()
    it.consume(credit=5)
    it.sharing.on_grants((it.assigned(slot),), it.loop.time())
    it.node.stage.run()
    for message in it.node.taker.taken:
        it.node.settle(message.id)
    it.node.journal.commit()
    await it.sharing.leave()
    assert it.node.state.slots == {}


@in_virtual_time
async def test_a_node_with_demand_claims_free_slots_when_no_coordinator_has_answered_for_two_seconds() -> None:
    async with sharing() as it:
        slot = it.free_slot_of_bob()
        it.coordinator = None
        it.demand.look()
        it.consume(credit=5)
        await asyncio.sleep(1.9)
        assert it.free() == [(slot.start, slot.end)]
        await asyncio.sleep(1.2)
        it.node.stage.run()
        assert it.free() == []
        assert [message.id for message in it.node.taker.taken] == list(range(slot.start, slot.end + 1))


@in_virtual_time
async def test_a_coordinator_that_answers_with_errors_is_no_coordinator() -> None:
    async with sharing() as it:
        it.free_slot_of_bob()
        it.consume(credit=5)
        assert it.coordinator is not None
        it.coordinator.is_away = True
        it.coordinator = Coordinator(is_away=True)
        await asyncio.sleep(4)
        it.node.stage.run()
        assert it.free() == []


@in_virtual_time
async def test_without_a_coordinator_a_node_without_consumers_offers_all_it_has_to_those_who_have_some() -> None:
    async with sharing() as it:
        ids = it.node.publish(3)
        it.coordinator = None
        it.demand.look()
        await asyncio.sleep(4)
        assert it.free() == []
        it.has_remote_consumers = True
        await asyncio.sleep(1)
        assert it.free() == [(ids[0], ids[2])]


@pytest.mark.parametrize("is_away", [False, True])
@in_virtual_time
async def test_a_get_that_nobody_can_serve_finds_nothing(is_away: bool) -> None:
    async with sharing() as it:
        assert it.coordinator is not None
        it.coordinator.is_away = is_away
        assert not await it.sharing.fetch(it.queue)
        it.coordinator = None
        assert not await it.sharing.fetch(it.queue)


@in_virtual_time
async def test_a_get_is_served_from_a_slot_of_another_node() -> None:
    async with sharing() as it:
        slot = it.free_slot_of_bob()
        assert it.coordinator is not None
        it.coordinator.grant = it.assigned(slot)
        assert await it.sharing.fetch(it.queue)
        assert it.queue.ready_count == 3
