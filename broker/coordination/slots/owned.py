"""The slots in the store that belong to this node in its present incarnation: adopted, read, finished, found again.

Pure: does no I/O and reads no clock. `runner` carries out what `next_action` returns. It makes one change of this
node's slots at a time, under one lock, so that what the store says can be compared with what is known here (ADR 19).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Final, TypeAlias

from broker.backoff import Backoff
from broker.coordination.slots.split import Cut
from broker.message import Message, MessageIdGenerator, lane_of
from broker.ports.cluster_rows import SlotRow, slot_of
from broker.ports.slot import Slot
from broker.queue.queue import Queue

_TICK: Final = 0.25
_FINISH_BACKOFF: Final = Backoff(0.25, 8.0)
_RECONCILE_INTERVAL: Final = 2.0
_FORGET_GONE_AFTER: Final = 90.0
_STARTS_PER_CALL: Final = 1000


@dataclass(slots=True)
class _Owned:
    """A slot of this node, and when to look whether all of its messages are gone."""

    slot: Slot
    is_read: bool = False
    due: float = 0.0
    backoff: Backoff = _FINISH_BACKOFF


@dataclass(frozen=True, slots=True)
class ReadOwned:
    """Read the slots of this incarnation; answer with `on_owned`."""


@dataclass(frozen=True, slots=True)
class FinishSlots:
    """Delete those of the slots that begin at `starts` of which no message is left; answer with `on_finished`."""

    starts: Sequence[int]
    asked_at: float


OwnedAction: TypeAlias = ReadOwned | FinishSlots


class OwnedSlots:
    """What this node owns in the store's table of slots.

    The edge carries out what `next_action` returns and reports the answer, or `on_failed`. It asks again until there is
    nothing to do, then at `next_deadline` and when `on_due` was called. All of this happens under the edge's lock, and
    so does `on_cut`.
    """

    def __init__(
        self,
        lane: int,
        ids: MessageIdGenerator,
        *,
        find_queue: Callable[[int], Queue | None],
        on_due: Callable[[], None],
    ) -> None:
        """`lane` is this node's own; the `ids` that it gives follow those of every slot that it adopts."""
        self.spilled: set[int] = set()
        """Ids of the queues of which transient messages with rows are, or were, in memory."""
        self._lane = lane
        self._ids = ids
        self._find_queue = find_queue
        self._on_due = on_due
        self._slots: dict[int, dict[int, _Owned]] = {}  # by queue id and start
        self._gone: dict[int, float] = {}  # by start, when a slot ceased to be this node's
        self._passed: dict[tuple[int, int], int] = {}  # by queue id and lane, the newest id that was read
        self._is_in_doubt = False
        self._reconcile_at = inf
        self._finish_at = inf

    # Adopting

    def adopt(self, slots: Iterable[Slot], granted_after: float) -> Mapping[Queue, int]:
        """Take over slots that were assigned to this node; return the queues that got new ones, and how many.

        They were assigned after the time `granted_after`. What is told of a slot that this node has given away since
        may be old; the store knows, and is asked soon.
        """
        adopted: dict[Queue, int] = {}
        for slot in slots:
            queue = self._find_queue(slot.queue_id)
            if queue is None or slot.row in self._slots.get(slot.queue_id, ()):
                continue
            if self._is_doubtful(slot, granted_after):
                self._is_in_doubt = True
                self._on_due()
                continue
            is_own = slot.lane == self._lane
            passed = queue.slots.last_taken if is_own else self._passed.get((slot.queue_id, slot.lane), 0)
            is_late = queue.take_over(slot)
            if is_late or slot.start <= passed:  # whoever gets it must know that it comes after newer ones
                slot.is_late = True
            self._ids.see(slot.end)
            # A copy: the queue's own begins anew with every page that is read of it.
            self._slots.setdefault(slot.queue_id, {})[slot.row] = _Owned(replace(slot))
            adopted[queue] = adopted.get(queue, 0) + 1
        return adopted

    def _is_doubtful(self, slot: Slot, granted_after: float) -> bool:
        gone_at = self._gone.get(slot.row)
        return gone_at is not None and gone_at >= granted_after

    # Reading

    def on_read(self, queue: Queue, slot: Slot, messages: Sequence[Message], is_read: bool, now: float) -> None:
        """These messages of a slot are in memory now; `is_read` when they were its last."""
        if slot.transient:
            self.spilled.add(queue.queue_id)
        if messages and slot.row:
            place = (queue.queue_id, slot.lane)
            self._passed[place] = max(self._passed.get(place, 0), messages[-1].id)
        if is_read and slot.row:
            self.on_dropped([slot], now)

    def on_dropped(self, slots: Iterable[Slot], now: float) -> None:
        """Nothing of these slots will be read any more."""
        for slot in slots:
            owned = self._slots.get(slot.queue_id, {}).get(slot.row)
            if owned is not None:
                owned.is_read = True
                owned.due = now + owned.backoff.delay

    # Handing off

    def lookup(self, queue_id: int) -> Callable[[int], Slot | None]:
        """Return a function that finds the slot of a message id of the queue."""
        by_lane: dict[int, list[Slot]] = {}
        for owned in self._slots.get(queue_id, {}).values():
            by_lane.setdefault(owned.slot.lane, []).append(owned.slot)
        starts: dict[int, list[int]] = {}
        for lane, slots in by_lane.items():
            slots.sort(key=_start)
            starts[lane] = [slot.start for slot in slots]

        def find(message_id: int) -> Slot | None:
            lane = lane_of(message_id)
            index = bisect_right(starts.get(lane, ()), message_id) - 1
            if index < 0:
                return None
            slot = by_lane[lane][index]
            return slot if message_id <= slot.end else None

        return find

    def on_cut(self, cut: Cut, now: float) -> None:
        """The store has done `cut`."""
        if cut.removed:  # each of them has become pieces of its own queue
            for queue_id in {slot.queue_id for slot in (*cut.kept, *cut.given)}:
                by_start = self._slots.get(queue_id, {})
                for start in by_start.keys() & cut.removed:
                    del by_start[start]
        for start in (*cut.removed, *(slot.row for slot in cut.given)):
            self._gone[start] = now
        for slot in cut.kept:
            owned = _Owned(slot, is_read=True, due=now + _FINISH_BACKOFF.delay)
            self._slots.setdefault(slot.queue_id, {})[slot.row] = owned

    # What is to be done from time to time

    def start(self, now: float) -> None:
        """Begin to look after the slots."""
        self._reconcile_at = now + _RECONCILE_INTERVAL
        self._finish_at = now + _TICK

    def next_deadline(self) -> float:
        """Return when `next_action` may have something to do although nothing was reported."""
        return min(self._reconcile_at, self._finish_at)

    def next_action(self, now: float) -> OwnedAction | None:
        """Return what to ask the store now, if anything."""
        if self._is_in_doubt or now >= self._reconcile_at:
            self._is_in_doubt = False
            self._reconcile_at = now + _RECONCILE_INTERVAL
            self._gone = {start: at for start, at in self._gone.items() if now - at < _FORGET_GONE_AFTER}
            return ReadOwned()
        if now >= self._finish_at:
            self._finish_at = now + _TICK
            return self.finish_due(now)
        return None

    def finish_due(self, now: float) -> FinishSlots | None:
        """Return the slots of which it is time to look whether they are empty; with infinity, all that were read."""
        due = [
            owned.slot.row
            for by_start in self._slots.values()
            for owned in by_start.values()
            if owned.is_read and owned.due <= now
        ]
        return FinishSlots(due[:_STARTS_PER_CALL], now) if due else None

    def on_owned(self, rows: Iterable[SlotRow]) -> Mapping[Queue, int]:
        """The store says that these slots are this node's: adopt those of which no answer has told."""
        # Nothing was given away while the store was read, so this answer cannot be old.
        return self.adopt([slot_of(row) for row in rows], inf)

    def on_finished(self, action: FinishSlots, finished: Collection[int]) -> None:
        """These of the slots are deleted, or nobody has them; the others are looked at ever more rarely."""
        asked = set(action.starts)
        gone = set(finished)
        for queue_id, by_start in list(self._slots.items()):
            for start in by_start.keys() & asked:
                if start in gone:
                    del by_start[start]
                    self._gone[start] = action.asked_at
                else:
                    owned = by_start[start]
                    owned.backoff = owned.backoff.longer()
                    owned.due = action.asked_at + owned.backoff.delay
            if not by_start:
                del self._slots[queue_id]

    def on_failed(self, now: float) -> None:
        """The store has not answered: try again a little later."""
        self._finish_at = now + _TICK


def _start(slot: Slot) -> int:
    return slot.start
