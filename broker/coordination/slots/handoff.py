"""How messages of this node's queues leave it: out of memory, into free slots of the store (ADR 19).

Pure: does no I/O and reads no clock. A plan takes the messages out of memory at once; `runner` carries out its steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from broker.coordination.slots.owned import OwnedSlots
from broker.coordination.slots.split import Cut, close, split
from broker.message import TRANSIENT, Message
from broker.ports.slot import Slot
from broker.queue.queue import Queue

_STARTS_BEFORE_LOOK: Final = 1000


@dataclass(frozen=True, slots=True)
class Portion:
    """About so many messages, from the newest end or from the oldest.

    A node that goes on consuming gives from the newest end, so that each node gets messages of a lane in ascending
    order.
    """

    messages: int
    newest: bool = False


@dataclass(frozen=True, slots=True)
class FindStart:
    """Find the first message of `slot`, which `queue` has read in part up to `start`; answer with `on_found`."""

    queue: Queue
    slot: Slot
    start: int


@dataclass(frozen=True, slots=True)
class Flush:
    """Wait until the journal has written all that it has taken."""


@dataclass(frozen=True, slots=True)
class MarkRedelivered:
    """Record that these messages, which are stored, were delivered before."""

    messages: Sequence[Message]


@dataclass(frozen=True, slots=True)
class CutSlots:
    """Replace slots of this node in the store, however long that takes."""

    cut: Cut


@dataclass(frozen=True, slots=True)
class WriteSlots:
    """Write new free slots of this node's lane with the journal's next batch."""

    slots: Sequence[Slot]


HandoffStep: TypeAlias = Flush | MarkRedelivered | CutSlots | WriteSlots


@dataclass(frozen=True, slots=True)
class HandoffPlan:
    """The messages that were taken out of memory: `spilled` go to the journal at once, then come the steps in order."""

    cut: Cut
    spilled: Sequence[Message]
    steps: Sequence[HandoffStep]


class Handoff:
    """Turns messages of this node's queues into slots that nobody owns.

    The edge calls `unknown_starts`, `plan` and `on_done` under the lock of `OwnedSlots`. It finds the starts before
    `plan`, and carries out the steps after it.
    """

    def __init__(
        self, lane: int, *, owned: OwnedSlots, held_ids: Callable[[Queue], list[int]], window_size: int
    ) -> None:
        """`lane` is this node's own. `held_ids` are the ids of a queue's messages that clients have and have not
        settled, ascending.
        """
        self._lane = lane
        self._owned = owned
        self._held_ids = held_ids
        self._window_size = window_size
        self._found: dict[int, int] = {}  # by queue id, where the unread rest of a slot begins
        self._starts: dict[int, list[int]] = {}
        """By queue id, the ids of this lane where slots begin that may be others' now, or before which others' slots
        may lie."""

    def begin(self, backlog: Iterable[Slot]) -> None:
        """Note what lies in the store from before this incarnation: others' slots may lie between two of these, and
        after each.
        """
        for slot in backlog:
            self._starts.setdefault(slot.queue_id, []).extend((slot.start, slot.end + 1))

    def unknown_starts(self, wishes: Iterable[Queue]) -> list[FindStart]:
        """Return what is to be found before messages of these queues can be handed off.

        Where the next message of a slot lies that was read in part is not known here: only that it follows the last
        one that was read. The start alone names a slot in the store, so it must be the id of a message of this queue:
        the id after the last one may be another queue's.
        """
        return [
            FindStart(queue, slot, slot.start)
            for queue in wishes
            if queue.can_hand_off and (slot := queue.slots.opened) is not None and not self._is_start_known(queue)
        ]

    def on_found(self, step: FindStart, message_id: int | None) -> None:
        """The slot goes on with this message; None when no message of it is left."""
        slot = step.slot
        if step.queue.slots.opened is slot and slot.start == step.start:
            slot.start = slot.end if message_id is None else message_id
            self._found[slot.queue_id] = slot.start

    def plan(self, wishes: Mapping[Queue, Portion]) -> HandoffPlan | None:
        """Take what is wished of each queue out of memory; None when nothing can be taken now."""
        cut = Cut()
        spilled: list[Message] = []
        redelivered: list[Message] = []
        for queue, portion in wishes.items():
            if queue.can_hand_off and self._is_start_known(queue):
                cut.add(self._take(queue, portion, spilled, redelivered))
        return HandoffPlan(cut, spilled, self._steps(cut, redelivered)) if cut else None

    def on_done(self, plan: HandoffPlan, now: float) -> None:
        """All steps of the plan are done."""
        self._owned.on_cut(plan.cut, now)

    def _is_start_known(self, queue: Queue) -> bool:
        slot = queue.slots.opened
        return slot is None or self._found.get(slot.queue_id) == slot.start

    def _steps(self, cut: Cut, redelivered: list[Message]) -> list[HandoffStep]:
        steps: list[HandoffStep] = []
        if redelivered:
            # What is being written now may be written without the mark: it is stored when the journal is flushed.
            steps += Flush(), MarkRedelivered(redelivered)
        if cut.removed:
            steps += Flush(), CutSlots(cut)
        else:
            steps.append(WriteSlots(cut.given))
        return steps

    def _take(self, queue: Queue, portion: Portion, spilled: list[Message], redelivered: list[Message]) -> Cut:
        """Take messages out of memory; return which slots they become."""
        last_taken = queue.slots.last_taken
        messages, slots = (queue.slots.take_newest if portion.newest else queue.slots.take_oldest)(portion.messages)
        messages.sort(key=_message_id)
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
        is_many = len(self._starts.get(queue.queue_id, ())) > _STARTS_BEFORE_LOOK
        needs_held = by_row or (own and own[0].id <= last_taken) or is_many
        held = self._held(queue) if needs_held else None
        spilled += [message for message in own if message.state == TRANSIENT]
        windows = [slot for slot in slots if not slot.row]
        cut = Cut(given=self._close(queue, own, windows, held))
        here = [*(held or ()), *sorted(message.id for message in queue.ready)] if by_row else []
        for start, (row, given) in by_row.items():
            cut.add(_split(queue, row, given, [each for each in here if find(each) is row], rests.get(start)))
        return cut

    def _held(self, queue: Queue) -> list[int]:
        return self._held_ids(queue)

    def _close(self, queue: Queue, messages: list[Message], windows: list[Slot], held: list[int] | None) -> list[Slot]:
        """Make slots of the node's own lane: of messages in memory, and of what was paged out."""
        for slot in windows:
            slot.row = slot.start
        kind = Slot(queue.queue_id, self._lane, 0, 0, 0, transient=queue.queue_id in self._owned.spilled)
        slots = [*windows, *close(kind, messages, self._barriers(queue, windows, held or ()), self._window_size)]
        if slots:
            self._note_starts(queue, slots, 0 if held is None else queue.slots.oldest_id(held))
        return slots

    def _barriers(self, queue: Queue, windows: Sequence[Slot], held: Sequence[int]) -> list[int]:
        """Return the ids, ascending, over which no slot of this lane may reach."""
        return sorted([*self._starts.get(queue.queue_id, ()), *held, *(slot.start for slot in windows)])

    def _note_starts(self, queue: Queue, slots: Sequence[Slot], oldest: int | None) -> None:
        """Remember where slots begin that messages of this node may have to go around."""
        before = self._starts.pop(queue.queue_id, ())
        starts = [start for start in (*before, *(slot.row for slot in slots)) if oldest is not None and start > oldest]
        if starts:
            self._starts[queue.queue_id] = starts


def _split(queue: Queue, row: Slot, given: list[int], kept: list[int], rest: Slot | None) -> Cut:
    open_slot = queue.slots.opened if queue.slots.opened is not None and queue.slots.opened.row == row.row else None
    cut = split(row, given, sorted(kept), rest or open_slot, gives_rest=rest is not None)
    if open_slot is not None:  # what is being read has another beginning in the store now
        open_slot.row = cut.kept[-1].row
    return cut


def _message_id(message: Message) -> int:
    return message.id
