"""Decides which node gets a free slot, and which nodes learn of other nodes' demand (ADR 19).

Pure: no I/O, no clock. `term` carries a plan out and reports it by `end_plan` and `grant`. The cost of a call depends
on what has changed, not on how many queues there are.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice, takewhile
from operator import attrgetter
from typing import Final

from broker.message import lane_of
from broker.ports.cluster_rows import Incarnation, SlotRow
from broker.ports.peer_calls import GRANTS_PER_SUPPLY, Demand, QueueName

SLOTS_PER_ROUND: Final = 64
_QUEUES_PER_ROUND: Final = 256
_DEMANDS_PER_ANSWER: Final = 1000

_start = attrgetter("start")


@dataclass(slots=True)
class _Queue:
    """The free slots of a queue and the demand for it.

    `free` is in the order of message ids, so every lane is in its own order; `messages` counts free and planned slots.
    """

    name: QueueName
    free: list[SlotRow] = field(default_factory=list)
    messages: int = 0
    demands: dict[Incarnation, int] = field(default_factory=dict)
    priorities: dict[Incarnation, int] = field(default_factory=dict)
    """Those of the consumers that would take the messages, where they are not 0."""
    demand: int = 0


@dataclass(slots=True)
class _Session:
    """What an incarnation has been told.

    `told` is the demand of others that it knows of; the queues in `unseen` may have changed since.
    """

    queues: dict[int, None] = field(default_factory=dict)
    told: dict[int, Demand] = field(default_factory=dict)
    unseen: dict[int, None] = field(default_factory=dict)
    grants: list[tuple[QueueName, SlotRow]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a session has not been told yet; false when empty."""

    grants: Sequence[tuple[QueueName, SlotRow]] = ()
    remote_demand: Sequence[Demand] = ()

    def __bool__(self) -> bool:
        return bool(self.grants or self.remote_demand)


