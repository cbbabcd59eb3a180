"""The coordinator's part of the slot service: answers the nodes' calls while this node holds the lease (ADR 19).

Checks the caller, and gives a repeated call the first answer again. A `SlotTerm` decides which slots are in an answer.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Final

from broker.clock import Clock
from broker.coordination.slots.queue_counts import QueueCounts
from broker.coordination.slots.term import FindDue, SlotTerm, nothing_due
from broker.errors import Fenced
from broker.ports.cluster import SlotService, SlotStore
from broker.ports.cluster_rows import Incarnation, SlotRow
from broker.ports.peer_calls import (
    Caller,
    Demand,
    Fence,
    Grant,
    NotCoordinator,
    QueueCount,
    QueueName,
    Supply,
    Unavailable,
)
from broker.ports.slot import Slot

_ANSWERS_PER_INCARNATION: Final = 256
_SUBMITS: Final = 4096


@dataclass(slots=True)
class _Poll:
    """The newest long poll of an incarnation: its id, its session and place in it, and its answer once there is one."""

    request_id: str
    place: tuple[int, int]
    answer: Supply | None = None


@dataclass(slots=True)
class _Term:
    """One term of this coordinator, and the calls that it remembers."""

    slots: SlotTerm
    counts: QueueCounts
    polls: dict[Incarnation, _Poll] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=lambda: count(1))
    """Of answers that tell of remote demand."""
    gets: dict[Incarnation, OrderedDict[str, asyncio.Future[Grant | None]]] = field(default_factory=dict)
    submits: OrderedDict[tuple[Incarnation, str], None] = field(default_factory=OrderedDict)

    def drop(self, incarnation: Incarnation) -> None:
        """Forget `incarnation`, and fail the calls that it still waits for."""
        self.slots.drop(incarnation, _not_living(incarnation))
        self.counts.drop(incarnation)
        self.polls.pop(incarnation, None)
        self.gets.pop(incarnation, None)


class SlotManager:
    """Serves slots to all nodes of the cluster, including this one."""

    def __init__(
        self,
        store: SlotStore,
        clock: Clock,
        *,
        others: Callable[[], Mapping[str, SlotService]],
        caller: Callable[[], Caller],
        window_size: int,
        on_fenced: Callable[[str], None],
        rescan_interval: float = 1.0,
        expired: Callable[[int], int] = lambda queue_id: 0,
        keeper: Callable[[int], Incarnation | None] = lambda queue_id: None,
        due: FindDue = nothing_due,
    ) -> None:
        """`others` are the services by node id of all nodes that can have messages, including this one.

        `on_fenced` is called with the term in which the store has refused this node as coordinator. `expired` returns,
        for a queue, an id of which all older messages have expired; `keeper` as for `Assignment`.
        """
        self._store = store
        self._clock = clock
        self._others = others
        self._caller = caller
        self._window_size = window_size
        self._on_fenced = on_fenced
        self._rescan_interval = rescan_interval
        self._expired = expired
        self._keeper = keeper
        self._due = due
        self._living: dict[Incarnation, None] = {}
        self._term: _Term | None = None

    async def run(self, fence: Fence) -> None:
        """Serve under `fence` until cancelled, or until a newer coordinator has taken over."""
        counts = QueueCounts()
        async with asyncio.TaskGroup() as tasks:
            slots = SlotTerm(
                fence,
                self._store,
                self._clock,
                tasks,
                others=self._others,
                caller=self._caller,
                window_size=self._window_size,
                rescan_interval=self._rescan_interval,
                expired=self._expired,
                keeper=self._keeper,
                due=self._due,
                on_granted=counts.grant,
            )
            slots.on_living(self._living, has_lost=False)
            self._term = _Term(slots, counts)
            try:
                await slots.serve()
            except Fenced:
                self._on_fenced(fence.term)
            finally:
                self._term = None
                slots.close(_not_coordinator())

    def set_living(self, incarnations: Collection[Incarnation]) -> None:
        """Set the living incarnations; no others may ask for slots from now on."""
        former, self._living = self._living, dict.fromkeys(incarnations)
        gone = [incarnation for incarnation in former if incarnation not in self._living]
        if self._term is not None:
            for incarnation in gone:
                self._term.drop(incarnation)
            self._term.slots.on_living(self._living, has_lost=bool(gone))

    async def await_slots(self, demands: Sequence[Demand], wait_ms: int, caller: Caller) -> Supply:
        term = self._serving(caller, *(demand.queue for demand in demands))
        incarnation = self._living_incarnation(caller)
        former, place = term.polls.get(incarnation), (caller.session, caller.poll)
        if former is not None and place < former.place:
            # The demand that it tells of may have changed since, and whoever sent it may not hear the answer any more.
            raise Unavailable("a later poll has come before this one")
        if former is not None and caller.request_id and former.request_id == caller.request_id:
            if former.answer is not None:
                return former.answer
        elif wait_ms <= 0:
            term.slots.begin(incarnation, demands)
        elif not term.slots.has_session(incarnation):
            raise Unavailable("unknown session: begin one with all that is wanted, and without waiting")
        else:
            term.slots.on_demand(incarnation, demands)
        poll = term.polls[incarnation] = _Poll(caller.request_id, place)
        await term.slots.news(incarnation, wait_ms / 1000)
        if term.polls.get(incarnation) is not poll:
            return Supply(fence=term.slots.fence)  # what there is to tell, a newer call is told
        answer = term.slots.take(incarnation, caller.request_id)
        poll.answer = replace(answer, number=next(term.numbers)) if answer.remote_demand else answer
        return poll.answer

    async def get_slot(self, queue: QueueName, caller: Caller) -> Grant | None:
        term = self._serving(caller, queue)
        incarnation = self._living_incarnation(caller)
        answers = term.gets.setdefault(incarnation, OrderedDict())
        future = answers.get(caller.request_id) if caller.request_id else None
        if future is None:
            # The search goes on when the caller gives up; it gets the answer when it repeats the call.
            future = term.slots.get(queue, incarnation, caller.request_id)
            if caller.request_id:
                answers[caller.request_id] = future
                if len(answers) > _ANSWERS_PER_INCARNATION:
                    answers.popitem(last=False)
        return await asyncio.shield(future)

    async def submit_slot(self, queue: QueueName, slot: Slot, caller: Caller) -> None:
        term = self._serving(caller, queue)
        call = Incarnation(caller.node_id, caller.incarnation), caller.request_id
        if call in term.submits:
            return  # a repeated call: the slot may have an owner by now
        if caller.request_id:
            term.submits[call] = None
            if len(term.submits) > _SUBMITS:
                term.submits.popitem(last=False)
        term.slots.submit(
            SlotRow(queue.queue_id, slot.lane, slot.start, slot.end, slot.count, slot.maybe_delivered, slot.transient)
        )

    async def exchange_counts(self, counts: Sequence[QueueCount], caller: Caller) -> Sequence[QueueCount]:
        term = self._serving(caller)
        incarnation = self._living_incarnation(caller)
        term.counts.note(incarnation, counts)
        return term.counts.elsewhere(incarnation, term.slots.free_messages())

    def _serving(self, caller: Caller, *queues: QueueName) -> _Term:
        term = self._term
        if term is None or caller.fence.epoch > term.slots.fence.epoch:
            raise _not_coordinator()
        if not caller.incarnation or not all(queue.queue_id for queue in queues):
            raise Unavailable("nodes that know queues by name only, as those of Andes do, cannot share this store")
        return term

    def _living_incarnation(self, caller: Caller) -> Incarnation:
        incarnation = Incarnation(caller.node_id, caller.incarnation)
        if incarnation not in self._living:
            raise _not_living(incarnation)
        return incarnation


def _not_coordinator() -> NotCoordinator:
    return NotCoordinator("this node is not the coordinator")


def _not_living(incarnation: Incarnation) -> Unavailable:
    return Unavailable(f"node '{incarnation.node_id}' is not known to live in incarnation {incarnation.id}")
