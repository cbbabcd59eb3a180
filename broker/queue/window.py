"""Which ready messages of a queue are in memory on this node, and which are in slots that only the store has.

Messages are in the order of their ids. `ready` has the oldest ones; slots follow with what did not fit in memory;
`tail` collects what is published while there are slots. Without slots `tail` is `ready`.

A message that comes back, or late from its transaction, has its place among others. It costs no look at them: it waits
in `late`, from which the next dispatch takes it in its turn, or in `late_tail`, until the order of `tail` matters.

A message with an expiration of its own is in `expiring`, too. When it expires in the middle, it stays in its place as a
dead one, which `put_in_order` removes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from heapq import heapify, heappop, heappush
from operator import attrgetter
from typing import Final

from broker.message import TRANSIENT, Message, lane_of
from broker.ports.slot import Slot
from broker.ports.store import Journal
from broker.queue.expiring import Expiring
from broker.queue.settings import QueueLimits
from broker.queue.slot_list import SlotList

_weight: Final = attrgetter("weight")
_size: Final = attrgetter("size")
_BEYOND: Final = 1 << 64
_RUN: Final = 64
"""Messages that are brought into order at once for consumers, who may take fewer."""


class Window:
    """The ready messages of one queue, in memory and in slots."""

    __slots__ = (
        "_journal",
        "_lane",
        "_limits",
        "_queue_id",
        "bytes",
        "counts_octets",
        "expiring",
        "is_reading",
        "is_unordered",
        "last_taken",
        "late",
        "late_tail",
        "open_slot",
        "open_transactions",
        "page_floor",
        "paged_due",
        "ready",
        "ready_end",
        "ready_octets",
        "slots",
        "tail",
    )

    def __init__(
        self, queue_id: int, lane: int, limits: QueueLimits, journal: Journal, *, counts_octets: bool = False
    ) -> None:
        """With `counts_octets`, `ready_octets` is kept, which not everybody needs."""
        self._queue_id = queue_id
        self._lane = lane
        self._limits = limits
        self._journal = journal
        self.counts_octets = counts_octets
        self.ready_octets = 0
        """Octets that the bodies of all ready messages have, in memory and in slots."""
        self.ready: deque[Message] = deque()
        self.tail = self.ready
        self.late: list[tuple[int, Message]] = []
        """A heap of messages with their ids whose places are between those in `ready`, which is not empty then."""
        self.late_tail: list[Message] = []
        """Messages whose places are between those in `tail`, in no order, while there are slots."""
        self.expiring: Expiring | None = None
        """The messages in memory that expire by a time of their own; None if there was none yet."""
        self.paged_due: int | None = None
        """A time, in milliseconds since 1970, before which no message in slots expires by itself; None for never."""
        self.bytes = 0
        """Octets that the messages in `tail` occupy."""
        self.slots = SlotList()
        self.open_slot: Slot | None = None
        """The slot from which `ready` is being filled."""
        self.is_reading = False
        """Is a read of a slot under way?"""
        self.last_taken = 0
        """An upper bound of the ids that were ever delivered on this node."""
        self.page_floor = 0
        """A slot made from `tail` must begin above this id: not all messages up to it are in `tail`."""
        self.open_transactions = 0
        """Open transactions that have given ids to messages for this queue: no slot may cover these ids."""
        self.is_unordered = False
        """May `ready` hold ids that are not ascending, from slots of other nodes?"""
        self.ready_end = 0
        """An upper bound of the ids that were in `ready` while there were slots: these need not be ascending there."""

    @property
    def is_paged(self) -> bool:
        """Are there slots, or messages in `tail` that have their place behind slots?"""
        return self.tail is not self.ready

    @property
    def has_slots(self) -> bool:
        return self.open_slot is not None or bool(self.slots)

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

    # In

    def append(self, message: Message) -> None:
        """Add the newest message. Hot."""
        self.tail.append(message)
        self.bytes += message.weight

    def append_counted(self, message: Message) -> None:
        """Add the newest message to a queue that counts octets."""
        self.ready_octets += message.size
        self.append(message)

    def count_octets(self, sign: int, messages: Iterable[Message]) -> None:
        """Messages have become ready, with the sign -1 have ceased to be: count the octets of their bodies."""
        if self.counts_octets:
            self.ready_octets += sign * sum(map(_size, messages))

    def note_due(self, messages: Iterable[Message]) -> None:
        """Watch those of these messages, which are ready in memory, that expire by a time of their own."""
        for message in messages:
            if message.due:
                if self.expiring is None:
                    self.expiring = Expiring()
                self.expiring.add(message)

    def insert(self, messages: Sequence[Message]) -> None:
        """Add the messages of a committed transaction, ascending by id; younger ids may be here already."""
        self.note_due(messages)
        self.count_octets(1, messages)
        if self.tail is self.ready:
            self.bytes += sum(map(_weight, messages))
            self._add_late(messages)
            return
        # Slots may have been taken over meanwhile: `tail` begins after what was in memory.
        begin = max(self.last_taken, self.page_floor, self.ready_end) + 1
        if self.tail:
            begin = min(begin, self.tail[0].id)
        older = [message for message in messages if message.id < begin]
        self._add_late(older)
        newer = messages[len(older) :]
        self.bytes += sum(map(_weight, newer))
        if self.tail and newer and newer[0].id < self.tail[-1].id:
            self.late_tail += newer
        else:
            self.tail.extend(newer)

    def put_back(self, messages: Sequence[Message]) -> None:
        """Put delivered messages back at their places (contract B24)."""
        returned = sorted(messages, key=_message_id)
        if self.expiring is not None:
            self.note_due(returned)
        if self.counts_octets:
            self.count_octets(1, returned)
        ready = self.ready
        if self.tail is ready:
            self.bytes += sum(map(_weight, returned))
        elif returned:
            self.ready_end = max(self.ready_end, returned[-1].id)
        if not ready or not returned or returned[-1].id < ready[0].id:
            ready.extendleft(reversed(returned))
        else:
            self._add_late(returned)

    def _add_late(self, messages: Sequence[Message]) -> None:
        """Add messages, ascending by id, to `ready` or `late`."""
        ready, late = self.ready, self.late
        if not ready or (messages and messages[0].id > max(ready[-1].id, self.ready_end)):
            ready.extend(messages)
        elif len(messages) > len(late) // 8:
            late += [(message.id, message) for message in messages]
            heapify(late)
        else:
            for message in messages:
                heappush(late, (message.id, message))

    def put_in_order(self) -> None:
        """Bring everything to its place, and remove dead messages. Takes a look at every message in memory, if one was
        out of place or dead.
        """
        if self.late:
            _merge(self.ready, [message for _, message in self.late])
            self.late = []
        if self.late_tail:
            _merge(self.tail, self.late_tail)
            self.late_tail = []
        if self.expiring is not None and self.expiring.dead:
            for part in (self.ready,) if self.tail is self.ready else (self.ready, self.tail):
                alive = [message for message in part if not self.expiring.is_dead(message)]
                part.clear()
                part.extend(alive)
            self.expiring.forget_dead()

    # Out

    def take_first(self) -> Message | None:
        """Remove and return the oldest message in `ready`."""
        message = self._next()
        if message is not None:
            self.last_taken = max(self.last_taken, message.id)
            if self.tail is self.ready:
                self.bytes -= _weight(message)
            if self.counts_octets:
                self.ready_octets -= message.size
        return message

    def take_oldest_ready(self) -> Message | None:
        """Remove and return the oldest message in memory, which nobody gets; None when it is not there."""
        message = self._next()
        if message is not None:
            self._let_go([message])
        return message

    def _next(self) -> Message | None:
        """Remove and return the oldest living message of `ready` and `late` together; None when there is none."""
        expiring = self.expiring
        while self.ready:
            message = self._pop()
            if not expiring or expiring.remove(message):
                return message
        return None

    def _pop(self) -> Message:
        """Remove and return the oldest message of `ready` and `late` together."""
        ready, late = self.ready, self.late
        if not late:
            return ready.popleft()
        if late[0][0] < ready[0].id:
            return heappop(late)[1]
        message = ready.popleft()
        if not ready:
            ready.append(heappop(late)[1])
        return message

    def take_run(self) -> deque[Message]:
        """Remove and return some of the oldest messages of `ready` and `late` together, in order."""
        run: deque[Message] = deque()
        while len(run) < _RUN and (message := self._next()) is not None:
            run.append(message)
        return run

    def return_run(self, run: deque[Message]) -> None:
        """Put back what is left of the messages that `take_run` returned last."""
        self.ready.extendleft(reversed(run))
        if self.expiring is not None:
            self.note_due(run)

    # What has expired

    def take_due(self, now_ms: int) -> list[Message]:
        """Return the messages in memory that have expired by a time of their own, the first one first.

        They are dead in their places. One that is due at once waits for `take_unserved`, which comes after a dispatch.
        """
        return [] if not self.expiring else self._lighter(self.expiring.take_due(now_ms))

    def take_unserved(self) -> list[Message]:
        """Return the messages that were to expire at once, and that no consumer has taken."""
        return [] if not self.expiring else self._lighter(self.expiring.take_unserved())

    def _lighter(self, dead: list[Message]) -> list[Message]:
        """Count dead messages no more, and remove them when they are the most."""
        tail, expiring = self.tail, self.expiring
        self.count_octets(-1, dead)
        for message in dead:
            if tail is self.ready or (tail and message.id >= tail[0].id):
                self.bytes -= message.weight
        if expiring is not None and dead and 2 * expiring.dead > len(self.ready) + len(self.late):
            self.put_in_order()
        return dead

    def take_older(self, first_id: int) -> list[Message]:
        """Remove and return the messages in `ready` and `late` whose ids are smaller than `first_id`."""
        taken: list[Message] = []
        if self.is_unordered:
            self.put_in_order()
            taken = [message for message in self.ready if message.id < first_id]
            if taken:
                kept = [message for message in self.ready if message.id >= first_id]
                self.ready.clear()
                self.ready.extend(kept)
                if self.expiring is not None:
                    self.expiring.remove_all(taken)
        else:
            while self.oldest_in_memory() < first_id:
                message = self._pop()
                if not self.expiring or self.expiring.remove(message):
                    taken.append(message)
        self._let_go(taken)
        return taken

    def _let_go(self, taken: Sequence[Message]) -> None:
        """These messages of `ready` are gone: no slot may cover their ids, while the store has some of them."""
        if taken:
            self.page_floor = max(self.page_floor, *map(_message_id, taken), 0)
            self.count_octets(-1, taken)
            if self.tail is self.ready:
                self.bytes -= sum(map(_weight, taken))

    def oldest_in_memory(self) -> int:
        """Return an id that no message in `ready` and `late` is older than; beyond all ids when there is none."""
        ready = self.ready
        if not ready:
            return _BEYOND
        if self.is_unordered:
            return min(map(_message_id, ready))
        return min(ready[0].id, self.late[0][0]) if self.late else ready[0].id

    def oldest_in_slots(self) -> int:
        """Return an id that no message in the next slot, or in `tail` behind slots, is older than; beyond all ids when
        there is none.
        """
        if self.tail is self.ready:
            return _BEYOND
        slot = self.open_slot or self.slots.oldest
        if slot is not None:
            return slot.start
        return self.tail[0].id if self.tail else _BEYOND

    def clear(self) -> tuple[list[Message], list[Slot]]:
        """Remove everything; return the messages in memory, and the slots."""
        self.put_in_order()
        messages = list(self.ready)
        if self.tail is not self.ready:
            messages += self.tail
        self.ready = deque()
        self.tail = self.ready
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
        if self.open_transactions or not tail:
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
        self.tail = tail
        self.bytes = sum(map(_weight, tail))
        self.ready_end = max(map(_message_id, self.ready), default=0)

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
            if self.counts_octets:
                slot.octets = sum(map(_size, part))
            self.slots.append(slot)

    def _page_due(self, messages: Sequence[Message]) -> None:
        """Messages leave memory for slots: remember when the first of them expires by a time of its own."""
        assert self.expiring is not None
        self.expiring.remove_all(messages)
        for message in messages:
            if message.due and (self.paged_due is None or message.due < self.paged_due):
                self.paged_due = message.due

    # From slots to memory

    def open_next_slot(self) -> Slot | None:
        """Return the slot to read from: the open one, or else the oldest; None when there is none."""
        if self.open_slot is None:
            self.open_slot = self.slots.take_oldest()
        return self.open_slot

    def on_read(self, slot: Slot, messages: Sequence[Message]) -> bool:
        """`messages` of the open slot are in memory now; return whether nothing of it is left to read."""
        slot.count = max(slot.count - len(messages), 0)
        if self.counts_octets:
            slot.octets = max(slot.octets - sum(map(_size, messages)), 0)
        if not messages or messages[-1].id >= slot.end:
            self.open_slot = None
            return True
        slot.start = messages[-1].id + 1
        return False

    def offer(self, messages: Sequence[Message]) -> None:
        """Add messages that were read from a slot behind those in `ready`."""
        self.note_due(messages)
        if not self.ready:
            self.is_unordered = False
        elif messages and messages[0].id < max(self.ready[-1].id, self.ready_end):
            self.is_unordered = True
        self.ready.extend(messages)
        self.ready_end = max(self.ready_end, *map(_message_id, messages), 0)

    def join_tail(self) -> None:
        """No slot is left: append `tail` to `ready`."""
        self.put_in_order()
        tail, self.tail = self.tail, self.ready
        if self.ready:  # read from a slot or put back: not to be paged out again
            self.page_floor = max(self.page_floor, self.ready_end)
            self.bytes += sum(map(_weight, self.ready))
        self.ready.extend(tail)

    def recover(self, slot: Slot) -> None:
        """Add a slot of messages that were stored before this node started."""
        self.ready_octets += slot.octets
        self.slots.append(slot)
        if self.tail is self.ready:
            self._begin_tail(deque())

    # Between nodes

    def take_over(self, slot: Slot) -> bool:
        """Add a slot from another node; return whether newer messages of its lane will be delivered before it."""
        self.ready_octets += slot.octets
        self.put_in_order()
        ready = self.ready
        if self.tail is ready:
            if ready and ready[0].id > max(slot.end, self.last_taken, self.page_floor):
                self.ready = deque()  # all of it is newer than the slot and stays in `tail`
                self._begin_tail(ready)
            else:
                self._begin_tail(deque())
        self.slots.insert(slot)
        opened = self.open_slot
        if opened is not None and opened.lane == slot.lane and opened.end > slot.start:
            return True
        return any(message.id > slot.start and lane_of(message.id) == slot.lane for message in self.ready)

    def take_oldest(self, count: int) -> tuple[list[Message], list[Slot]]:
        """Remove and return about `count` of the oldest messages, for another node."""
        self.put_in_order()
        messages, slots = self._take(self.ready, count), []
        count -= len(messages)
        while count > 0 and (slot := self._take_slot()) is not None:
            slots.append(slot)
            count -= slot.count
            self.ready_octets -= slot.octets
        if count > 0 and self.tail is not self.ready:
            messages += self._take(self.tail, count)
        return messages, slots

    def take_newest(self, count: int) -> tuple[list[Message], list[Slot]]:
        """Remove and return about `count` of the newest messages, for another node."""
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
            self.ready_octets -= sum(slot.octets for slot in slots)
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
                self.bytes = max(self.bytes - sum(map(_weight, taken)), 0)
        return taken

    def _take_slot(self) -> Slot | None:
        if self.open_slot is not None:
            slot, self.open_slot = self.open_slot, None
            return slot
        return self.slots.take_oldest()


def _message_id(message: Message) -> int:
    return message.id


def _merge(part: deque[Message], messages: Sequence[Message]) -> None:
    """Insert messages at their places in `part`."""
    merged = sorted([*part, *messages], key=_message_id)
    part.clear()
    part.extend(merged)
