"""The slots a node holds: taken over, believed or looked up, found when an answer was lost, finished when empty."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from broker.coordination.slots.owned import OwnedSlots
from broker.coordination.slots.split import Cut
from broker.errors import Evicted
from broker.message import STORED, Message, MessageIdGenerator
from broker.ports.cluster_rows import Incarnation
from broker.ports.peer_calls import Fence
from broker.ports.slot import Slot
from broker.queue.queue import Queue
from tests.support.clock import FakeClock
from tests.support.memory_slots import MemorySlots, message_id, row_of
from tests.support.stage import drive
from tests.support.virtual_loop import VirtualLoop, in_virtual_time

QUEUE_ID = 7
ALICE = Incarnation("alice", "a")
BOB = Incarnation("bob", "b")
NOTHING: Any = None


class Bench:
    """Alice, whose lane is 1, and her queue; Bob's lane is 2."""

    def __init__(self, clock: FakeClock | VirtualLoop | None = None) -> None:
        self.clock = clock or FakeClock()
        self.store = MemorySlots()
        for incarnation in (ALICE, BOB):
            self.store.table.join(incarnation)
        self.ids = MessageIdGenerator(1)
        self.adopted: list[Queue] = []
        self.queue = Queue("/", "orders", QUEUE_ID, durable=True, lane=1, journal=NOTHING, read_slots=NOTHING)
        self.queues = {QUEUE_ID: self.queue}
        self.owned = OwnedSlots(
            self.store,
            ALICE,
            1,
            self.ids,
            clock=self.clock,
            find_queue=self.queues.get,
            on_adopted=self.adopted.append,
        )

    def slot(self, first: int, last: int, lane: int = 2, owner: Incarnation | None = ALICE) -> Slot:
        """Put messages of these numbers and the slot over them into the store."""
        ids = [message_id(lane, number) for number in range(first, last + 1)]
        self.store.table.messages.update(dict.fromkeys(ids, QUEUE_ID))
        slot = Slot(QUEUE_ID, lane, ids[0], ids[-1], len(ids), row=ids[0])
        self.store.table.rows[slot.row] = row_of(slot, owner)
        return slot

    def adopt(self, *slots: Slot, asked_at: float | None = None) -> int:
        return self.owned.adopt(slots, self.clock.monotonic() if asked_at is None else asked_at)

    def read(self, slot: Slot) -> None:
        """Read a slot to its end, as the feed does."""
        messages = [Message(each, self.queue, b"", b"", b"", None, STORED) for each in self.store.table.read(slot, 99)]
        self.owned.on_read(self.queue, slot, messages, True)

    def settle(self, slot: Slot) -> None:
        """All messages of the slot are acknowledged, and their rows gone."""
        for each in self.store.table.read(slot, 99):
            del self.store.table.messages[each]

    def give(self, slot: Slot) -> None:
        """Give an adopted slot away, whole."""
        assert self.queue._window.slots.take_oldest() is slot
        self.store.table.cut([slot.row], [], [slot], ALICE)
        self.owned.on_cut(Cut([slot.row], [], [slot]))

    def is_held(self, slot: Slot) -> bool:
        return self.owned.lookup(QUEUE_ID)(slot.start) is not None


def test_adopted_slots_wait_in_the_queue_which_is_told() -> None:
    it = Bench()
    assert it.adopt(it.slot(1, 3), it.slot(4, 4)) == 2
    assert (it.queue.ready_count, it.adopted) == (4, [it.queue])


def test_a_slot_is_adopted_once() -> None:
    it = Bench()
    slot = it.slot(1, 3)
    assert (it.adopt(slot), it.adopt(slot), it.queue.ready_count) == (1, 0, 3)


def test_a_slot_of_an_unknown_queue_is_left_until_the_queue_is_known() -> None:
    it = Bench()
    del it.queues[QUEUE_ID]
    slot = it.slot(1, 3)
    assert it.adopt(slot) == 0
    it.queues[QUEUE_ID] = it.queue
    drive(it.owned.reconcile())
    assert it.queue.ready_count == 3


