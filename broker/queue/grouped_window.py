"""Which ready messages of a queue with message groups are in memory, and which in slots (ADR 83).

Consumers get messages of small groups that are far behind in the queue. So, unlike in other queues, messages that lie
in the range of a slot may be in memory, or with clients: who reads the slot, or deletes what is in it, leaves them out.
While there are slots, all that is published belongs to them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from broker.message import STORED, TRANSIENT, WRITING, Message, lane_of
from broker.ports.slot import Slot
from broker.queue.ready_messages import size_of_message
from broker.queue.window import Window


class GroupedWindow(Window):
    """The ready messages of one queue with groups."""

    __slots__ = ()

    def page_out(self) -> None:
        """Move the messages beyond the limit of memory into slots, whoever holds others of their range."""
        if not self.may_page:
            return
        if self.tail is not self.ready:
            if len(self.tail) >= self._limits.window_size or self.bytes > self._limits.read_ahead_bytes:
                self.close_tail()
            return
        if self.bytes <= self._limits.memory:
            return
        self.sort()  # what was read ahead is behind what is older
        kept, tail, most = deque[Message](), deque[Message](), max(1, len(self.ready) // 4)
        for number, message in enumerate(self.ready):
            # A slot of this node's lane has no others: those of other lanes were read from slots of theirs, and so may
            # those of this lane be that are not newer than what was read or given away last.
            stays = number < most or lane_of(message.id) != self._lane or message.id <= self.page_floor
            (kept if stays else tail).append(message)
        if not tail:
            self.bytes = 0  # what was read ahead is bounded by itself
            return
        self.ready = kept
        self._begin_tail(tail)
        self.close_tail()

    @property
    def is_oldest_slot_empty(self) -> bool:
        """Is nothing of the slot left that would be read next?"""
        slot = self.open_slot or self.slots.oldest
        return slot is not None and slot.count <= 0

    @property
    def may_page(self) -> bool:
        """May a slot be made of the newest messages?"""
        return not self.open_transactions and bool(self.tail) and self.tail[-1].id <= self.held_from

    def close_tail(self) -> None:
        """Turn what was published behind slots into a part of them."""
        self._close_tail()

    def _close_tail(self) -> None:
        self.put_in_order()
        messages, self.bytes = list(self.tail), 0
        if not messages:
            return
        if self.expiring:
            self._page_due(messages)
        self._note_returned(messages)
        transient = [message for message in messages if message.state == TRANSIENT]
        for message in transient:
            self._journal.spill(message)
        slot = Slot(
            self._queue_id, self._lane, messages[0].id, messages[-1].id, len(messages), transient=bool(transient)
        )
        slot.octets = sum(map(size_of_message, messages))
        self.slots.extend(slot)
        self.tail.clear()

    def _note_returned(self, messages: Iterable[Message]) -> None:
        """These messages are in slots now: of those that come back from there only the row tells that it is so."""
        for message in messages:
            if message.redelivered and message.state in (WRITING, STORED):
                self._journal.recount(message)

    def take_ahead(self, messages: Sequence[Message]) -> list[Message]:
        """Remove those of stored messages from slots that lie in them, add them to `ready`, and return them."""
        find = self.find_slot()
        for message in messages:
            slot = find(message.id)
            if slot is not None and not slot.is_exact:
                message.redelivered = slot.deliveries(message.redelivered)
        taken = self.take_from_slots(messages)
        self.count_octets(1, taken)
        self.offer(taken)
        return taken

    def take_oldest(self, count: int) -> tuple[list[Message], list[Slot]]:
        self.return_to_slots()
        return super().take_oldest(count)

    def take_newest(self, count: int) -> tuple[list[Message], list[Slot]]:
        self.return_to_slots()
        return super().take_newest(count)

    def return_to_slots(self) -> None:
        """Let every message in memory that lies in the range of a slot be in that slot again: they leave this node."""
        find = self.find_slot()
        self.sort()
        kept: list[Message] = []
        for message in self.ready:
            slot = find(message.id)
            if slot is None:
                kept.append(message)
                continue
            slot.count += 1
            slot.octets += message.size
            self.slots.count += slot is not self.open_slot
            if self.expiring:
                self._page_due((message,))
            if message.state == TRANSIENT:
                slot.transient = True
                self._journal.spill(message)
        if len(kept) < len(self.ready):
            here = {message.id for message in kept}
            self._note_returned([message for message in self.ready if message.id not in here])
            self.changes += 1
            self.ready.clear()
            self.ready.extend(kept)


def around(slots: Iterable[Slot], ids: Collection[int]) -> list[Slot]:
    """Return parts of slots that cover what these cover, but for the messages with these ids."""
    parts: list[Slot] = []
    ordered = sorted(ids)
    for slot in slots:
        start = slot.start
        for each in ordered:
            if start <= each <= slot.end:
                if start < each:
                    parts.append(replace(slot, start=start, end=each - 1))
                start = each + 1
        if start <= slot.end:
            parts.append(replace(slot, start=start))
    return parts
