"""The slots of the store that belong to this node in its present incarnation: taken over, read, finished, found again.

Every change of them in the store happens under one lock, so that a look at the store and what is known here can be
compared (design §3). Knows slots, queues and the slot store; knows no other node.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

import structlog

from broker.clock import Clock
from broker.coordination.slots.split import Cut
from broker.errors import StoreUnavailable
from broker.message import Message, MessageIdGenerator, lane_of
from broker.ports.cluster import SlotStore
from broker.ports.cluster_rows import Incarnation, slot_of
from broker.ports.slot import Slot
from broker.queue.queue import Queue

_log = structlog.get_logger(__name__)

_TICK: Final = 0.25
_FINISH_DELAY: Final = 0.25
_FINISH_DELAY_MAX: Final = 8.0
_RECONCILE_INTERVAL: Final = 2.0
_FORGET_GONE_AFTER: Final = 90.0
_STARTS_PER_CALL: Final = 1000


@dataclass(slots=True)
class _Held:
    """A slot of this node, and when to look whether all of its messages are gone."""

    slot: Slot
    is_read: bool = False
    due: float = 0.0
    delay: float = _FINISH_DELAY


class OwnedSlots:
    """What this node owns in the store's table of slots."""

    def __init__(
        self,
        store: SlotStore,
        incarnation: Incarnation,
        lane: int,
        ids: MessageIdGenerator,
        *,
        clock: Clock,
        find_queue: Callable[[int], Queue | None],
        on_adopted: Callable[[Queue], None],
    ) -> None:
        """`on_adopted` is called when a queue has got slots; the ids of this lane follow those that come in."""
        self.lock = asyncio.Lock()
        self.spilled: set[int] = set()
        """Queues of which transient messages with rows are, or were, in memory."""
        self._is_in_doubt = asyncio.Event()
        self._store = store
        self._incarnation = incarnation
        self._lane = lane
        self._ids = ids
        self._clock = clock
        self._find_queue = find_queue
        self._on_adopted = on_adopted
        self._held: dict[int, dict[int, _Held]] = {}  # by queue id and start
        self._gone: dict[int, float] = {}
        self._passed: dict[tuple[int, int], int] = {}

    # Taking over

    def adopt(self, slots: Iterable[Slot], asked_at: float) -> int:
        """Take over slots that were assigned to this node; return how many were new.

        `asked_at` is when they were asked for. Whether an answer about a slot that was given away since is old, the
        store knows: it is looked up soon.
        """
        adopted: dict[Queue, None] = {}
        count = 0
        for slot in slots:
            queue = self._find_queue(slot.queue_id)
            if queue is None or self._is_known(slot):
                continue
            if self._gone.get(slot.row, -1.0) >= asked_at:
                self._is_in_doubt.set()
                continue
            count += 1
            passed = queue.last_taken if slot.lane == self._lane else self._passed.get((slot.queue_id, slot.lane), 0)
            is_late = queue.take_over(slot)
            if is_late or slot.start <= passed:  # whoever gets it must know that it comes after newer ones
                slot.maybe_delivered = True
            self._ids.see(slot.end)
            # A copy: the queue's own begins anew with every page that is read of it.
            self._held.setdefault(slot.queue_id, {})[slot.row] = _Held(replace(slot))
            adopted[queue] = None
        for queue in adopted:
            self._on_adopted(queue)
        return count

    def _is_known(self, slot: Slot) -> bool:
        return slot.row in self._held.get(slot.queue_id, ())

    # Reading

    def on_read(self, queue: Queue, slot: Slot, messages: Sequence[Message], is_read: bool) -> None:
        """These messages of a slot are in memory now; `is_read` when they were its last."""
        if slot.transient:
            self.spilled.add(queue.queue_id)
        if messages and slot.row:
            place = (queue.queue_id, slot.lane)
            self._passed[place] = max(self._passed.get(place, 0), messages[-1].id)
        if is_read and slot.row:
            self.on_dropped([slot])

    def on_dropped(self, slots: Iterable[Slot]) -> None:
        """Nothing of these slots will be read any more."""
        for slot in slots:
            held = self._held.get(slot.queue_id, {}).get(slot.row)
            if held is not None:
                held.is_read = True
                held.due = self._clock.monotonic() + held.delay

    # Giving away

    def lookup(self, queue_id: int) -> Callable[[int], Slot | None]:
        """Return a function that finds the slot of a message id of the queue."""
        by_lane: dict[int, list[Slot]] = {}
        for held in self._held.get(queue_id, {}).values():
            by_lane.setdefault(held.slot.lane, []).append(held.slot)
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

    def on_cut(self, cut: Cut) -> None:
        """The store has done `cut`. Call it under the lock."""
        now = self._clock.monotonic()
        if cut.removed:  # each of them has become pieces of its own queue
            for queue_id in {slot.queue_id for slot in (*cut.kept, *cut.given)}:
                by_start = self._held.get(queue_id, {})
                for start in by_start.keys() & cut.removed:
                    del by_start[start]
        for start in (*cut.removed, *(slot.row for slot in cut.given)):
            self._gone[start] = now
        for slot in cut.kept:
            held = _Held(slot, is_read=True, due=now + _FINISH_DELAY)
            self._held.setdefault(slot.queue_id, {})[slot.row] = held

    # The loop

    async def run(self) -> None:
        """Finish slots that are empty, and look for slots nobody has told this node of, until cancelled."""
        reconcile_at = self._clock.monotonic() + _RECONCILE_INTERVAL
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_TICK):
                    await self._is_in_doubt.wait()
            now = self._clock.monotonic()
            try:
                if now >= reconcile_at or self._is_in_doubt.is_set():
                    self._is_in_doubt.clear()
                    reconcile_at = now + _RECONCILE_INTERVAL
                    await self.reconcile()
                await self.finish(now)
            except StoreUnavailable as error:
                _log.debug("slots are looked after later", reason=str(error))

    async def finish(self, now: float) -> None:
        """Delete the rows of those slots of which no message is left."""
        async with self.lock:
            due = [
                held
                for by_start in self._held.values()
                for held in by_start.values()
                if held.is_read and held.due <= now
            ][:_STARTS_PER_CALL]
            if not due:
                return
            finished = set(await self._store.finish([held.slot.row for held in due], self._incarnation))
            for held in due:
                slot = held.slot
                if slot.row in finished:
                    self._held[slot.queue_id].pop(slot.row, None)
                    if not self._held[slot.queue_id]:
                        del self._held[slot.queue_id]
                    self._gone[slot.row] = now
                else:
                    held.delay = min(held.delay * 2, _FINISH_DELAY_MAX)
                    held.due = now + held.delay

    async def reconcile(self) -> None:
        """Take over what the store says is this node's and nobody has told it: an answer was lost."""
        now = self._clock.monotonic()
        self._gone = {start: at for start, at in self._gone.items() if now - at < _FORGET_GONE_AFTER}
        async with self.lock:
            rows = await self._store.owned(self._incarnation)
            count = self.adopt([slot_of(row) for row in rows], self._clock.monotonic())
        if count:
            _log.debug("slots were found that no answer had told of", count=count)


def _start(slot: Slot) -> int:
    return slot.start