def test_ids_follow_those_that_were_adopted() -> None:
    it = Bench()
    it.adopt(it.slot(1, 900))
    assert it.ids.next() > message_id(2, 900)


def test_a_slot_older_than_what_was_read_of_its_lane_is_delivered_as_redelivered() -> None:
    it = Bench()
    newer, older, newest = it.slot(5, 6), it.slot(1, 2), it.slot(7, 8)
    it.adopt(newer)
    it.queue._window.slots.take_oldest()
    it.read(newer)
    it.adopt(older, newest)
    assert (older.maybe_delivered, newest.maybe_delivered) == (True, False)


def test_a_late_slot_does_not_let_the_next_one_count_as_on_time() -> None:
    it = Bench()
    newer, older, between = it.slot(9, 9), it.slot(1, 1), it.slot(5, 5)
    for slot in (newer, older):
        it.adopt(slot)
        it.queue._window.slots.take_oldest()
        it.read(slot)
    it.adopt(between)
    assert between.maybe_delivered


def test_a_slot_of_the_own_lane_that_comes_back_after_newer_messages_is_redelivered() -> None:
    it = Bench()
    it.queue._window.last_taken = message_id(1, 5)
    older, newer = it.slot(1, 2, lane=1), it.slot(6, 7, lane=1)
    it.adopt(older, newer)
    assert (older.maybe_delivered, newer.maybe_delivered) == (True, False)


def test_lookup_finds_the_slot_of_a_message_by_lane_and_range() -> None:
    it = Bench()
    first, second, own = it.slot(1, 3), it.slot(6, 7), it.slot(5, 5, lane=1)
    it.adopt(first, second, own)
    find = it.owned.lookup(QUEUE_ID)
    ids = [message_id(2, 0), message_id(2, 3), message_id(2, 5), message_id(2, 6), message_id(1, 5), message_id(1, 6)]
    found = [None if (slot := find(each)) is None else slot.row for each in ids]
    assert found == [None, first.row, None, second.row, own.row, None]


def test_a_slot_is_finished_only_when_none_of_its_messages_is_left() -> None:
    it = Bench()
    slot = it.slot(1, 2)
    it.adopt(slot)
    it.read(slot)
    drive(it.owned.finish(it.clock.monotonic() + 1.0))
    assert slot.row in it.store.table.rows
    it.settle(slot)
    drive(it.owned.finish(it.clock.monotonic() + 10.0))
    assert (slot.row in it.store.table.rows, it.is_held(slot)) == (False, False)


def test_a_slot_that_was_not_read_to_its_end_is_not_even_looked_at() -> None:
    it = Bench()
    it.adopt(it.slot(1, 2))
    drive(it.owned.finish(it.clock.monotonic() + 100.0))
    assert it.store.calls == []


def test_the_longer_a_slot_lasts_the_more_rarely_it_is_looked_at() -> None:
    it = Bench()
    slot = it.slot(1, 2)
    it.adopt(slot)
    it.read(slot)
    looks = []
    for quarter in range(1, 81):
        before = len(it.store.calls)
        drive(it.owned.finish(it.clock.monotonic() + quarter / 4))
        if len(it.store.calls) > before:
            looks.append(quarter / 4)
    assert looks == [0.25, 0.75, 1.75, 3.75, 7.75, 15.75]


def test_what_was_purged_unread_is_finished_too() -> None:
    it = Bench()
    slot = it.slot(1, 2)
    it.adopt(slot)
    it.settle(slot)
    it.owned.on_dropped([slot])
    drive(it.owned.finish(it.clock.monotonic() + 1.0))
    assert it.store.table.rows == {}


def test_an_answer_about_a_slot_that_was_given_away_since_is_not_believed() -> None:
    it = Bench()
    slot = it.slot(1, 3)
    asked_at = it.clock.monotonic()
    it.adopt(slot)
    it.give(slot)
    assert (it.adopt(slot, asked_at=asked_at), it.queue.ready_count) == (0, 0)
    drive(it.owned.reconcile())
    assert it.queue.ready_count == 0


