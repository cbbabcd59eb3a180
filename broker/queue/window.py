"""Which ready messages of a queue are in memory on this node, and which are in slots that only the store has.

Messages are in the order of their ids. `ready` has the oldest ones; slots follow with what did not fit in memory;
`tail` collects what is published while there are slots. Without slots `tail` is `ready`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import islice

from broker.message import TRANSIENT, Message, lane_of
from broker.ports.slot import Slot
from broker.ports.store import Journal
from broker.queue.ready_messages import BEYOND, ReadyMessages, id_of_message, size_of_message, weight_of_message
from broker.queue.settings import QueueLimits
from broker.queue.slot_list import SlotList


class Window(ReadyMessages):
    """The ready messages of one queue, in memory and in slots."""

    __slots__ = (
        "_journal",
        "_lane",
        "_limits",
        "_queue_id",
        "due_after",
        "has_foreign",
        "held_from",
        "is_reading",
        "may_be_due",
        "open_slot",
        "open_transactions",
        "paged_due",
        "slots",
    )

    def __init__(
        self, queue_id: int, lane: int, limits: QueueLimits, journal: Journal, *, counts_octets: bool = False
    ) -> None:
        """`counts_octets` is that of `ReadyMessages`."""
        super().__init__(counts_octets=counts_octets)
        self._queue_id = queue_id
        self._lane = lane
        self._limits = limits
        self._journal = journal
        self.paged_due: int | None = None
        """A time, in milliseconds since 1970, before which no message in slots expires by itself; None for never."""
        self.due_after = (0, 0)
        """Time and id of the last message that expired in slots: all that is due up to there has been seen to."""
        self.slots = SlotList()
        self.open_slot: Slot | None = None
        """The slot from which `ready` is being filled."""
        self.may_be_due = False
        """May messages from other nodes expire by a time of their own?"""
        self.has_foreign = False
        """Have slots come from other nodes, so that `ready`, slots and `tail` may overlap?"""
        self.is_reading = False
        """Is a read of a slot under way?"""
        self.open_transactions = 0
        """Open transactions that have given ids to messages for this queue: no slot may cover these ids."""

        self.held_from = BEYOND
        """The first message of this node that waits outside for the store to decide about its key: no slot may reach
        over it."""

    @property
    def reaches_over_held(self) -> bool:
        """Is something here that is younger than a message that waits outside?"""
        newest = self.tail or self.ready
        return bool(newest) and newest[-1].id > self.held_from

    @property
    def is_paged(self) -> bool:
        """Are there slots, or messages in `tail` that have their place behind slots?"""
        return self.tail is not self.ready

    @property
    def has_slots(self) -> bool:
        return self.open_slot is not None or bool(self.slots)

    @property
    def slot_count(self) -> int:
        return len(self.slots) + (self.open_slot is not None)

    @property
    def ready_count(self) -> int:
        """Messages in memory and in slots together."""
        count = len(self.ready) + len(self.late)
        if self.expiring is not None:
            count -= self.expiring.dead
        if self.tail is self.ready:
            return count
        opened = self.open_slot.count if self.open_slot else 0
        return count + opened + self.slots.count + len(self.tail) + len(self.late_tail)

    def oldest_in_slots(self) -> int:
        """Return an id that no message in the next slot, or in `tail` behind slots, is older than; beyond all ids when
        there is none.
        """
        if self.tail is self.ready:
            return BEYOND
        slot = self.open_slot or self.slots.oldest
        if slot is not None:
            return slot.start
        return self.tail[0].id if self.tail else BEYOND

    def clear(self) -> tuple[list[Message], list[Slot]]:
        """Remove everything; return the messages in memory, and the slots."""
        self.changes += 1
        self.put_in_order()
        messages = list(self.ready)
        if self.tail is not self.ready:
            messages += self.tail
        self.ready = deque()
        self.tail = self.ready
        self.has_foreign = False
        self.expiring = self.paged_due = None
        self.bytes = self.ready_octets = 0
        slots = self.slots.clear()
        if self.open_slot is not None:
            slots.insert(0, self.open_slot)
            self.open_slot = None
        return messages, slots

    # From memory to slots

    def page_out(self) -> None:
        """Move the messages beyond the limit of memory into slots."""
        limits = self._limits
        tail = self.tail
        if self.open_transactions or not tail or tail[-1].id > self.held_from:
            return
        if tail is not self.ready:
            if len(tail) >= limits.window_size or self.bytes > limits.read_ahead_bytes:
                self._close_tail()
            return
        if self.bytes > (limits.transient_memory if tail[-1].state == TRANSIENT else limits.memory):
            # A slot covers every row in its range. A message that a consumer holds or has requeued must not be in it,
            # because the store knows of neither.
            floor = max(self.last_taken, self.page_floor)
            if tail[-1].id <= floor:
                return
            self.put_in_order()
            self.ready = deque(tail.popleft() for _ in range(max(1, len(tail) // 4)))
            while tail and tail[0].id <= floor:
                self.ready.append(tail.popleft())
            self._close_tail()
            self._begin_tail(deque())

    def _begin_tail(self, tail: deque[Message]) -> None:
        """There are slots from now on, and `tail` follows them."""
        self.changes += 1
        self.tail = tail
        self.bytes = sum(map(weight_of_message, tail))
        self.ready_end = max(map(id_of_message, self.ready), default=0)

    def _close_tail(self) -> None:
        """Turn `tail` into slots and drop it from memory: the store has its messages, or gets them now."""
        self.put_in_order()
        self.bytes = 0
        size = self._limits.window_size
        messages = self.tail
        while messages:
            part = [messages.popleft() for _ in range(min(size, len(messages)))]
            if self.expiring:
                self._page_due(part)
            transient = False
            for message in part:
                if message.state == TRANSIENT:
                    transient = True
                    self._journal.spill(message)
            slot = Slot(self._queue_id, self._lane, part[0].id, part[-1].id, len(part), transient=transient)
            slot.octets = sum(map(size_of_message, part))
            self.slots.append(slot)

    def _page_due(self, messages: Sequence[Message]) -> None:
        """Messages leave memory for slots: remember when the first of them expires by a time of its own."""
        assert self.expiring is not None
        self.expiring.remove_all(messages)
        for message in messages:
            if message.due:
                self.paged_due = message.due if self.paged_due is None else min(self.paged_due, message.due)
                self.due_after = min(self.due_after, (message.due, message.id - 1))

    def take_from_slots(self, messages: Sequence[Message]) -> list[Message]:
        """Return those of stored messages that lie in slots, and count them there no more."""
        find = self.find_slot()
        taken = []
        for message in messages:
            slot = find(message.id)
            if slot is None:
                continue
            taken.append(message)
            if slot.count:
                slot.count -= 1
                self.slots.count -= slot is not self.open_slot
            self._uncount_in(slot, message.size)
        return taken

    def spent_slots(self, limit: int) -> list[Slot]:
        """Return slots, not the open one, of which nothing is left as far as is counted here, `limit` at most."""
        return list(islice((slot for slot in self.slots if not slot.count), limit))

    def drop_spent(self, slot: Slot) -> bool:
        """A slot is empty, if it is still here: there is nothing to read of it. Return whether it was."""
        if not any(each is slot for each in self.slots):
            return False
        self.changes += 1
        self.slots.remove(slot)
        return True

    def find_slot(self) -> Callable[[int], Slot | None]:
        """Return a function that finds the slot of a message id, as the slots are now."""
        slots = [slot for slot in (self.open_slot, *self.slots) if slot is not None]
        places = sorted(((slot.lane, slot.start, slot.end), number) for number, slot in enumerate(slots))
        starts = [place[:2] for place, _ in places]

        def find(message_id: int) -> Slot | None:
            lane = lane_of(message_id)
            index = bisect_right(starts, (lane, message_id)) - 1
            if index < 0 or places[index][0][0] != lane or message_id > places[index][0][2]:
                return None
            found: Slot = slots[places[index][1]]
            return found

        return find

    def withdraw(self, messages: Sequence[Message]) -> list[Message]:
        """Remove and return those of these messages that are in memory, as they are there, or in slots. Takes a look at
        every message in memory.
        """
        taken = self.withdraw_from_memory({message.id for message in messages})
        known = {message.id for message in taken}
        in_slots = self.take_from_slots([message for message in messages if message.id not in known])
        self.forget(in_slots)
        return taken + in_slots

    def forget(self, messages: Iterable[Message]) -> None:
        """These messages, which were in slots, are in none any more: the journal need not keep transient ones."""
        for message in messages:
            if message.state == TRANSIENT:
                self._journal.forget(message)

    def _uncount_in(self, slot: Slot, octets: int) -> None:
        """So many octets are in a slot no more. Of a slot that was stored before this node started they had not been
        counted.
        """
        counted = min(slot.octets, octets)
        slot.octets -= counted
        if self.counts_octets:
            self.ready_octets -= counted

    def _count_slots(self, sign: int, *slots: Slot) -> None:
        """Slots have come, with the sign -1 have gone: count the octets of the bodies in them."""
        if self.counts_octets:
            self.ready_octets += sign * sum(slot.octets for slot in slots)

    def unmeasured(self) -> list[Slot]:
        """Return the slots of which nobody has told how many octets the bodies in them have, if these are counted."""
        return [slot for slot in self.slots if not slot.octets] if self.counts_octets else []

    def on_measured(self, slot: Slot, start: int, octets: int) -> None:
        """The bodies in a slot, from the message `start` on, have so many octets."""
        if slot.start == start and not slot.octets and any(each is slot for each in self.slots):
            slot.octets = octets
            self.ready_octets += octets

    def begin_counting(self) -> None:
        """Keep `ready_octets` from now on."""
        if self.counts_octets:
            return
        self.put_in_order()
        self.counts_octets = self.is_watched = True
        self.ready_octets = 0
        self.count_octets(1, self.ready)
        if self.tail is not self.ready:
            self.count_octets(1, self.tail)
        self._count_slots(1, *self.slots, *filter(None, (self.open_slot,)))

    # From slots to memory

    def open_next_slot(self) -> Slot | None:
        """Return the slot to read from: the open one, or else the oldest; None when there is none."""
        if self.open_slot is None:
            self.open_slot = self.slots.take_oldest()
        return self.open_slot

    def on_read(self, slot: Slot, messages: Sequence[Message], fresh: Sequence[Message] | None = None) -> bool:
        """`messages` of the open slot were read, and are in memory now, or only the `fresh` ones of them: the others
        are not counted in it. Return whether nothing of it is left to read.
        """
        fresh = messages if fresh is None else fresh
        slot.count = max(slot.count - len(fresh), 0)
        self._uncount_in(slot, sum(map(size_of_message, fresh)))
        self.count_octets(1, fresh)  # in memory now
        if not messages or messages[-1].id >= slot.end:
            self.open_slot = None
            return True
        slot.start = messages[-1].id + 1
        return False

    def offer(self, messages: Sequence[Message]) -> None:
        """Add messages that were read from a slot behind those in `ready`."""
        self.changes += 1
        self.note_due(messages)
        if not self.ready:
            self.is_unordered = False
        elif messages and messages[0].id < max(self.ready[-1].id, self.ready_end):
            self.is_unordered = True
        self.ready.extend(messages)
        self.ready_end = max(self.ready_end, *map(id_of_message, messages), 0)

    def join_tail(self) -> None:
        """No slot is left: append `tail` to `ready`."""
        self.changes += 1
        self.put_in_order()
        self.is_unordered |= self.has_foreign
        self.has_foreign = False
        tail, self.tail = self.tail, self.ready
        if self.ready:  # read from a slot or put back: not to be paged out again
            self.page_floor = max(self.page_floor, self.ready_end)
            self.bytes += sum(map(weight_of_message, self.ready))
        self.ready.extend(tail)

    def recover(self, slot: Slot) -> None:
        """Add a slot of messages that were stored before this node started."""
        self._count_slots(1, slot)
        self.slots.append(slot)
        if self.tail is self.ready:
            self._begin_tail(deque())

    # Between nodes

    def take_oldest_ready(self) -> Message | None:
        if self.is_unordered:
            self.sort()
        if self.has_foreign:
            self.put_in_order()
            first, in_slots = self.oldest_in_memory(), self._oldest_slot_start()
            if self.tail and self.tail[0].id < min(first, in_slots):
                return self._take(self.tail, 1)[0]
            if in_slots < first:
                return None
        return super().take_oldest_ready()

    def _oldest_slot_start(self) -> int:
        """Return where the slot with the oldest messages starts; beyond all ids when there is no slot."""
        start = min([slot.start for slot in self.slots], default=BEYOND)
        return start if self.open_slot is None else min(start, self.open_slot.start)

    def open_oldest_first(self) -> None:
        """Let the slot that starts first be the next one that is read."""
        if self.has_foreign and self.open_slot is None:
            self.slots.promote(self._oldest_slot_start())

    def take_over(self, slot: Slot) -> bool:
        """Add a slot from another node; return whether newer messages of its lane will be delivered before it."""
        self.changes += 1
        self._count_slots(1, slot)
        self.put_in_order()
        ready = self.ready
        if self.tail is ready:
            if ready and ready[0].id > max(slot.end, self.last_taken, self.page_floor):
                self.ready = deque()  # all of it is newer than the slot and stays in `tail`
                self._begin_tail(ready)
            else:
                self._begin_tail(deque())
        self.slots.insert(slot)
        self.has_foreign = True
        if self.expiring is not None or self.paged_due is not None or self.may_be_due:
            self.paged_due, self.due_after = 0, (0, 0)  # nobody knows what is in it
        opened = self.open_slot
        if opened is not None and opened.lane == slot.lane and opened.end > slot.start:
            return True
        return any(message.id > slot.start and lane_of(message.id) == slot.lane for message in self.ready)

    def take_oldest(self, count: int) -> tuple[list[Message], list[Slot]]:
        """Remove and return about `count` of the oldest messages, for another node."""
        self.changes += 1
        self.put_in_order()
        messages, slots = self._take(self.ready, count), []
        count -= len(messages)
        while count > 0 and (slot := self._take_slot()) is not None:
            slots.append(slot)
            count -= slot.count
            self._count_slots(-1, slot)
        if count > 0 and self.tail is not self.ready:
            messages += self._take(self.tail, count)
        return messages, slots

    def take_newest(self, count: int) -> tuple[list[Message], list[Slot]]:
        """Remove and return about `count` of the newest messages, for another node."""
        self.changes += 1
        self.put_in_order()
        messages, slots = [], []
        if self.tail is not self.ready:
            messages = self._take(self.tail, count, from_end=True)
            count -= len(messages)
            if messages and self.tail:  # a later slot must not span the ids taken out here
                self._close_tail()
            while count > 0 and (slot := self.slots.take_newest()) is not None:
                slots.append(slot)
                count -= slot.count
            if count > 0 and self.open_slot is not None:
                slots.append(self.open_slot)
                count -= self.open_slot.count
                self.open_slot = None
            self._count_slots(-1, *slots)
        messages += self._take(self.ready, max(count, 0), from_end=True)
        return messages, slots

    def _take(self, part: deque[Message], count: int, *, from_end: bool = False) -> list[Message]:
        pop = part.pop if from_end else part.popleft
        taken = [pop() for _ in range(min(count, len(part)))]
        if taken:
            if self.expiring:
                self.expiring.remove_all(taken)
            self.count_octets(-1, taken)
            self.page_floor = max(self.page_floor, taken[0].id, taken[-1].id)
            if part is self.tail:
                self.bytes = max(self.bytes - sum(map(weight_of_message, taken)), 0)
        return taken

    def _take_slot(self) -> Slot | None:
        if self.open_slot is not None:
            slot, self.open_slot = self.open_slot, None
            return slot
        return self.slots.take_oldest()
