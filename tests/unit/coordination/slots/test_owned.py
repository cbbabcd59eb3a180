"""The slots a node owns: adopted, believed or looked up, found when an answer was lost, finished when empty."""

from __future__ import annotations

from math import inf
from typing import Any

from broker.coordination.slots.owned import FinishSlots, OwnedAction, OwnedSlots, ReadOwned
from broker.coordination.slots.split import Cut
from broker.message import STORED, Message, MessageIdGenerator
from broker.ports.cluster_rows import Incarnation, row_of
from broker.ports.slot import Slot
from broker.queue.queue import Queue
from tests.support.ids import message_id

QUEUE_ID = 7
ALICE = Incarnation("alice", "a")
NOTHING: Any = None


class Bench:
    """Alice, whose lane is 1, and her queue; Bob's lane is 2."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.ids = MessageIdGenerator(1)
        self.queue = Queue(
            "/", "orders", QUEUE_ID, durable=True, lane=1, journal=NOTHING, read_slots=NOTHING, services=NOTHING
        )
        self.queues = {QUEUE_ID: self.queue}
        self.is_due = False
        self.owned = OwnedSlots(1, self.ids, find_queue=self.queues.get, on_due=self._on_due)
        self.owned.start(self.now)

    def _on_due(self) -> None:
        self.is_due = True

    def adopt(self, *slots: Slot, granted_after: float | None = None) -> int:
        return sum(self.owned.adopt(slots, self.now if granted_after is None else granted_after).values())

    def read(self, slot: Slot) -> None:
        """Read a slot to its end, as the slot reader does."""
        messages = [Message(each, self.queue, b"", b"", b"", None, STORED) for each in (slot.start, slot.end)]
        self.owned.on_read(self.queue, slot, messages, True, self.now)

    def give(self, slot: Slot) -> None:
        """Hand an adopted slot off, whole."""
        assert self.queue._window.slots.take_oldest() is slot
        self.owned.on_cut(Cut([slot.row], [], [slot]), self.now)

    def actions(self, seconds: float) -> list[OwnedAction]:
        """Let so many seconds pass; return what is to be done then."""
        self.now += seconds
        actions: list[OwnedAction] = []
        while (action := self.owned.next_action(self.now)) is not None:
            actions.append(action)
        return actions

    def is_owned(self, slot: Slot) -> bool:
        return self.owned.lookup(QUEUE_ID)(slot.start) is not None


def slot(first: int, last: int, lane: int = 2) -> Slot:
    start, end = message_id(lane, first), message_id(lane, last)
    return Slot(QUEUE_ID, lane, start, end, last - first + 1, row=start)


def test_adopted_slots_wait_in_the_queue_which_is_named() -> None:
    it = Bench()
    assert it.owned.adopt([slot(1, 3), slot(4, 4)], it.now) == {it.queue: 2}
    assert it.queue.ready_count == 4


def test_a_slot_is_adopted_once() -> None:
    it = Bench()
    assert (it.adopt(slot(1, 3)), it.adopt(slot(1, 3)), it.queue.ready_count) == (1, 0, 3)


def test_a_slot_of_an_unknown_queue_is_left_until_the_queue_is_known() -> None:
    it = Bench()
    del it.queues[QUEUE_ID]
    assert it.adopt(slot(1, 3)) == 0
    it.queues[QUEUE_ID] = it.queue
    assert it.owned.on_owned([row_of(slot(1, 3), ALICE)]) == {it.queue: 1}


def test_ids_follow_those_that_were_adopted() -> None:
    it = Bench()
    it.adopt(slot(1, 900))
    assert it.ids.next() > message_id(2, 900)


def test_a_slot_older_than_what_was_read_of_its_lane_is_delivered_as_redelivered() -> None:
    it = Bench()
    newer, older, newest = slot(5, 6), slot(1, 2), slot(7, 8)
    it.adopt(newer)
    it.queue._window.slots.take_oldest()
    it.read(newer)
    it.adopt(older, newest)
    assert (older.is_late, newest.is_late) == (True, False)


def test_a_late_slot_does_not_let_the_next_one_count_as_on_time() -> None:
    it = Bench()
    newer, older, between = slot(9, 9), slot(1, 1), slot(5, 5)
    for each in (newer, older):
        it.adopt(each)
        it.queue._window.slots.take_oldest()
        it.read(each)
    it.adopt(between)
    assert between.is_late


def test_a_slot_of_the_own_lane_that_comes_back_after_newer_messages_is_redelivered() -> None:
    it = Bench()
    it.queue._window.last_taken = message_id(1, 5)
    older, newer = slot(1, 2, lane=1), slot(6, 7, lane=1)
    it.adopt(older, newer)
    assert (older.is_late, newer.is_late) == (True, False)


def test_lookup_finds_the_slot_of_a_message_by_lane_and_range() -> None:
    it = Bench()
    first, second, own = slot(1, 3), slot(6, 7), slot(5, 5, lane=1)
    it.adopt(first, second, own)
    find = it.owned.lookup(QUEUE_ID)
    ids = [message_id(2, 0), message_id(2, 3), message_id(2, 5), message_id(2, 6), message_id(1, 5), message_id(1, 6)]
    found = [None if (each := find(message)) is None else each.row for message in ids]
    assert found == [None, first.row, None, second.row, own.row, None]


def test_a_slot_that_was_read_is_asked_to_be_finished_until_the_store_has_done_so() -> None:
    it = Bench()
    it.adopt(read := slot(1, 2))
    it.read(read)
    (action,) = it.actions(0.25)
    assert action == FinishSlots([read.row], it.now)
    it.owned.on_finished(action, [])
    assert it.is_owned(read)
    (action,) = it.actions(0.5)
    assert isinstance(action, FinishSlots)
    it.owned.on_finished(action, [read.row])
    assert (it.is_owned(read), it.owned.finish_due(inf)) == (False, None)


def test_a_slot_that_was_not_read_to_its_end_is_not_even_looked_at() -> None:
    it = Bench()
    it.adopt(slot(1, 2))
    assert it.actions(1.0) == []


def test_the_longer_a_slot_lasts_the_more_rarely_it_is_looked_at() -> None:
    it = Bench()
    it.adopt(read := slot(1, 2))
    it.read(read)
    looks = []
    for quarter in range(1, 81):
        for action in it.actions(0.25):
            if isinstance(action, FinishSlots):
                it.owned.on_finished(action, [])
                looks.append(quarter / 4)
    assert looks == [0.25, 0.75, 1.75, 3.75, 7.75, 15.75]


def test_what_was_purged_unread_is_finished_too() -> None:
    it = Bench()
    it.adopt(dropped := slot(1, 2))
    it.owned.on_dropped([dropped, slot(5, 5)], it.now)
    assert it.actions(0.25) == [FinishSlots([dropped.row], it.now)]


def test_an_answer_about_a_slot_that_was_given_away_since_is_not_believed_but_looked_up_at_once() -> None:
    it = Bench()
    it.adopt(given := slot(1, 3))
    granted_after = it.now - 1.0
    it.give(given)
    assert (it.adopt(slot(1, 3), granted_after=granted_after), it.queue.ready_count, it.is_due) == (0, 0, True)
    assert it.actions(0.0) == [ReadOwned()]
    it.owned.on_owned([])
    assert it.queue.ready_count == 0


def test_a_slot_that_came_back_in_the_same_poll_is_found_in_the_store() -> None:
    it = Bench()
    it.adopt(given := slot(1, 3))
    it.give(given)
    assert it.adopt(slot(1, 3)) == 0
    it.owned.on_owned([row_of(slot(1, 3), ALICE)])
    assert (it.queue.ready_count, it.actions(0.0)) == (3, [ReadOwned()])


def test_an_answer_asked_for_after_the_slot_was_given_is_believed() -> None:
    it = Bench()
    it.adopt(given := slot(1, 3))
    it.give(given)
    assert it.adopt(slot(1, 3), granted_after=it.now + 0.1) == 1


def test_an_answer_about_a_slot_that_was_finished_since_is_not_believed() -> None:
    it = Bench()
    it.adopt(read := slot(1, 2))
    it.read(read)
    granted_after = it.now
    (action,) = it.actions(0.25)
    assert isinstance(action, FinishSlots)
    it.owned.on_finished(action, [read.row])
    assert it.adopt(slot(1, 2), granted_after=granted_after) == 0


def test_the_store_is_asked_every_two_seconds_what_no_answer_has_told() -> None:
    it = Bench()
    assert it.owned.next_deadline() == it.now + 0.25
    assert [it.actions(seconds) for seconds in (1.75, 0.25, 1.75, 0.25)] == [[], [ReadOwned()], [], [ReadOwned()]]


def test_a_store_that_is_away_is_asked_to_finish_slots_a_tick_later() -> None:
    it = Bench()
    it.adopt(read := slot(1, 2))
    it.read(read)
    it.now += 2.0
    assert it.owned.next_action(it.now) == ReadOwned()
    it.owned.on_failed(it.now)
    assert (it.actions(0.0), it.actions(0.25)) == ([], [FinishSlots([read.row], it.now)])


def test_what_was_given_is_forgotten_when_no_answer_can_be_so_old() -> None:
    it = Bench()
    it.adopt(given := slot(1, 3))
    granted_after = it.now
    it.give(given)
    it.actions(100.0)
    assert it.adopt(slot(1, 3), granted_after=granted_after) == 1


def test_what_is_kept_of_a_slot_that_was_cut_is_finished_when_it_is_empty() -> None:
    it = Bench()
    it.adopt(whole := slot(1, 3))
    kept, given = slot(1, 1), slot(2, 3)
    it.owned.on_cut(Cut([whole.row], [kept], [given]), it.now)
    assert (it.is_owned(kept), it.is_owned(given)) == (True, False)
    assert it.actions(0.25) == [FinishSlots([kept.row], it.now)]


def test_a_queue_of_which_transient_rows_were_read_is_remembered() -> None:
    it = Bench()
    read = slot(1, 1)
    read.transient = True
    it.adopt(read)
    it.read(read)
    assert it.owned.spilled == {QUEUE_ID}


def test_before_the_start_nothing_is_due() -> None:
    it = Bench()
    owned = OwnedSlots(1, it.ids, find_queue=it.queues.get, on_due=lambda: None)
    assert (owned.next_deadline(), owned.next_action(1e9)) == (inf, None)


def test_a_slot_of_which_only_a_page_was_read_is_not_looked_at() -> None:
    it = Bench()
    it.adopt(part := slot(1, 9))
    message = Message(part.start, it.queue, b"", b"", b"", None, STORED)
    it.owned.on_read(it.queue, part, [message], False, it.now)
    assert it.actions(1.0) == []


def test_at_most_a_thousand_slots_are_asked_to_be_finished_at_once() -> None:
    it = Bench()
    many = [slot(number, number) for number in range(1, 1002)]
    it.adopt(*many)
    for each in many:
        it.read(each)
    (action,) = it.actions(0.25)
    assert isinstance(action, FinishSlots)
    assert list(action.starts) == [each.row for each in many[:1000]]


def test_a_queue_of_which_no_slot_is_left_is_forgotten() -> None:
    it = Bench()
    it.adopt(read := slot(1, 2))
    it.read(read)
    (action,) = it.actions(0.25)
    assert isinstance(action, FinishSlots)
    it.owned.on_finished(action, [read.row])
    assert it.owned._slots == {}


def test_what_is_said_of_one_queue_leaves_the_slots_of_another_as_they_are() -> None:
    it = Bench()
    other = Queue("/", "letters", 8, durable=True, lane=1, journal=NOTHING, read_slots=NOTHING, services=NOTHING)
    it.queues[8] = other
    unread = slot(7, 9)
    unread.queue_id = 8
    it.adopt(read := slot(1, 2), unread, untouched := slot(4, 5))
    it.read(read)
    (action,) = it.actions(0.25)
    assert isinstance(action, FinishSlots)
    it.owned.on_finished(action, [read.row])
    assert (it.is_owned(untouched), it.owned.lookup(8)(unread.start) is not None) == (True, True)
    assert it.owned.finish_due(inf) is None


def test_what_was_given_is_remembered_for_ninety_seconds() -> None:
    it = Bench()
    it.adopt(given := slot(1, 3))
    granted_after = it.now
    it.give(given)
    it.actions(50.0)
    it.actions(39.9)
    assert it.adopt(slot(1, 3), granted_after=granted_after) == 0


def test_what_was_given_is_forgotten_after_ninety_seconds() -> None:
    it = Bench()
    it.adopt(given := slot(1, 3))
    granted_after = it.now
    it.give(given)
    it.actions(90.0)
    assert it.adopt(slot(1, 3), granted_after=granted_after) == 1


def test_a_doubtful_slot_keeps_no_other_of_its_answer_away() -> None:
    it = Bench()
    it.adopt(given := slot(1, 3))
    it.give(given)
    assert it.adopt(slot(1, 3), slot(5, 6)) == 1


def test_a_slot_that_begins_with_what_was_read_last_is_redelivered() -> None:
    it = Bench()
    it.adopt(whole := slot(5, 6))
    it.queue._window.slots.take_oldest()
    it.read(whole)
    it.adopt(again := slot(6, 6))
    assert again.is_late


def test_what_was_read_or_cut_has_a_moment_before_it_is_looked_at() -> None:
    it = Bench()
    it.adopt(read := slot(1, 2), whole := slot(4, 6))
    assert it.actions(0.15) == []
    it.read(read)
    it.owned.on_cut(Cut([whole.row], [slot(4, 4)], [slot(5, 6)]), it.now)
    assert it.actions(0.10) == []
    assert it.actions(0.25) == [FinishSlots([read.row, slot(4, 4).row], it.now)]
