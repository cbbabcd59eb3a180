"""Carries out what the slot logic of this node decides: the one edge of `balancer`, `handoff`, `owned` and `demand`.

One module, because the four share a lock: no two changes of this node's slots in the store are under way at a time.
Decides nothing; what may be asked when, and what an answer means, is the business of the deciders.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from math import inf
from typing import Final

import structlog

from broker.backoff import Backoff
from broker.clock import Clock
from broker.coordination.slots.balancer import TICK, Balancer, ClaimFree, Release
from broker.coordination.slots.demand import Coordinator, DemandSession, Poll, name_of
from broker.coordination.slots.handoff import CutSlots, Flush, Handoff, HandoffStep, MarkRedelivered, Portion
from broker.coordination.slots.owned import FinishSlots, OwnedSlots, ReadOwned
from broker.errors import CoordinationError, Fenced, StoreUnavailable
from broker.message import STORED, TRANSIENT, Message, MessageIdGenerator
from broker.ports.cluster import SlotService, SlotStore
from broker.ports.cluster_rows import Incarnation, SlotRow, row_of, slot_of
from broker.ports.peer_calls import Caller, Grant
from broker.ports.slot import Slot
from broker.ports.store import Journal
from broker.queue.queue import Queue
from broker.store.retrying import Retry

_log = structlog.get_logger(__name__)

_SUBMITS: Final = 16
_UNREAD_TICKS: Final = 1
_MEASURED: Final = 1000
_MEASURED_OCTETS: Final = 4 * 1024 * 1024
"""Messages, and octets of them, that are read at once to be counted."""


@dataclass(frozen=True, slots=True)
class Deciders:
    """The classes that decide; a test may plant a fault in a subclass of one."""

    balancer: type[Balancer] = Balancer
    demand: type[DemandSession] = DemandSession
    handoff: type[Handoff] = Handoff
    owned: type[OwnedSlots] = OwnedSlots


class SlotRunner:
    """The slots of one incarnation of a node: what its queues tell of themselves to, and what its services ask."""

    def __init__(
        self,
        store: SlotStore,
        incarnation: Incarnation,
        lane: int,
        ids: MessageIdGenerator,
        *,
        clock: Clock,
        journal: Journal,
        read: Callable[[Queue, Slot, int, int], Awaitable[Sequence[Message]]],
        mark_redelivered: Callable[[Sequence[Message]], Awaitable[None]],
        held_ids: Callable[[Queue], list[int]],
        window_size: int,
        demand_size: int,
        coordinator: Callable[[], SlotService | None],
        caller: Callable[[], Caller],
        new_request_id: Callable[[], str],
        queues: Callable[[], Iterable[Queue]],
        find_queue: Callable[[int], Queue | None],
        consumers_elsewhere: Callable[[Queue], Collection[Incarnation]],
        is_kept_elsewhere: Callable[[Queue], bool] = lambda queue: False,
        see_to_end: Callable[[Queue], None] = lambda queue: None,
        next_due: Callable[[Queue], Awaitable[int | None]] | None = None,
        cut_off: Callable[[], Collection[Incarnation]],
        on_adopted: Callable[[Queue], None],
        deciders: Deciders | None = None,
    ) -> None:
        """`read` and `mark_redelivered` are those of the message store. `held_ids` is as for `Handoff`, `demand_size`
        as for `DemandSession`, `consumers_elsewhere` and `is_kept_elsewhere` as for `Balancer`. `next_due` returns when
        the first stored message of a queue expires by a time of its own. `cut_off` are the members whose demand nobody
        can tell this node. `on_adopted` is called with a queue that has got slots.
        """
        self._store = store
        self._incarnation = incarnation
        self._clock = clock
        self._journal = journal
        self._read = read
        self._mark_redelivered = mark_redelivered
        self._coordinator = coordinator
        self._caller = caller
        self._new_request_id = new_request_id
        self._find_queue = find_queue
        self._on_adopted = on_adopted
        self._next_due = next_due
        self._adopted: dict[Queue, int] = {}  # and the ticks since then
        self._cut_off = cut_off
        self._cut_retry = Retry("messages for other nodes wait for the store", Backoff(0.1, 1.0))
        self._lock = asyncio.Lock()
        self._owned_due, self._demand_due, self._surplus_due = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._unmeasured: dict[Queue, None] = {}
        self._measure_due = asyncio.Event()
        self._releases: dict[Release, asyncio.Future[int]] = {}
        new = deciders or Deciders()
        self.owned = new.owned(lane, ids, find_queue=find_queue, on_due=self._owned_due.set)
        self.demand = new.demand(demand_size, on_due=self._demand_due.set)
        self.handoff = new.handoff(lane, owned=self.owned, held_ids=held_ids, window_size=window_size)
        self.balancer = new.balancer(
            self.demand,
            self.owned,
            queues=queues,
            find_queue=find_queue,
            consumers_elsewhere=consumers_elsewhere,
            is_kept_elsewhere=is_kept_elsewhere,
            see_to_end=see_to_end,
            wake=on_adopted,
            on_due=self._surplus_due.set,
        )
        self.after_dispatch: Final = self.balancer.after_dispatch
        """What every queue tells. Hot, so it is the balancer's own method."""
        self.after_exact_dispatch: Final = self.balancer.after_exact_dispatch

    def begin(self, backlog: Sequence[Slot]) -> None:
        """Note what lies in the store from before this incarnation."""
        self.handoff.begin(backlog)

    def on_read(self, queue: Queue, slot: Slot, messages: Sequence[Message], is_read: bool) -> None:
        """These messages of a slot are in memory now; `is_read` when they were its last."""
        for message in messages:
            if message.state == TRANSIENT:  # its row stays until it is settled: it may have to go to another node
                message.state = STORED
        self.owned.on_read(queue, slot, messages, is_read, self._clock.monotonic())

    def on_dropped(self, slots: Sequence[Slot]) -> None:
        """What was left of these slots was purged."""
        self.owned.on_dropped(slots, self._clock.monotonic())

    def look(self) -> None:
        """There may be another coordinator."""
        if not self.demand.is_with(self._current_coordinator()):
            self._demand_due.set()

    # The loops

    async def run(self) -> None:
        """Hand off, ask, and look after what is owned, until cancelled or this incarnation is over (`Evicted`)."""
        self.owned.start(self._clock.monotonic())
        async with asyncio.TaskGroup() as tasks:
            others = [
                tasks.create_task(self._poll_forever(), name="demand"),
                tasks.create_task(self._look_after_owned(), name="owned slots"),
                tasks.create_task(self._tick_forever(), name="balancer"),
                tasks.create_task(self._measure_forever(), name="octets of slots"),
            ]
            await self._hand_off_forever()
            for task in others:
                task.cancel()

    def stop(self) -> None:
        """End `run` when what is being handed off is in the store: half of it would be in nobody's hands."""
        self.balancer.stop()

    async def leave(self) -> None:
        """Hand everything off: this node stops in order. `run` must have ended."""
        await self.give_all()
        with suppress(StoreUnavailable):  # rows of empty slots do no harm
            await self._finish(self.owned.finish_due(inf))

    async def give_all(self) -> None:
        """Hand off all that can be handed off now."""
        await self._hand_off_and_tell(self.balancer.everything().wishes)

    async def _until(self, deadline: float, event: asyncio.Event) -> None:
        """Return at `deadline`, perhaps a little early, or when `event` is set."""
        delay = None if deadline == inf else max(deadline - self._clock.monotonic(), 0.001)
        with suppress(TimeoutError):
            async with asyncio.timeout(delay):
                await event.wait()
        event.clear()

    # Handing off

    async def _hand_off_forever(self) -> None:
        while not self.balancer.is_stopping:
            await self._until(inf, self._surplus_due)
            while (surplus := self.balancer.next_action()) is not None:
                count = await self._hand_off_and_tell(surplus.wishes)
                if surplus.release is not None:
                    self._answer(surplus.release, count)
        for release in list(self._releases):
            self._answer(release, 0)

    async def release(self, queue_id: int, messages: int) -> int:
        """Hand off what own consumers do not take now; return how many messages."""
        release = self.balancer.request(queue_id, messages)
        if release is None:
            return 0
        # The caller may go away; what has left the queue arrives in the store all the same.
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._releases[release] = answer
        return await answer

    def on_wanted(self, queue_id: int, messages: int) -> None:
        """Hand off what own consumers do not take now; nobody waits for it."""
        release = self.balancer.request(queue_id, messages)
        if release is not None:
            self._releases[release] = asyncio.get_running_loop().create_future()

    def _answer(self, release: Release, count: int) -> None:
        answer = self._releases.pop(release)
        if not answer.done():
            answer.set_result(count)

    async def _hand_off_and_tell(self, wishes: Mapping[Queue, Portion]) -> int:
        rows = await self.hand_off(wishes)
        await self._tell(rows)
        return sum(row.count for row in rows)

    async def hand_off(self, wishes: Mapping[Queue, Portion]) -> Sequence[SlotRow]:
        """Hand off what is wished of each queue; return the slots it has become, when they are in the store.

        What cannot be handed off now is left where it is.
        """
        async with self._lock:
            for step in self.handoff.unknown_starts(wishes):
                found = await self._read(step.queue, step.slot, 1, 1)
                self.handoff.on_found(step, found[0].id if found else None)
            before = self.balancer.count(wishes)
            plan = self.handoff.plan(wishes)
            if plan is None:
                return ()
            self.balancer.on_taken(before)
            for message in plan.spilled:
                self._journal.spill(message)
            rows: Sequence[SlotRow] = ()
            for each in plan.steps:
                rows = await self._do(each)
            self.handoff.on_done(plan, self._clock.monotonic())
            return rows

    async def _do(self, step: HandoffStep) -> Sequence[SlotRow]:
        """Carry out one step; return the slots that are free now."""
        if isinstance(step, Flush):
            await self._journal.flushed()
        elif isinstance(step, MarkRedelivered):
            await self._mark_redelivered(step.messages)
        elif isinstance(step, CutSlots):
            cut = step.cut
            return await self._cut_retry.until_done(
                lambda: self._store.cut(cut.removed, cut.kept, cut.given, self._incarnation)
            )
        else:
            await self._journal.give(step.slots)
            return [row_of(slot) for slot in step.slots]
        return ()

    async def _tell(self, rows: Sequence[SlotRow]) -> None:
        """Tell the coordinator what is free; one that is not told sees it in the store within a second."""
        service = self._coordinator()
        if service is None:
            return
        try:
            for row in rows[:_SUBMITS]:
                queue = self._find_queue(row.queue_id)
                if queue is not None:
                    await service.submit_slot(name_of(queue), slot_of(row), self._caller())
        except CoordinationError as error:
            _log.debug("the coordinator was not told of slots", reason=str(error))

    # Asking

    async def _poll_forever(self) -> None:
        async with asyncio.TaskGroup() as polls:
            while True:
                poll = self.balancer.next_poll(self._clock.monotonic(), self._current_coordinator())
                if poll is None:
                    await self._until(self.demand.next_deadline(), self._demand_due)
                else:
                    polls.create_task(self._poll(poll), name="long poll")

    async def _poll(self, poll: Poll) -> None:
        service, _ = poll.coordinator
        assert service is not None, "a poll has somebody to answer it"
        request_id = self._new_request_id()
        caller = replace(self._caller(), request_id=request_id, session=poll.session, poll=poll.number)
        try:
            supply = await service.await_slots(poll.demands, poll.wait_ms, caller)
        except CoordinationError as error:
            _log.debug("the coordinator has not answered a poll", reason=str(error))
            self.demand.on_failed(poll, self._clock.monotonic())
        else:
            self._feed(self.balancer.on_supply(poll, supply))
            self.balancer.after_grants(supply.grants)
        self._demand_due.set()

    async def fetch(self, queue: Queue) -> bool:
        """Get messages for basic.get; return whether there were any."""
        service = self._coordinator()
        if service is None:
            return False
        if queue.is_exact:
            self.balancer.on_fetch(queue)
        asked_at = self._clock.monotonic()
        try:
            grant: Grant | None = await service.get_slot(name_of(queue), self._caller())
        except CoordinationError as error:
            _log.debug("the coordinator has given no slot", reason=str(error))
            return False
        return grant is not None and self._feed(self.balancer.adopt([grant], asked_at)) > 0

    async def claim(self, queue: Queue) -> bool:
        """Take a free slot of the queue without the coordinator; return whether there was one."""
        claim = ClaimFree({queue.queue_id}, self._clock.monotonic())
        free = claim.choose(await self._store.slots())[:1]
        if not free:
            return False
        rows = await self._store.assign(free, self._incarnation, await self._store.fence())
        return self._feed(self.owned.adopt([slot_of(row) for row in rows], claim.asked_at)) > 0

    def _current_coordinator(self) -> Coordinator:
        return self._coordinator(), self._caller().fence

    def _feed(self, adopted: Mapping[Queue, int]) -> int:
        """Let queues read the slots that they have got; return how many these are."""
        for queue in adopted:
            self._on_adopted(queue)
            self._adopted[queue] = 0
            if queue.slots.unmeasured():
                self._unmeasured[queue] = None
                self._measure_due.set()
        return sum(adopted.values())

    async def _measure_forever(self) -> None:
        """Count the octets of slots of queues that may have only so many: other nodes do not tell (ADR 67)."""
        while True:
            await self._until(inf, self._measure_due)
            while self._unmeasured:
                queue, _ = self._unmeasured.popitem()
                for slot in queue.slots.unmeasured():
                    await self._measure(queue, slot)
                self._on_adopted(queue)

    async def _measure(self, queue: Queue, slot: Slot) -> None:
        start, octets, rest = slot.start, 0, replace(slot)
        while slot.start == start and (page := await self._read(queue, rest, _MEASURED, _MEASURED_OCTETS)):
            octets += sum(message.size for message in page)
            rest.start = page[-1].id + 1
            if rest.start > rest.end:
                break
        queue.slots.on_measured(slot, start, octets)

    # What happens from time to time

    async def _look_after_owned(self) -> None:
        while True:
            await self._until(self.owned.next_deadline(), self._owned_due)
            try:
                while await self._look_once():
                    pass
            except StoreUnavailable as error:
                self.owned.on_failed(self._clock.monotonic())
                _log.debug("slots are looked after later", reason=str(error))

    async def _look_once(self) -> bool:
        """Do the next thing that is due for the slots of this node; return whether there was one."""
        async with self._lock:
            action = self.owned.next_action(self._clock.monotonic())
            if isinstance(action, ReadOwned):
                count = self._feed(self.owned.on_owned(await self._store.owned(self._incarnation)))
                if count:
                    _log.debug("slots were found that no answer had told of", count=count)
            else:
                await self._finish(action)
        return action is not None

    async def _finish(self, action: FinishSlots | None) -> None:
        if action is not None:
            self.owned.on_finished(action, await self._store.finish(action.starts, self._incarnation))

    async def _tick_forever(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            self.look()
            await self._look_for_due()
            claim = self.balancer.on_tick(self._clock.monotonic(), self._cut_off())
            if claim is not None:
                try:
                    await self._claim(claim)
                except (StoreUnavailable, Fenced) as error:
                    _log.debug("no slots could be claimed", reason=str(error))

    async def _look_for_due(self) -> None:
        """Let messages expire in slots that came from other nodes and that nobody reads."""
        for queue, ticks in list(self._adopted.items()):
            self._adopted[queue] = ticks + 1
            if ticks >= _UNREAD_TICKS:
                del self._adopted[queue]
                if self._next_due is not None and queue.has_unknown_slots and await self._next_due(queue) is not None:
                    queue.expect_due()
                    self._on_adopted(queue)

    async def _claim(self, claim: ClaimFree) -> None:
        """Take free slots without a coordinator."""
        if claim.queue_ids:
            free = claim.choose(await self._store.slots())
            if free:
                rows = await self._store.assign(free, self._incarnation, await self._store.fence())
                self._feed(self.balancer.on_claimed(claim, rows))
