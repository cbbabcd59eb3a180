"""A queue with message groups (`x-message-groups`, ADR 83): in order within a group, in turn between groups.

`GroupTurns` knows whose turn it is among what is in memory; `GroupCursor` what of the groups in slots is to be read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence, Set
from typing import Any, Final

from broker.message import PENDING, TRANSIENT, Message, lane_of
from broker.ports.groups import GroupPage
from broker.ports.slot import Slot
from broker.queue.group_cursor import GroupCursor
from broker.queue.grouped_window import GroupedWindow, around
from broker.queue.outcome import Outcome
from broker.queue.queue import Queue
from broker.queue.queue_turns import QueueTurns
from broker.queue.ready_messages import weight_of_message
from broker.queue.settings import QueueSettings

_LATE: Final = 4
"""Slots with older messages than there are in memory are read up to so many times the limit of the queue's memory."""
_LOOKS: Final = 16
"""How often what is in memory is added up while it is delivered once."""


class GroupedQueue(Queue):
    """One queue of one virtual host on this node, whose messages belong to groups."""

    __slots__ = ("_groups", "_late", "_settled", "cursor")

    new_window = GroupedWindow

    def __init__(self, *identity: Any, settings: QueueSettings, **parts: Any) -> None:
        """The arguments are those of `Queue`."""
        self.cursor: Final = GroupCursor()
        """What of the groups in slots is to be read next."""
        self._late: list[Slot] = []
        """Slots from other nodes with older messages than are in memory or out: they are read before anything goes out.
        """
        self._settled: set[int] = set()
        """The ids of messages that were settled since the read began that is under way: their rows may be read."""
        turns = QueueTurns(settings)
        self._groups = turns.group(settings.group_concurrency)
        super().__init__(*identity, settings=settings, turns=turns, **parts)
        self._journal.grouped_queues.add(self.queue_id)

    def _take_on(self, settings: QueueSettings) -> None:
        super()._take_on(settings)
        self._groups.set_concurrency(settings.group_concurrency)

    @property
    def _grouped(self) -> GroupedWindow:
        window = self._window
        assert isinstance(window, GroupedWindow)
        return window

    # Messages in and out: each has a row, so that its settlement is told and the index of groups knows it

    def _new_append(self) -> Callable[[Message], None]:
        return self._append

    def _append(self, message: Message) -> None:
        self._store(message)
        window = self._window
        if window.counts_octets:
            window.append_counted(message)
        else:
            window.append(message)

    def _store(self, message: Message) -> None:
        if message.state == TRANSIENT:
            message.state = PENDING
            self._journal.append(message)

    def insert(self, messages: Sequence[Message]) -> None:
        for message in messages:
            self._store(message)
        super().insert(messages)

    def settle(self, messages: Sequence[Message], outcome: Outcome, unstored: int = 0) -> None:
        super().settle(messages, outcome, unstored)
        self._groups.release(messages)
        if self._window.is_reading:
            self._settled.update(message.id for message in messages)
        elif self._settled:
            self._settled.clear()
        if not outcome.was_held:
            self._groups.forget_places()

    def return_unsent(self, messages: Sequence[Message]) -> None:
        if self._expiry is not None:
            messages = self._let_served_go(self._expiry, messages)
        if self._is_deleted:
            super().return_unsent(messages)
            return
        self._unacked -= len(messages)
        self._groups.bring_back(self._window, messages)

    def pop(self) -> Message | None:
        window = self._window
        if window.is_watched and not self._expire():
            return None
        message = None if self._reads_late() else self._groups.take_next(window)
        if message is None:
            self._look_into_slots(self.turns.dispatcher.is_active, is_asked=True)
            return None
        if window.tail is window.ready:
            window.bytes -= message.weight
        self._unacked += 1
        return message

    @property
    def may_be_got(self) -> bool:
        return self._window.is_reading

    def withdraw(self, messages: Iterable[Message]) -> list[Message]:
        gone = {*self._groups.flying, *self._settled}
        taken = super().withdraw([message for message in messages if message.id not in gone])
        self._groups.forget_places()
        return taken

    def purge(self) -> list[Slot]:
        return around(super().purge(), self._groups.flying)

    def delete(self) -> list[Slot]:
        slots = super().delete()
        self._journal.grouped_queues.discard(self.queue_id)
        return slots

    # Dispatch

    def dispatch(self, *, may_deliver: bool = True) -> bool:
        window, turns = self._window, self._groups
        if window.is_watched and not self._expire():
            self._services.watch(self)
            return False  # the rest expires in later turns, and until then nobody may get it
        if may_deliver and not self._reads_late():
            turns.serve(window)
            if window.tail is not window.ready:
                self._look_into_slots(self.turns.has_takers)
            elif not window.ready:
                window.bytes = 0
        if window.is_watched and self._expiry is not None:
            self._let_go(self._expiry)
        if not self.is_closing:
            window.page_out()
        if self._after_dispatch is not None:
            self._after_dispatch(self)
        return turns.is_waiting and bool(self.turns.consumers)

    def _look_into_slots(self, is_wanted: bool, *, is_asked: bool = False) -> None:
        """Bring messages of groups into memory that have none there, if they are wanted. `is_asked`: somebody waits for
        one of them, as a consumer with credit does.
        """
        window, turns, cursor = self._grouped, self._groups, self.cursor
        if window.tail is window.ready or window.is_reading or not is_wanted:
            return
        if not window.has_slots:
            window.join_tail()
            turns.serve(window)
            return
        is_asked = is_asked or self.turns.dispatcher.has_credit()
        is_due = turns.is_pass_over or (is_asked and not turns.is_waiting)
        if window.may_page and is_due:
            window.close_tail()
            cursor.note_change()
        if turns.has_drained:
            turns.has_drained = False
            cursor.note_change()
        if window.is_oldest_slot_empty or (cursor.is_done and not turns.is_waiting and not turns.flying):
            self.refill()  # what its count has not told, and the end of the slot
        elif not cursor.is_done and is_due:
            if sum(map(weight_of_message, window.ready)) < self.limits.memory:
                turns.begin_pass()
                window.is_reading = True
                self._services.read_groups(self)
            else:  # adding it up costs something: not for each message
                turns.begin_pass(len(window.ready) // _LOOKS)

    # What is read from slots

    def known_ids(self) -> Set[int]:
        in_memory = (message.id for message in self._window.ready)
        return {*super().known_ids(), *self._groups.flying, *self._settled, *in_memory}

    @property
    def may_slots_be_behind(self) -> bool:
        return True

    def unknown_in(self, page: GroupPage) -> list[int]:
        """Return the ids of messages, ascending, that are to be read of these groups: of those that have none in
        memory, the oldest. What is not on this node yet is left out, and with it what follows in its group and lane.
        """
        find, known = self._window.find_slot(), self.known_ids()
        wanted: list[int] = []
        for head in page.heads:
            if not self._groups.wants(head.group):
                continue
            missing: set[int] = set()
            for message_id in head.message_ids:
                lane = lane_of(message_id)
                if message_id in known or lane in missing:
                    continue
                if find(message_id) is None:
                    missing.add(lane)
                else:
                    wanted.append(message_id)
        return sorted(wanted)

    def on_groups_read(self, page: GroupPage, messages: Sequence[Message]) -> None:
        """These messages of a page of groups were read: they are in memory from now on, as far as they lie in slots."""
        window, known = self._grouped, self.known_ids()
        changes = window.changes
        taken = window.take_ahead([message for message in messages if message.id not in known])
        self._groups.note_read(window, taken, changes)
        self.cursor.on_page(page, is_found=bool(taken))

    def expire_in_slots(self, due: Sequence[Message]) -> None:
        known = self.known_ids()
        unknown = [message for message in due if message.id not in known]
        if unknown:
            super().expire_in_slots(unknown)
        self._window.due_after = (due[-1].due, due[-1].id)

    def recover(self, slot: Slot) -> None:
        super().recover(slot)
        self.cursor.note_change()

    def take_over(self, slot: Slot) -> bool:
        self.cursor.note_change()
        is_late = super().take_over(slot)
        is_late |= any(each > slot.start and lane_of(each) == slot.lane for each in self._groups.flying)
        if is_late:
            self._late.append(slot)
        return is_late

    def _reads_late(self) -> bool:
        """Bring what is older than messages in memory there, too: nothing goes out meanwhile. Only as much as a queue
        may have in memory: behind that the order of those that come late is lost.
        """
        if not self._late:
            return False
        window = self._window
        slots = self.slots.paged
        late = [slot for slot in self._late if any(each is slot for each in slots)]
        # With them what is older still, and may have been paged out when it had been read.
        self._late = [
            slot for slot in slots if any(slot.lane == each.lane and slot.start <= each.start for each in late)
        ]
        if not self._late or sum(map(weight_of_message, window.ready)) > _LATE * self.limits.memory:
            self._late = []
            return False
        if window.open_slot is None:
            window.slots.promote(min(slot.start for slot in self._late))
        self.refill()
        return True

    # Between nodes

    @property
    def can_hand_off(self) -> bool:
        return super().can_hand_off and not self._groups.flying