def test_a_slot_that_came_back_in_the_same_poll_is_found_in_the_store() -> None:
    it = Bench()
    slot = it.slot(1, 3)
    asked_at = it.clock.monotonic()
    it.adopt(slot)
    it.give(slot)
    it.store.table.assign([it.store.table.rows[slot.row]], ALICE, Fence())
    assert it.adopt(slot, asked_at=asked_at) == 0
    assert isinstance(it.clock, FakeClock)
    it.clock.advance(0.25)
    drive(it.owned.reconcile())
    assert it.queue.ready_count == 3


def test_an_answer_asked_for_after_the_slot_was_given_is_believed() -> None:
    it = Bench()
    slot = it.slot(1, 3)
    it.adopt(slot)
    it.give(slot)
    assert it.adopt(slot, asked_at=it.clock.monotonic() + 0.1) == 1


def test_a_slot_of_which_no_answer_has_told_is_found() -> None:
    it = Bench()
    it.slot(1, 3)
    it.slot(4, 5, owner=BOB)
    it.slot(6, 6, owner=None)
    drive(it.owned.reconcile())
    assert (it.queue.ready_count, it.adopted) == (3, [it.queue])


def test_what_is_kept_of_a_slot_that_was_cut_is_finished_when_it_is_empty() -> None:
    it = Bench()
    slot = it.slot(1, 3)
    it.adopt(slot)
    kept = Slot(QUEUE_ID, 2, slot.start, slot.start, 1, row=slot.start)
    given = Slot(QUEUE_ID, 2, message_id(2, 2), slot.end, 2, row=message_id(2, 2))
    it.store.table.cut([slot.row], [kept], [given], ALICE)
    it.owned.on_cut(Cut([slot.row], [kept], [given]))
    assert (it.is_held(kept), it.is_held(given)) == (True, False)
    it.settle(kept)
    drive(it.owned.finish(it.clock.monotonic() + 1.0))
    assert list(it.store.table.rows) == [given.row]


def test_a_queue_of_which_transient_rows_were_read_is_remembered() -> None:
    it = Bench()
    slot = it.slot(1, 1)
    slot.transient = True
    it.adopt(slot)
    it.read(slot)
    assert it.owned.spilled == {QUEUE_ID}


def test_a_incarnation_that_is_over_finishes_nothing() -> None:
    it = Bench()
    slot = it.slot(1, 1)
    it.adopt(slot)
    it.read(slot)
    it.store.table.end(ALICE)
    with pytest.raises(Evicted):
        drive(it.owned.finish(it.clock.monotonic() + 1.0))


async def running(it: Bench, seconds: float) -> None:
    async with asyncio.TaskGroup() as tasks:
        run = tasks.create_task(it.owned.run())
        await asyncio.sleep(seconds)
        run.cancel()


def on_loop() -> Bench:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return Bench(loop)


@in_virtual_time
async def test_lost_answers_are_found_every_two_seconds() -> None:
    it = on_loop()
    it.slot(1, 3)
    await running(it, 1.9)
    assert it.store.calls == []
    await running(it, 2.1)
    assert (it.store.calls, it.queue.ready_count) == (["owned"], 3)


@in_virtual_time
async def test_a_doubtful_answer_is_looked_up_at_once() -> None:
    it = on_loop()
    slot = it.slot(1, 3)
    asked_at = it.clock.monotonic()
    it.adopt(slot)
    it.give(slot)
    it.store.table.assign([it.store.table.rows[slot.row]], ALICE, Fence())
    it.adopt(slot, asked_at=asked_at)
    await asyncio.sleep(0.01)
    await running(it, 0.1)
    assert (it.store.calls, it.queue.ready_count) == (["owned"], 3)


@in_virtual_time
async def test_a_store_that_is_away_is_asked_again() -> None:
    it = on_loop()
    it.slot(1, 3)
    it.store.fail("owned")
    await running(it, 4.5)
    assert (it.store.calls, it.queue.ready_count) == (["owned", "owned"], 3)


@in_virtual_time
async def test_an_empty_slot_is_finished_by_the_loop() -> None:
    it = on_loop()
    slot = it.slot(1, 2)
    it.adopt(slot)
    it.read(slot)
    it.settle(slot)
    await running(it, 0.6)
    assert it.store.table.rows == {}
