"""This node's share of a cluster's queues: what it asks for, and what it gives to others (design §3).

Local consumers come first and the overflow goes to other nodes. Knows queues and the parts that give, ask and own;
knows no client, no SQL and no Thrift.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from typing import Final

import structlog

from broker.clock import Clock
from broker.coordination.slots.demand import DemandSession, name_of
from broker.coordination.slots.handoff import Handoff, Portion
from broker.coordination.slots.owned import OwnedSlots
from broker.errors import CoordinationError, Fenced, StoreUnavailable
from broker.ports.cluster import SlotService, SlotStore
from broker.ports.cluster_rows import Incarnation, SlotRow, slot_of
from broker.ports.peer_calls import Caller, Demand, Grant
from broker.ports.slot import Slot
from broker.queue.queue import Queue

_log = structlog.get_logger(__name__)

_TICK: Final = 0.5
_SUBMITS: Final = 16
_CLAIM_AFTER: Final = 2.0
"""Seconds without an answer of the coordinator after which a node with demand helps itself (reliability.md §3.9)."""
_CLAIM_LIMIT: Final = 8


class Balancer:
    """What every queue of a clustered node tells of itself to, and what the node's services ask."""

    def __init__(
        self,
        store: SlotStore,
        incarnation: Incarnation,
        *,
        clock: Clock,
        owned: OwnedSlots,
        handoff: Handoff,
        demand: Callable[[Balancer], DemandSession],
        coordinator: Callable[[], SlotService | None],
        caller: Callable[[], Caller],
        queues: Callable[[], Iterable[Queue]],
        find_queue: Callable[[int], Queue | None],
        has_remote_consumers: Callable[[Queue], bool],
    ) -> None:
        self._store = store
        self._incarnation = incarnation
        self._clock = clock
        self._owned = owned
        self._handoff = handoff
        self._demand = demand(self)
        self._coordinator = coordinator
        self._caller = caller
        self._queues = queues
        self._find_queue = find_queue
        self._has_remote_consumers = has_remote_consumers
        self._remote_demand: dict[int, int] = {}
        self._surplus: set[Queue] = set()
        self._offers: set[Queue] = set()
        self._wake = asyncio.Event()
        self._requests: list[tuple[Queue, int, asyncio.Future[int]]] = []
        self._is_stopping = False
        self._seen_taken: dict[int, int] = {}

    # What queues call

    def after_dispatch(self, queue: Queue) -> None:
        """Has `queue` demand, or has it what others want? Hot: called once per batch."""
        queue_id = queue.queue_id
        if queue.consumers:
            if not self._demand.has_demand(queue_id) and queue.has_demand:
                self._demand.add(queue)
        elif self._demand.has_demand(queue_id):
            self._demand.withdraw(queue)
        if queue_id in self._remote_demand and queue.has_ready:
            self._surplus.add(queue)
            self._wake.set()

    def on_dropped(self, slots: Sequence[Slot]) -> None:
        self._owned.on_dropped(slots)

    # What the coordinator says

    def on_grants(self, grants: tuple[Grant, ...], asked_at: float) -> None:
        """Slots were assigned to this node."""
        for grant in grants:
            self._demand.on_granted(grant.slot.queue_id, grant.slot.count)
        self._owned.adopt([_with_row(grant.slot) for grant in grants], asked_at)
        for queue in {self._find_queue(grant.slot.queue_id) for grant in grants}:
            if queue is not None:  # what was not believed, or is here already, feeds nobody
                self.after_dispatch(queue)

    def on_remote_demand(self, demands: tuple[Demand, ...]) -> None:
        """Other nodes have demand for these queues, or not any more."""
        for demand in demands:
            queue_id = demand.queue.queue_id
            if demand.messages <= 0:
                self._remote_demand.pop(queue_id, None)
                continue
            self._remote_demand[queue_id] = demand.messages
            queue = self._find_queue(queue_id)
            if queue is not None and queue.ready_count:
                self._surplus.add(queue)
                self._wake.set()

    def on_session(self) -> None:
        """Nobody is known to want anything: the coordinator tells it anew."""
        self._remote_demand.clear()

    def look(self) -> None:
        """There may be another coordinator."""
        self._demand.look()

    # The loops

    async def run(self) -> None:
        """Give, poll, and look after what is held, until cancelled or until this incarnation is over (`Evicted`)."""
        async with asyncio.TaskGroup() as tasks:
            others = [
                tasks.create_task(self._demand.run(), name="demand"),
                tasks.create_task(self._owned.run(), name="owned"),
                tasks.create_task(self._tick_forever(), name="balancer"),
            ]
            await self._give_forever()
            for task in others:
                task.cancel()

    def stop(self) -> None:
        """End `run` when what is being given is given: half a gift would be in nobody's hands."""
        self._is_stopping = True
        self._wake.set()

    async def _give_forever(self) -> None:
        while not self._is_stopping:
            await self._wake.wait()
            self._wake.clear()
            requests, self._requests = self._requests, []
            for queue, messages, given in requests:
                count = await self._give({queue: Portion(messages)})
                if not given.done():
                    given.set_result(count)
            queues, self._surplus = self._surplus, set()
            wishes = {queue: self._portion(queue) for queue in queues}
            offers, self._offers = self._offers, set()
            wishes |= {queue: Portion(queue.ready_count) for queue in offers}
            await self._give({queue: portion for queue, portion in wishes.items() if portion.messages > 0})
        for _, _, given in self._requests:
            if not given.done():
                given.set_result(0)

    def _portion(self, queue: Queue) -> Portion:
        """Return what to give: the newer half while own consumers get on with the older one, otherwise what is wanted.

        All of that half at once, whatever is wanted: who is done then takes the oldest of it, this node too.
        """
        if queue.queue_id in self._remote_demand and queue.has_takers and not self._is_stuck(queue):
            return Portion(queue.ready_count // 2, newest=True)
        return Portion(self._remote_demand.get(queue.queue_id, 0))

    def _is_stuck(self, queue: Queue) -> bool:
        """Have own consumers taken nothing since the tick before the last?"""
        return self._seen_taken.get(queue.queue_id, -1) == queue.last_taken and not queue.is_reading

    async def _give(self, wishes: dict[Queue, Portion]) -> int:
        if not wishes:
            return 0
        rows = await self._handoff.give(wishes)
        await self._tell(rows)
        return sum(row.count for row in rows)

    async def _tell(self, rows: Collection[SlotRow]) -> None:
        """Say to the coordinator what is free; without that it sees it in the store, within a second."""
        service = self._coordinator()
        if service is None:
            return
        try:
            for row in tuple(rows)[:_SUBMITS]:
                queue = self._find_queue(row.queue_id)
                if queue is not None:
                    await service.submit_slot(name_of(queue), slot_of(row), 0, self._caller())
        except CoordinationError as error:
            _log.debug("the coordinator was not told of slots", reason=str(error))

    async def _tick_forever(self) -> None:
        while True:
            await asyncio.sleep(_TICK)
            await self.tick(self._clock.monotonic())

    async def tick(self, now: float) -> None:
        """Give what own consumers do not get on with; help oneself while the coordinator is away."""
        self.look()
        failing_since = self._demand.failing_since
        for queue_id in list(self._remote_demand):
            queue = self._find_queue(queue_id)
            if queue is not None and queue.ready_count and queue.can_hand_off:
                self._surplus.add(queue)
                self._wake.set()
        self._seen_taken = {
            queue.queue_id: queue.last_taken
            for queue in map(self._find_queue, self._remote_demand)
            if queue is not None and queue.ready
        }
        if failing_since is not None and now - failing_since > _CLAIM_AFTER:
            try:
                await self._claim()
            except (StoreUnavailable, Fenced) as error:
                _log.debug("no slots could be claimed", reason=str(error))

    async def _claim(self) -> None:
        """Take free slots without a coordinator, and offer what others will have to take in the same way."""
        queue_ids = {queue.queue_id for queue in self._demand.queues}
        asked_at = self._clock.monotonic()
        if queue_ids:
            free = [row for row in await self._store.slots() if row.owner is None and row.queue_id in queue_ids]
            if free:
                rows = await self._store.assign(free[:_CLAIM_LIMIT], self._incarnation, await self._store.fence())
                for row in rows:
                    self._demand.on_granted(row.queue_id, row.count)
                self._owned.adopt([slot_of(row) for row in rows], asked_at)
        self._offers.update(
            queue
            for queue in self._queues()
            if queue.ready_count and not queue.has_takers and self._has_remote_consumers(queue)
        )
        if self._offers:
            self._wake.set()

    # What clients and other nodes ask for

    async def fetch(self, queue: Queue) -> bool:
        """Get messages for basic.get; return whether there were any."""
        service = self._coordinator()
        if service is None:
            return False
        asked_at = self._clock.monotonic()
        try:
            grant = await service.get_slot(name_of(queue), self._caller())
        except CoordinationError as error:
            _log.debug("the coordinator has given no slot", reason=str(error))
            return False
        return grant is not None and self._owned.adopt([_with_row(grant.slot)], asked_at) > 0

    async def release(self, queue_id: int, messages: int) -> int:
        """Give what own consumers do not take now; return how many messages."""
        queue = self._find_queue(queue_id)
        if queue is None or not queue.ready_count or self._is_stopping:
            return 0
        # Whoever asks may go away: what has left the queue must arrive in the store all the same.
        given: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._requests.append((queue, messages, given))
        self._wake.set()
        return await given

    async def leave(self) -> None:
        """Give everything away: this node stops in order. `run` must have ended."""
        wishes = {queue: Portion(queue.ready_count) for queue in self._queues() if queue.ready_count}
        await self._give(wishes)
        with suppress(StoreUnavailable):  # rows of empty slots do no harm
            await self._owned.finish(float("inf"))


def _with_row(slot: Slot) -> Slot:
    slot.row = slot.start
    return slot
