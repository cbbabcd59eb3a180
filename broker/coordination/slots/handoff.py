"""What this node's queues give to others: out of memory, into the store, free for whoever has demand (design §3).

Knows queues, the journal and the slot store; knows nothing of demand.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from broker.backoff import Backoff
from broker.coordination.slots.owned import OwnedSlots
from broker.coordination.slots.split import Cut, close, split
from broker.message import TRANSIENT, Message
from broker.ports.cluster import SlotStore
from broker.ports.cluster_rows import Incarnation, SlotRow, row_of
from broker.ports.slot import Slot
from broker.ports.store import Journal
from broker.queue.queue import Queue
from broker.store.retrying import Retry

_GIVEN_BEFORE_LOOK: Final = 1000


@dataclass(frozen=True, slots=True)
class Portion:
    """About so many messages, from the newest end or from the oldest.

    Who goes on consuming gives from the newest end: so everybody gets messages of a lane in ascending order.
    """

    messages: int
    newest: bool = False


class Handoff:
    """Turns messages of this node's queues into slots that nobody owns."""

    def __init__(
        self,
        store: SlotStore,
        incarnation: Incarnation,
        lane: int,
        *,
        owned: OwnedSlots,
        journal: Journal,
        mark_redelivered: Callable[[Sequence[Message]], Awaitable[None]],
        held_ids: Callable[[Queue], list[int]],
        window_size: int,
    ) -> None:
        """`held_ids` are the ids of a queue's messages that clients have and have not settled, ascending."""
        self._store = store
        self._incarnation = incarnation
        self._lane = lane
        self._owned = owned
        self._journal = journal
        self._mark_redelivered = mark_redelivered
        self._held_ids = held_ids
        self._window_size = window_size
        self._retry = Retry("messages for other nodes wait for the store", Backoff(0.1, 1.0))
        self._given: dict[int, list[int]] = {}
        """By queue id, where slots of this lane begin that may be others' now, or others' slots may lie before."""

    def begin(self, backlog: Sequence[Slot]) -> None:
        """These lie in the store from before this incarnation: between two of them, and after each, may be slots of
        others.
        """
        for slot in backlog:
            self._given.setdefault(slot.queue_id, []).extend((slot.start, slot.end + 1))

    async def give(self, wishes: Mapping[Queue, Portion]) -> Sequence[SlotRow]:
        """Give away what is wished of each queue; return the slots it has become.

        Returns when they are in the store. What cannot be given now is left where it is.
        """
        async with self._owned.lock:
            cut = Cut()
            redelivered: list[Message] = []
            for queue, portion in wishes.items():
                if queue.can_hand_off:
                    cut.add(self._take(queue, portion, redelivered))
            if not cut:
                return ()
            if redelivered:
                await self._journal.flushed()
                await self._mark_redelivered(redelivered)
            if cut.removed:
                await self._journal.flushed()
                return await self._commit(cut)
            await self._journal.give(cut.given)
            self._owned.on_cut(cut)
            return [row_of(slot) for slot in cut.given]

    async def _commit(self, cut: Cut) -> Sequence[SlotRow]:
        rows = await self._retry.until_done(
            lambda: self._store.cut(cut.removed, cut.kept, cut.given, self._incarnation),
        )
        self._owned.on_cut(cut)
        return rows

    def _take(self, queue: Queue, portion: Portion, redelivered: list[Message]) -> Cut:
        """Take messages out of memory, and say which slots they become."""
        last_taken = queue.last_taken
        messages, slots = (queue.take_newest if portion.newest else queue.take_oldest)(portion.messages)
        messages.sort(key=_message_id)
        # What is being written now may be written without the mark: it is stored when the journal is flushed.
        redelivered += [message for message in messages if message.redelivered and message.state != TRANSIENT]
        find = self._owned.lookup(queue.queue_id)
        own: list[Message] = []
        by_row: dict[int, tuple[Slot, list[int]]] = {}
        for message in messages:
            row = find(message.id)
            if row is None:
                own.append(message)
            else:
                by_row.setdefault(row.row, (row, []))[1].append(message.id)
        rests = {slot.row: slot for slot in slots if slot.row}
        for start, slot in rests.items():
            row = find(slot.start)
            if row is not None:
                by_row.setdefault(start, (row, []))
        before = self._given.get(queue.queue_id, ())
        needs_held = by_row or (own and own[0].id <= last_taken) or len(before) > _GIVEN_BEFORE_LOOK
        held = self._held_ids(queue) if needs_held else None
        windows = [slot for slot in slots if not slot.row]
        cut = Cut(given=self._close(queue, own, windows, held))
        here = [*(held or ()), *sorted(message.id for message in queue.ready)] if by_row else []
        for start, (row, given) in by_row.items():
            cut.add(_split(queue, row, given, [each for each in here if find(each) is row], rests.get(start)))
        return cut

    def _close(self, queue: Queue, messages: list[Message], windows: list[Slot], held: list[int] | None) -> list[Slot]:
        """Make slots of the node's own lane: of messages in memory, and of what was paged out."""
        for message in messages:
            if message.state == TRANSIENT:
                self._journal.spill(message)
        for slot in windows:
            slot.row = slot.start
        before = self._given.get(queue.queue_id, [])
        barriers = sorted([*before, *(held or ()), *(slot.start for slot in windows)])
        kind = Slot(queue.queue_id, self._lane, 0, 0, 0, transient=queue.queue_id in self._owned.spilled)
        slots = [*windows, *close(kind, messages, barriers, self._window_size)]
        if slots:
            oldest = 0 if held is None else queue.oldest_id(held)
            given = [
                start for start in (*before, *(slot.row for slot in slots)) if oldest is not None and start > oldest
            ]
            self._given[queue.queue_id] = given
            if not given:
                del self._given[queue.queue_id]
        return slots


def _split(queue: Queue, row: Slot, given: list[int], kept: list[int], rest: Slot | None) -> Cut:
    open_slot = queue.open_slot if queue.open_slot is not None and queue.open_slot.row == row.row else None
    cut = split(row, given, sorted(kept), rest or open_slot, gives_rest=rest is not None)
    if open_slot is not None:  # what is being read has another beginning in the store now
        open_slot.row = cut.kept[-1].row
    return cut


def _message_id(message: Message) -> int:
    return message.id
