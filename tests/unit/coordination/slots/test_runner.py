"""The loops of a node's slots: they poll, hand off, look after what is owned, stop, and do without a coordinator."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from broker.coordination.slots.demand import WAIT_MS
from broker.errors import StoreUnavailable
from broker.message import Message
from broker.ports.cluster_rows import Incarnation, SlotRow
from broker.ports.peer_calls import Caller, Demand, Grant, QueueName, Supply, Unavailable
from broker.ports.slot import Slot
from broker.ports.store import Journal
from broker.queue.queue import Queue
from broker.queue.settings import QueueLimits
from broker.store.memory.store import MemoryState
from tests.support.clock import FakeClock
from tests.support.composition import NoServices
from tests.support.virtual_loop import VirtualLoop, in_virtual_time
from tests.unit.coordination.slots.slot_node import DEMAND_SIZE, QUEUE_ID, Node

ORDERS = QueueName("orders", QUEUE_ID)


class HeldJournal:
    """A journal that writes slots when it may."""

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
    waits: list[int] = field(default_factory=list)
    request_ids: list[str] = field(default_factory=list)
    submitted: list[tuple[str, int, int]] = field(default_factory=list)
    grant: Grant | None = None
    _answers: list[Supply] = field(default_factory=list)
    _waiting: asyncio.Future[Supply] | None = None

    async def await_slots(self, demands: Sequence[Demand], wait_ms: int, caller: Caller) -> Supply:
        self.waits.append(wait_ms)
        self.request_ids.append(caller.request_id)
        self._check()
        self.demands += [(demand.queue.queue_id, demand.messages) for demand in demands]
        if not wait_ms:
            return Supply()
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(Supply())  # a newer poll has come
        if self._answers:
            return self._answers.pop(0)
        self._waiting = asyncio.get_running_loop().create_future()
        return await self._waiting

    def answer(self, supply: Supply) -> None:
        if self._waiting is None or self._waiting.done():
            self._answers.append(supply)
        else:
            self._waiting.set_result(supply)

    async def submit_slot(self, queue: QueueName, slot: Slot, caller: Caller) -> None:
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
        self.coordinator = Coordinator()
        self.node = node = Node(
            MemoryState(),
            loop,
            "alice",
            "a",
            QueueLimits(window_size=10),
            is_balanced=True,
            journal=self._hold,
        )
        self.appoint(self.coordinator)
        node.queue.remove_consumer(node.taker)
        self.queue = node.queue
        self.runner = node.runner

    def _hold(self, journal: Journal) -> HeldJournal:
        self.journal = HeldJournal(journal)
        return self.journal

    def appoint(self, coordinator: Coordinator | None) -> None:
        service: Any = coordinator
        self.node.coordinator = service

    def depose(self) -> None:
        """There is no coordinator any more."""
        self.appoint(None)
        self.runner.look()

    def consume(self, credit: int) -> None:
        self.node.taker.allow(credit)
        if not self.queue.consumers:
            self.queue.turns.add(self.node.taker)
        self.queue.dispatch()
        self.node.stage.run()

    def cancel(self) -> None:
        self.queue.remove_consumer(self.node.taker)
        self.queue.dispatch()

    def tell(self, supply: Supply) -> None:
        """Answer the long poll."""
        self.coordinator.answer(supply)

    def want(self, messages: int) -> None:
        self.tell(Supply(remote_demand=(Demand(ORDERS, messages),)))

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
async def running() -> AsyncIterator[Bench]:
    bench = Bench()
    async with asyncio.TaskGroup() as tasks:
        run = tasks.create_task(bench.runner.run())
        await turn()
        yield bench
        run.cancel()
    bench.node.stage.run()


async def turn() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


@in_virtual_time
async def test_a_queue_with_a_consumer_and_nothing_to_deliver_has_demand() -> None:
    async with running() as it:
        it.consume(credit=5)
        await turn()
        assert it.coordinator.demands == [(QUEUE_ID, DEMAND_SIZE)]


@in_virtual_time
async def test_a_queue_whose_consumer_has_no_credit_has_no_demand() -> None:
    async with running() as it:
        it.consume(credit=0)
        assert not it.runner.demand.has_demand(QUEUE_ID)


@in_virtual_time
async def test_a_queue_that_has_lost_its_last_consumer_has_no_demand_any_more() -> None:
    async with running() as it:
        it.consume(credit=5)
        await turn()
        it.cancel()
        await turn()
        assert it.coordinator.demands == [(QUEUE_ID, DEMAND_SIZE), (QUEUE_ID, 0)]


@in_virtual_time
async def test_granted_messages_are_delivered() -> None:
    async with running() as it:
        it.consume(credit=5)
        slot = it.free_slot_of_bob()
        it.tell(Supply(grants=(it.assigned(slot),)))
        await turn()
        it.node.stage.run()
        assert [message.id for message in it.node.taker.taken] == list(range(slot.start, slot.end + 1))


@in_virtual_time
async def test_what_others_want_is_handed_off_and_the_coordinator_told() -> None:
    async with running() as it:
        ids = it.node.publish(3)
        it.want(2)
        await turn()
        assert it.free() == [(ids[0], ids[1])]
        assert it.coordinator.submitted == [("orders", ids[0], ids[1])]


@in_virtual_time
async def test_what_is_published_while_others_want_it_is_handed_off() -> None:
    async with running() as it:
        it.want(5)
        await turn()
        ids = it.node.publish(3)
        await turn()
        assert it.free() == [(ids[0], ids[2])]


@in_virtual_time
async def test_own_consumers_keep_the_older_half() -> None:
    async with running() as it:
        it.consume(credit=1)
        ids = it.node.publish(5)
        it.want(50)
        await turn()
        assert (it.free(), [message.id for message in it.queue.ready]) == ([(ids[3], ids[4])], ids[1:3])


@in_virtual_time
async def test_own_consumers_that_take_nothing_keep_nothing() -> None:
    async with running() as it:
        it.consume(credit=1)
        it.node.publish(5)
        it.want(50)
        await asyncio.sleep(2.1)
        assert it.queue.ready_count == 0


@in_virtual_time
async def test_a_coordinator_that_is_away_hinders_no_hand_off() -> None:
    async with running() as it:
        it.coordinator.is_away = True
        it.want(5)
        ids = it.node.publish(1)
        await turn()
        assert it.free() == [(ids[0], ids[0])]


@in_virtual_time
async def test_a_release_gives_the_oldest_and_says_how_many() -> None:
    async with running() as it:
        ids = it.node.publish(3)
        assert await it.runner.release(QUEUE_ID, 2) == 2
        assert it.free() == [(ids[0], ids[1])]


@in_virtual_time
async def test_a_release_of_nothing_is_answered_at_once() -> None:
    async with running() as it:
        assert await it.runner.release(QUEUE_ID, 2) == 0
        assert await it.runner.release(99, 2) == 0


@in_virtual_time
async def test_a_release_is_done_although_who_asked_has_gone() -> None:
    async with running() as it, asyncio.TaskGroup() as tasks:
        ids = it.node.publish(2)
        it.journal.may_write.clear()
        asking = tasks.create_task(it.runner.release(QUEUE_ID, 2))
        await turn()
        assert (it.queue.ready_count, it.free()) == (0, [])
        asking.cancel()
        await turn()
        it.journal.may_write.set()
        await turn()
        assert it.free() == [(ids[0], ids[1])]
        it.node.publish(1)
        assert await it.runner.release(QUEUE_ID, 1) == 1


@in_virtual_time
async def test_stopping_ends_when_what_is_being_handed_off_is_in_the_store() -> None:
    it = Bench()
    ids = it.node.publish(2)
    async with asyncio.TaskGroup() as tasks:
        run = tasks.create_task(it.runner.run())
        it.journal.may_write.clear()
        it.want(2)
        await turn()
        it.runner.stop()
        await asyncio.sleep(5)
        assert (run.done(), it.free()) == (False, [])
        it.journal.may_write.set()
        await turn()
        assert (run.done(), it.free()) == (True, [(ids[0], ids[1])])


@in_virtual_time
async def test_a_node_that_has_nothing_to_hand_off_stops_at_once() -> None:
    it = Bench()
    async with asyncio.TaskGroup() as tasks:
        run = tasks.create_task(it.runner.run())
        await turn()
        it.runner.stop()
        await turn()
        assert run.done()
        run.cancel()


@in_virtual_time
async def test_a_release_that_comes_too_late_gives_nothing_and_is_answered() -> None:
    it = Bench()
    it.node.publish(2)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(it.runner.run())
        it.journal.may_write.clear()
        it.want(1)
        await turn()
        late = tasks.create_task(it.runner.release(QUEUE_ID, 1))
        await turn()
        it.runner.stop()
        it.journal.may_write.set()
        await turn()
        assert late.done()
        assert (late.result(), await it.runner.release(QUEUE_ID, 1)) == (0, 0)


@in_virtual_time
async def test_leaving_hands_everything_off() -> None:
    it = Bench()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(it.runner.run())
        ids = it.node.publish(3)
        it.runner.stop()
    await it.runner.leave()
    assert (it.queue.ready_count, it.free()) == (0, [(ids[0], ids[2])])


@in_virtual_time
async def test_a_node_that_is_drained_gives_everything_and_goes_on() -> None:
    async with running() as it:
        ids = it.node.publish(3)
        await it.runner.give_all()
        assert (it.queue.ready_count, it.free()) == (0, [(ids[0], ids[2])])
        later = it.node.publish(2)
        assert it.queue.ready_count == 2
        await it.runner.give_all()
        assert it.free() == [(ids[0], ids[2]), (later[0], later[1])]


@in_virtual_time
async def test_leaving_finishes_what_is_empty_however_short_ago() -> None:
    it = Bench()
    slot = it.free_slot_of_bob()
    it.consume(credit=5)
    it.runner.owned.adopt([it.assigned(slot).slot], it.loop.time())
    it.queue.dispatch()
    it.node.stage.run()
    for message in it.node.taker.taken:
        it.node.settle(message.id)
    it.node.journal.commit()
    await it.runner.leave()
    assert it.node.state.slots == {}


@in_virtual_time
async def test_a_node_with_demand_claims_free_slots_when_no_coordinator_has_answered_for_two_seconds() -> None:
    async with running() as it:
        slot = it.free_slot_of_bob()
        it.depose()
        it.consume(credit=5)
        await asyncio.sleep(1.9)
        assert it.free() == [(slot.start, slot.end)]
        await asyncio.sleep(1.2)
        it.node.stage.run()
        assert it.free() == []
        assert [message.id for message in it.node.taker.taken] == list(range(slot.start, slot.end + 1))


@in_virtual_time
async def test_a_coordinator_that_answers_with_errors_is_no_coordinator() -> None:
    async with running() as it:
        it.free_slot_of_bob()
        it.consume(credit=5)
        it.coordinator.is_away = True
        it.appoint(Coordinator(is_away=True))
        await asyncio.sleep(4)
        it.node.stage.run()
        assert it.free() == []


@in_virtual_time
async def test_without_a_coordinator_a_node_without_consumers_offers_all_it_has_to_those_who_have_some() -> None:
    async with running() as it:
        ids = it.node.publish(3)
        it.depose()
        await asyncio.sleep(4)
        assert it.free() == []
        it.node.consumers_elsewhere = [Incarnation("bob", "1")]
        await asyncio.sleep(1)
        assert it.free() == [(ids[0], ids[2])]


@in_virtual_time
async def test_what_a_node_consumes_that_is_cut_off_is_offered_to_it() -> None:
    async with running() as it:
        ids = it.node.publish(3)
        it.node.consumers_elsewhere = [Incarnation("bob", "1")]
        await asyncio.sleep(4)
        assert it.free() == []
        it.node.cut_off = [Incarnation("bob", "1")]
        await asyncio.sleep(1)
        assert it.free() == [(ids[0], ids[2])]


@pytest.mark.parametrize("is_away", [False, True])
@in_virtual_time
async def test_a_get_that_nobody_can_serve_finds_nothing(is_away: bool) -> None:
    async with running() as it:
        it.coordinator.is_away = is_away
        assert not await it.runner.fetch(it.queue)
        it.depose()
        assert not await it.runner.fetch(it.queue)


@in_virtual_time
async def test_a_get_without_a_coordinator_is_served_from_a_free_slot_of_the_store() -> None:
    async with running() as it:
        it.depose()
        assert not await it.runner.claim(it.queue)
        it.free_slot_of_bob()
        assert await it.runner.claim(it.queue)
        assert it.queue.ready_count == 3
        assert it.free() == []


@in_virtual_time
async def test_what_is_wanted_is_handed_off_although_nobody_waits_for_it() -> None:
    async with running() as it:
        ids = it.node.publish(3)
        it.runner.on_wanted(QUEUE_ID, 2)
        it.runner.on_wanted(999, 2)
        await asyncio.sleep(0.1)
        assert it.free() == [(ids[0], ids[1])]


@in_virtual_time
async def test_a_get_is_served_from_a_slot_of_another_node() -> None:
    async with running() as it:
        slot = it.free_slot_of_bob()
        it.coordinator.grant = it.assigned(slot)
        assert await it.runner.fetch(it.queue)
        assert it.queue.ready_count == 3


# The long poll


@in_virtual_time
async def test_each_call_has_an_id_of_its_own() -> None:
    async with running() as it:
        await turn()
        assert (it.coordinator.waits, it.coordinator.request_ids) == ([0, WAIT_MS], ["1", "2"])


@in_virtual_time
async def test_a_coordinator_that_is_away_is_asked_again_and_another_one_at_once() -> None:
    async with running() as it:
        await turn()
        away = Coordinator(is_away=True)
        it.appoint(away)
        it.runner.look()
        await asyncio.sleep(0.75)
        assert away.waits == [0, 0, 0, 0]
        it.appoint(other := Coordinator())
        it.runner.look()
        await turn()
        assert other.waits == [0, WAIT_MS]


@in_virtual_time
async def test_a_new_coordinator_is_found_by_looking_twice_a_second() -> None:
    async with running() as it:
        await turn()
        it.appoint(other := Coordinator())
        await asyncio.sleep(0.6)
        assert other.waits == [0, WAIT_MS]


# What is owned


@in_virtual_time
async def test_lost_answers_are_found_every_two_seconds() -> None:
    async with running() as it:
        it.assigned(it.free_slot_of_bob())
        await asyncio.sleep(1.9)
        assert it.queue.ready_count == 0
        await asyncio.sleep(0.2)
        assert it.queue.ready_count == 3


@in_virtual_time
async def test_a_doubtful_answer_is_looked_up_at_once() -> None:
    async with running() as it:
        slot = it.assigned(it.free_slot_of_bob()).slot
        asked_at = it.loop.time()
        it.runner.owned.adopt([slot], asked_at)
        await it.runner.release(QUEUE_ID, 3)
        it.assigned(slot)
        it.runner.owned.adopt([slot], asked_at)
        await turn()
        assert it.queue.ready_count == 3


@in_virtual_time
async def test_a_store_that_is_away_is_asked_again() -> None:
    async with running() as it:
        it.assigned(it.free_slot_of_bob())
        failures = [StoreUnavailable("away")]
        owned = it.node.store.slots.owned

        async def fail_once(incarnation: Incarnation) -> list[SlotRow]:
            if failures:
                raise failures.pop()
            return await owned(incarnation)

        it.node.store.slots.owned = fail_once  # type: ignore[method-assign]
        await asyncio.sleep(2.1)
        assert (it.queue.ready_count, failures) == (0, [])
        await asyncio.sleep(2.1)
        assert it.queue.ready_count == 3


@in_virtual_time
async def test_an_empty_slot_is_finished() -> None:
    async with running() as it:
        it.consume(credit=5)
        slot = it.free_slot_of_bob()
        it.tell(Supply(grants=(it.assigned(slot),)))
        await turn()
        it.node.stage.run()
        for message in it.node.taker.taken:
            it.node.settle(message.id)
        it.node.journal.commit()
        await asyncio.sleep(0.6)
        assert it.node.state.slots == {}


class NotesWhatIsDue(NoServices):
    """Notes the queues of which expired messages are to be read."""

    def __init__(self) -> None:
        self.read: list[Queue] = []

    def read_due(self, queue: Queue) -> None:
        self.read.append(queue)


@in_virtual_time
async def test_what_lies_unread_in_slots_of_other_nodes_is_looked_at_once_for_times_of_its_own() -> None:
    async with running() as it:
        it.queue._services = services = NotesWhatIsDue()
        it.tell(Supply((it.assigned(it.free_slot_of_bob()),)))
        await turn()
        it.node.stage.run()
        await asyncio.sleep(3.0)
        assert it.node.asked_due == 0, "it is in memory"
        it.tell(Supply((it.assigned(it.free_slot_of_bob()),)))
        await asyncio.sleep(3.0)
        assert (it.node.asked_due, services.read) == (1, [])
        it.node.next_due = 1
        it.tell(Supply((it.assigned(it.free_slot_of_bob()),)))
        await asyncio.sleep(3.0)
        assert (it.node.asked_due, services.read[:1]) == (2, [it.queue])


@in_virtual_time
async def test_nobody_asks_about_slots_that_are_read() -> None:
    async with running() as it:
        it.consume(credit=9)
        it.tell(Supply((it.assigned(it.free_slot_of_bob()),)))
        await turn()
        it.node.stage.run()
        await asyncio.sleep(3.0)
        assert (it.queue.unacked_count, it.node.asked_due) == (3, 0)