class Assignment:
    """Free slots, and the sessions of living nodes, as one plan after another changes them."""

    __slots__ = ("_free", "_keeper", "_matching", "_planned", "_queues", "_sessions", "is_loaded")

    def __init__(self, keeper: Callable[[int], Incarnation | None] = lambda queue_id: None) -> None:
        """`keeper` says which node keeps the length of a queue, None for a queue without one (ADR 67)."""
        self._keeper = keeper
        self.is_loaded = False
        self._free: dict[int, SlotRow] = {}
        self._planned: set[int] = set()
        self._queues: dict[int, _Queue] = {}
        self._sessions: dict[Incarnation, _Session] = {}
        # Queues that may have both a free slot and an incarnation with demand, the one that waits longest first.
        self._matching: dict[int, None] = {}

    def load(self, rows: Iterable[SlotRow], newer: Collection[int] = ()) -> None:
        """Replace the free slots by those in the store; slots that start at `newer` may be missing there and stay.

        Call it while no plan is under way.
        """
        self.is_loaded = True
        found = {row.start: row for row in rows if row.owner is None}
        for start in [start for start in self._free if start not in found and start not in newer]:
            self._remove(start)
        for row in found.values():
            self.add(row)

    def add(self, row: SlotRow) -> None:
        """Add a free slot; it replaces another one with this start."""
        if row.start in self._planned or self._free.get(row.start) == row:
            return
        self._remove(row.start)
        queue = self._queue(row.queue_id)
        self._free[row.start] = row
        insort(queue.free, row, key=_start)
        queue.messages += _weight(row)
        self._changed(row.queue_id, queue)

    def has_free(self, queue_id: int) -> bool:
        queue = self._queues.get(queue_id)
        return queue is not None and bool(queue.free)

    def free_messages(self) -> Iterator[tuple[int, int]]:
        """Return how many messages lie in free slots, by queue."""
        return ((queue_id, queue.messages) for queue_id, queue in self._queues.items() if queue.messages)

    def has_session(self, incarnation: Incarnation) -> bool:
        return incarnation in self._sessions

    def begin(self, incarnation: Incarnation, demands: Iterable[Demand]) -> None:
        """Start a session of `incarnation` with all its demand; it has been told nothing but keeps its grants."""
        grants = self._sessions[incarnation].grants if incarnation in self._sessions else []
        self.drop(incarnation)
        remote_demand = dict.fromkeys(queue_id for queue_id, queue in self._queues.items() if queue.demand)
        self._sessions[incarnation] = _Session(unseen=remote_demand, grants=grants)
        self.on_demand(incarnation, demands)

    def drop(self, incarnation: Incarnation) -> None:
        """End the session of `incarnation` and drop its demand."""
        session = self._sessions.get(incarnation)
        if session is not None:
            for queue_id in list(session.queues):
                self._set_demand(session, incarnation, queue_id, 0)
            del self._sessions[incarnation]

    def on_demand(self, incarnation: Incarnation, demands: Iterable[Demand]) -> None:
        """Set the demand of `incarnation` (0: none), from which grants that it has not been told of are subtracted."""
        session = self._sessions[incarnation]
        on_the_way: dict[int, int] = {}
        for _, row in session.grants:
            on_the_way[row.queue_id] = on_the_way.get(row.queue_id, 0) + _weight(row)
        for demand in demands:
            queue_id = demand.queue.queue_id
            queue = self._queue(queue_id)
            queue.name = demand.queue
            before = queue.priorities.pop(incarnation, 0)
            if demand.priority:
                queue.priorities[incarnation] = demand.priority
            self._set_demand(session, incarnation, queue_id, max(demand.messages - on_the_way.get(queue_id, 0), 0))
            if before != demand.priority and queue_id in self._queues:
                self._changed(queue_id, queue)

    def plan(
        self, held: Collection[Incarnation] = (), fetched: Collection[int] = ()
    ) -> dict[Incarnation, list[SlotRow]]:
        """Return which slots to assign to which incarnation, none to `held`; these slots are not free any more. Of a
        queue from which single messages are being `fetched`, its keeper gets none.

        The oldest slot of a queue goes first. Incarnations with demand for it get slots in turn, each as many as its
        demand covers.
        """
        batch: dict[Incarnation, list[SlotRow]] = {}
        for queue_id in list(islice(self._matching, _QUEUES_PER_ROUND)):
            del self._matching[queue_id]
            queue = self._queues.get(queue_id)
            if queue is None:
                continue
            keeper = self._keeper(queue_id)
            if keeper is None or queue_id in fetched:
                is_planned = self._plan_queue(queue, held, batch)
            else:
                is_planned = self._plan_kept(queue, keeper, held, batch)
            if not is_planned:
                self._note_match(queue_id, queue)
        return batch

    def reserve_older(self, first_id: Callable[[int], int]) -> list[SlotRow]:
        """Move free slots into a plan that begin before the id that `first_id` returns for their queue, as far as
        nobody wants them.
        """
        rows: list[SlotRow] = []
        for queue_id, queue in self._queues.items():
            if queue.demands or not queue.free:
                continue
            count = min(bisect_left(queue.free, first_id(queue_id), key=_start), SLOTS_PER_ROUND - len(rows))
            rows += queue.free[:count]
            del queue.free[:count]
        for row in rows:
            self._note_planned(row)
        return rows

    def unwanted(self) -> Iterator[tuple[int, Hashable]]:
        """Return the queues of which slots are free that nobody wants, and what tells these slots from others."""
        for queue_id, queue in self._queues.items():
            if queue.free and not queue.demands:
                yield queue_id, (len(queue.free), queue.messages, queue.free[0].start, queue.free[-1].start)

    def reserve_with(self, queue_id: int, ids: Iterable[int]) -> list[SlotRow]:
        """Move those free slots of a queue into a plan in which some of these messages are, unless somebody wants
        them.
        """
        queue = self._queues.get(queue_id)
        if queue is None or queue.demands:
            return []
        wanted = sorted(ids)
        rows = [row for row in queue.free if _has(row, wanted)][:SLOTS_PER_ROUND]
        for row in rows:
            queue.free.remove(row)
            self._note_planned(row)
        return rows

    def reserve(self, queue_id: int) -> SlotRow | None:
        """Move the oldest free slot of a queue into a plan and return it."""
        queue = self._queues.get(queue_id)
        if queue is None or not queue.free:
            return None
        row = queue.free.pop(0)
        self._note_planned(row)
        return row

    def end_plan(self, rows: Iterable[SlotRow]) -> None:
        """The plan for these slots is done: they are assigned, or were found to be different."""
        for row in rows:
            self._planned.discard(row.start)
            queue = self._queues[row.queue_id]
            queue.messages -= _weight(row)
            self._changed(row.queue_id, queue)

    def grant(self, incarnation: Incarnation, rows: Iterable[SlotRow]) -> None:
        """`incarnation` owns these slots: reduce its demand by them, and tell it in its next answer.

        Call it before these slots leave the plan.
        """
        session = self._sessions.get(incarnation)
        if session is None:
            return
        for row in rows:
            queue = self._queues[row.queue_id]
            session.grants.append((queue.name, row))
            if incarnation in queue.demands:
                self._set_demand(session, incarnation, row.queue_id, max(queue.demands[incarnation] - _weight(row), 0))

    def has_news(self, incarnation: Incarnation) -> bool:
        """Is there anything to tell the session of `incarnation`?"""
        session = self._sessions.get(incarnation)
        if session is None:
            return False
        if session.grants or not self.is_loaded:
            return bool(session.grants)
        while session.unseen:
            queue_id = next(iter(session.unseen))
            demand, told = self._remote_demand(queue_id, incarnation), session.told.get(queue_id)
            if _wish(demand) != _wish(told):
                return True
            del session.unseen[queue_id]
        return False

    def take(self, incarnation: Incarnation) -> Answer:
        """Return what the session of `incarnation` has not been told yet, and mark it as told."""
        session = self._sessions.get(incarnation)
        if session is None or not (session.grants or session.unseen):
            return Answer()
        grants = session.grants[:GRANTS_PER_SUPPLY]
        del session.grants[:GRANTS_PER_SUPPLY]
        return Answer(grants, self._take_remote_demand(session, incarnation) if self.is_loaded else ())

    def _take_remote_demand(self, session: _Session, incarnation: Incarnation) -> list[Demand]:
        """Return changes in other nodes' demand; call it once the table was read, which shows that no free slot covers
        it.
        """
        wanted: list[Demand] = []
        while session.unseen and len(wanted) < _DEMANDS_PER_ANSWER:
            queue_id = next(iter(session.unseen))
            del session.unseen[queue_id]
            told = session.told.pop(queue_id, None)
            now = self._remote_demand(queue_id, incarnation)
            if now is not None:
                session.told[queue_id] = now
                if _wish(told) != _wish(now):
                    wanted.append(now)
            elif told is not None:
                wanted.append(Demand(told.queue, 0))
        return wanted

    def _remote_demand(self, queue_id: int, incarnation: Incarnation) -> Demand | None:
        """Return the demand of others than `incarnation` beyond what free slots will give them."""
        queue = self._queues.get(queue_id)
        if queue is None:
            return None
        messages = queue.demand - queue.demands.get(incarnation, 0) - queue.messages
        if messages <= 0:
            return None
        priorities = [queue.priorities.get(each, 0) for each in queue.demands if each != incarnation]
        return Demand(queue.name, messages, max(priorities, default=0))

    def _plan_queue(
        self, queue: _Queue, held: Collection[Incarnation], batch: dict[Incarnation, list[SlotRow]]
    ) -> bool:
        """Plan one round of a queue's slots; return False if none could be planned."""
        left = dict(queue.demands)
        waiting = deque(_highest_first(queue))
        taken = 0
        while waiting and taken < len(queue.free):
            incarnation = waiting.popleft()
            rows = batch.get(incarnation, [])
            if incarnation in held or len(rows) >= SLOTS_PER_ROUND:
                continue
            row = queue.free[taken]
            taken += 1
            self._note_planned(row)
            rows.append(row)
            batch[incarnation] = rows
            queue.demands[incarnation] = queue.demands.pop(incarnation)
            left[incarnation] -= _weight(row)
            if left[incarnation] > 0 and queue.priorities:
                waiting.appendleft(incarnation)  # others are of the same priority at most
            elif left[incarnation] > 0:
                waiting.append(incarnation)
        del queue.free[:taken]
        return taken > 0

    def _plan_kept(
        self,
        queue: _Queue,
        keeper: Incarnation,
        held: Collection[Incarnation],
        batch: dict[Incarnation, list[SlotRow]],
    ) -> bool:
        """Plan where the slots of a queue go whose length a node keeps: to who has demand for all of one, otherwise to
        that node, whatever it asks for. Return False if none could be planned.
        """
        left = {each: queue.demands[each] for each in _highest_first(queue) if each not in held}
        may_keep = keeper in self._sessions and keeper not in held
        kept: list[SlotRow] = []
        for row in queue.free:
            weight = _weight(row)
            receiver = next((each for each, wanted in left.items() if wanted >= weight), keeper if may_keep else None)
            if receiver is None or len(rows := batch.setdefault(receiver, [])) >= SLOTS_PER_ROUND:
                kept.append(row)
                continue
            self._note_planned(row)
            rows.append(row)
            if receiver in left:
                left[receiver] -= weight
                if not queue.priorities:
                    left[receiver] = left.pop(receiver)  # others come first
        is_planned = len(kept) < len(queue.free)
        queue.free[:] = kept
        for receiver in [each for each, rows in batch.items() if not rows]:
            del batch[receiver]
        return is_planned

    def _set_demand(self, session: _Session, incarnation: Incarnation, queue_id: int, messages: int) -> None:
        queue = self._queue(queue_id)
        before = queue.demands.pop(incarnation, 0) if messages == 0 else queue.demands.get(incarnation, 0)
        if messages:
            queue.demands[incarnation] = messages
            session.queues[queue_id] = None
        else:
            queue.priorities.pop(incarnation, None)
            session.queues.pop(queue_id, None)
        queue.demand += messages - before
        if before != messages:
            self._changed(queue_id, queue)
        else:
            self._drop_if_idle(queue_id, queue)

    def _remove(self, start: int) -> None:
        row = self._free.pop(start, None)
        if row is None:
            return
        queue = self._queues[row.queue_id]
        del queue.free[bisect_left(queue.free, start, key=_start)]
        self.end_plan((row,))

    def _note_planned(self, row: SlotRow) -> None:
        del self._free[row.start]
        self._planned.add(row.start)

    def _changed(self, queue_id: int, queue: _Queue) -> None:
        for session in self._sessions.values():
            session.unseen[queue_id] = None
        self._note_match(queue_id, queue)
        self._drop_if_idle(queue_id, queue)

    def _note_match(self, queue_id: int, queue: _Queue) -> None:
        if queue.free and (queue.demands or self._keeper(queue_id) is not None):
            self._matching[queue_id] = None

    def _drop_if_idle(self, queue_id: int, queue: _Queue) -> None:
        if not (queue.messages or queue.demands):
            self._queues.pop(queue_id, None)
            self._matching.pop(queue_id, None)

    def _queue(self, queue_id: int) -> _Queue:
        return self._queues.setdefault(queue_id, _Queue(QueueName("", queue_id)))


def _has(row: SlotRow, ids: Sequence[int]) -> bool:
    """Is one of these ids, which are ascending, that of a message in the slot?"""
    index = bisect_left(ids, row.start)
    between = takewhile(lambda message_id: message_id <= row.end, islice(ids, index, None))
    return any(lane_of(message_id) == row.lane for message_id in between)


def _wish(demand: Demand | None) -> tuple[int, int]:
    return (0, 0) if demand is None else (demand.messages, demand.priority)


def _highest_first(queue: _Queue) -> Iterable[Incarnation]:
    """Return who has demand, those with consumers of the highest priority first."""
    if not queue.priorities:
        return queue.demands
    return sorted(queue.demands, key=lambda incarnation: -queue.priorities.get(incarnation, 0))


def _weight(row: SlotRow) -> int:
    """A slot counts as one message at least, even if its messages were not counted."""
    return max(row.count, 1)
