"""A model of a node in one incarnation: what it has in memory, what it gives away, reads, delivers and settles.

Follows the rules of a node (design §3): held messages lie in no slot that is given, what comes late is flagged, and
what was released is taken back only when the store says so. Bugs that a test plants are in `world.bugs`.
"""

from __future__ import annotations

import asyncio
from bisect import insort
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from broker.errors import CoordinationError, Evicted, StoreUnavailable
from broker.ports.cluster import SlotService
from broker.ports.cluster_rows import Incarnation
from broker.ports.peer_calls import Caller, Demand, PeerUnreachable, QueueName, Supply
from broker.ports.slot import Slot
from tests.support.ids import message_id
from tests.support.memory_slots import lane_of

if TYPE_CHECKING:
    from tests.simulation.slots_world import SlotWorld

T = TypeVar("T")

QUEUES = (QueueName("orders", 1), QueueName("letters", 2))
CREDIT = 3
DEMAND = 6


class Member:
    """One incarnation of a node: ready messages and unread slots by queue, ascending; `rows` are its slots in the
    store.
    """

    def __init__(self, world: SlotWorld, incarnation: Incarnation, lane: int) -> None:
        self.world = world
        self.incarnation = incarnation
        self.lane = lane
        self.is_trusted = True
        self.consuming: dict[int, bool] = {}
        self.store = world.link(incarnation)
        self.rows: dict[int, Slot] = {}
        self.ready: dict[int, list[int]] = defaultdict(list)
        self.unread: dict[int, list[Slot]] = defaultdict(list)
        self.unacked: dict[int, list[int]] = defaultdict(list)
        self.acking: set[int] = set()
        self.own: dict[int, list[int]] = defaultdict(list)
        self.given: set[int] = set()
        self.released: set[int] = set()
        self.flagged: set[int] = set()
        self.passed: dict[tuple[int, int], int] = {}
        self.wanted: dict[int, int] = {}
        self._lock = asyncio.Lock()
        self._journal = asyncio.Lock()
        self._batch = 0
        self._requests = 0

        for slot in world.table.window(lane, 1000):  # what the incarnation before has left
            ids = world.table.read(slot, slot.count)
            # Between two windows lies what is another node's: no slot may reach over the id that stands for it.
            self.own[slot.queue_id] += [*ids, slot.end + 1]
            self.ready[slot.queue_id] += ids
            self.flagged.update(ids)

    # Loops

    async def work(self) -> None:
        random = self.world.random
        reconcile_at = 0.0
        while True:
            await asyncio.sleep(random.uniform(0.25, 0.6))
            for queue in QUEUES:
                await self._work_on(queue)
            if self.world.loop.time() >= reconcile_at and "no reconciliation" not in self.world.bugs:
                reconcile_at = self.world.loop.time() + 2.0
                with suppress(StoreUnavailable):
                    await self._reconcile()

    async def poll(self) -> None:
        while True:
            try:
                with suppress(StoreUnavailable):
                    await self._reconcile()
                await self._session()
            except Evicted:
                raise
            except CoordinationError:
                await asyncio.sleep(self.world.random.uniform(0.1, 0.5))

    async def _work_on(self, queue: QueueName) -> None:
        random, queue_id = self.world.random, queue.queue_id
        if not self.world.is_healing and random.random() < 0.25:
            await self._publish(queue_id, random.randint(1, 4))
        if self.consuming[queue_id] and self._must_read(queue_id):
            await self._read(queue_id)
        self._deliver(queue_id)
        if self.unacked[queue_id] and random.random() < 0.15:
            self._requeue(queue_id, random.choice(self.unacked[queue_id]))
        if self.unacked[queue_id] and random.random() < 0.6:
            await self._settle(queue_id, random.randint(1, len(self.unacked[queue_id])))
        if self.rows and random.random() < 0.4:
            await self._finish()
        if self.wanted.get(queue_id):
            await self.give(queue_id, self.wanted[queue_id])
        elif random.random() < 0.03:
            await self._get(queue)

    # Messages

    async def _publish(self, queue_id: int, count: int) -> None:
        ids = [message_id(self.lane, self.world.next_number()) for _ in range(count)]
        self.own[queue_id] += ids
        await self._commit(dict.fromkeys(ids, queue_id), ())
        self.world.history.confirmed.update(ids)
        for each in ids:
            insort(self.ready[queue_id], each)

    def _must_read(self, queue_id: int) -> bool:
        ready, unread = self.ready[queue_id], self.unread[queue_id]
        return bool(unread) and (len(ready) < 2 or unread[0].start < ready[0])

    def _deliver(self, queue_id: int) -> None:
        """Deliver what consumers have credit for, oldest first: nothing that follows an unread slot."""
        ready, unacked = self.ready[queue_id], self.unacked[queue_id]
        while self.is_trusted and self.consuming[queue_id] and ready and len(unacked) < CREDIT:
            if any(slot.start < ready[0] for slot in self.unread[queue_id]):
                return
            each = ready.pop(0)
            self.world.history.deliver(self.incarnation, queue_id, each, each in self.flagged)
            self.passed[queue_id, lane_of(each)] = max(self.passed.get((queue_id, lane_of(each)), 0), each)
            self.flagged.add(each)
            unacked.append(each)

    async def _settle(self, queue_id: int, count: int) -> None:
        ids = self.unacked[queue_id][:count]
        del self.unacked[queue_id][:count]
        self.acking.update(ids)
        self.world.history.settled.update(ids)
        await self._commit({}, ids)
        self.acking.difference_update(ids)
        self.own[queue_id] = [each for each in self.own[queue_id] if each not in ids]

    def _requeue(self, queue_id: int, each: int) -> None:
        self.unacked[queue_id].remove(each)
        insort(self.ready[queue_id], each)

    def stop_consuming(self, queue_id: int) -> None:
        """Consumers go; what they had is ready again, and known to be redelivered."""
        self.consuming[queue_id] = False
        for each in list(self.unacked[queue_id]):
            self._requeue(queue_id, each)

    async def _commit(self, inserts: dict[int, int], deletes: Iterable[int]) -> None:
        async with self._journal:
            self._batch += 1
            await self._until_done(lambda: self.store.write(self._batch, inserts, deletes))

    # Slots

    async def _read(self, queue_id: int) -> None:
        async with self._lock:
            if not self.unread[queue_id]:
                return
            slot = self.unread[queue_id][0]
            try:
                ids = await self.store.read(slot, 3)
            except StoreUnavailable:
                return
            if len(ids) < 3 or ids[-1] >= slot.end:
                self.unread[queue_id].remove(slot)
            else:
                slot.start = ids[-1] + 1
                self.unread[queue_id].sort(key=lambda each: each.start)
            if slot.maybe_delivered:
                self.flagged.update(ids)
            for each in ids:
                insort(self.ready[queue_id], each)

    async def _finish(self) -> None:
        async with self._lock:
            unread = {slot.row for slots in self.unread.values() for slot in slots}
            starts = [start for start in self.rows if start not in unread]
            with suppress(StoreUnavailable):
                for start in await self.store.finish(starts, self.incarnation):
                    del self.rows[start]
                    self.released.add(start)

    async def _reconcile(self) -> None:
        async with self._lock:
            self._adopt([slot_of(row) for row in await self.store.owned(self.incarnation)])

    def _adopt(self, slots: Iterable[Slot]) -> None:
        for slot in slots:
            if slot.row in self.rows:
                continue
            if slot.start <= self.passed.get((slot.queue_id, slot.lane), 0):
                slot.maybe_delivered = True
            self.rows[slot.row] = replace(slot)
            insort(self.unread[slot.queue_id], replace(slot), key=lambda each: each.start)

    async def give(self, queue_id: int, count: int) -> int:
        """Give away what this node's own consumers do not take now; return how many messages that is."""
        async with self._lock:
            removed, kept, given = self._take(queue_id, count)
            if not given:
                return 0
            await self._until_done(lambda: self.store.cut(removed, kept, given, self.incarnation))
            for start in removed:
                del self.rows[start]
            self.released.update(removed, (slot.start for slot in given))
            self.rows.update((slot.start, slot) for slot in kept)
            queue = next(queue for queue in QUEUES if queue.queue_id == queue_id)
            for slot in given:
                with suppress(CoordinationError):
                    await self._submit(queue, slot)
            return sum(slot.count for slot in given)

    async def _submit(self, queue: QueueName, slot: Slot) -> None:
        await self._call(lambda service, caller: service.submit_slot(queue, slot, 0, caller))

    def _take(self, queue_id: int, count: int) -> tuple[list[int], list[Slot], list[Slot]]:
        ready = self.ready[queue_id]
        needed = CREDIT - len(self.unacked[queue_id]) if self.consuming[queue_id] else 0
        taken = ready[: max(min(count, len(ready) - needed), 0)]
        rest = self.unread[queue_id][:1] if not ready and not self.consuming[queue_id] else []
        removed, kept = list[int](), list[Slot]()
        if not taken and not rest:
            return removed, kept, []
        del ready[: len(taken)]
        given = self._close(queue_id, [each for each in taken if self._row_of(queue_id, each) is None])
        rows = {slot.row for slot in rest}
        rows.update(row.start for each in taken if (row := self._row_of(queue_id, each)) is not None)
        for start in sorted(rows):
            removed.append(start)
            self._split(self.rows[start], taken, rest, kept, given)
        for slot in rest:
            self.unread[queue_id].remove(slot)
        self.given.update(taken)
        return removed, kept, given

    def _close(self, queue_id: int, taken: list[int]) -> list[Slot]:
        """Return slots of own messages; each ends where another one follows that is not taken."""
        slots: list[Slot] = []
        is_open = False
        for each in self.own[queue_id]:
            if each not in taken:
                forgets = "cut forgets what is held" in self.world.bugs and each not in self.given
                is_open = is_open and forgets
            elif is_open:
                self._extend(slots[-1], each, each, 1)
            else:
                slots.append(self._slot(queue_id, self.lane, each, each, 1, flagged=False))
                is_open = True
        return slots

    def _split(self, row: Slot, taken: list[int], rest: list[Slot], kept: list[Slot], given: list[Slot]) -> None:
        """Divide a slot into what is given and what is kept."""
        queue_id = row.queue_id
        held = (*self.ready[queue_id], *self.unacked[queue_id], *self.acking)
        parts = [(each, each, 1, True) for each in taken if self._row_of(queue_id, each) is row]
        parts += [(each, each, 1, False) for each in held if self._row_of(queue_id, each) is row]
        unread = next((slot for slot in self.unread[queue_id] if slot.row == row.start), None)
        if unread is not None:
            parts.append((unread.start, unread.end, unread.count, unread in rest))
        last: bool | None = None
        for start, end, count, is_given in sorted(parts):
            slots = given if is_given else kept
            if is_given is last:
                self._extend(slots[-1], start, end, count)
            else:
                slots.append(self._slot(queue_id, row.lane, start, end, count, flagged=row.maybe_delivered))
            last = is_given
        if unread is not None and unread not in rest:
            unread.row = kept[-1].start

    def _slot(self, queue_id: int, lane: int, start: int, end: int, count: int, *, flagged: bool) -> Slot:
        return Slot(queue_id, lane, start, end, count, flagged or start in self.flagged, False, start)

    def _extend(self, slot: Slot, start: int, end: int, count: int) -> None:
        slot.end, slot.count = end, slot.count + count
        slot.maybe_delivered |= start in self.flagged

    def _row_of(self, queue_id: int, each: int) -> Slot | None:
        lane = lane_of(each)
        for row in self.rows.values():
            if row.start <= each <= row.end and row.lane == lane and row.queue_id == queue_id:
                return row
        return None

    # The coordinator

    async def _session(self) -> None:
        said = {queue.queue_id: self._demand(queue.queue_id) for queue in QUEUES}
        demands = [Demand(queue, said[queue.queue_id]) for queue in QUEUES if said[queue.queue_id]]
        self.wanted.clear()
        self._on_supply(await self._ask(demands, 0))
        while True:
            now = {queue.queue_id: self._demand(queue.queue_id) for queue in QUEUES}
            demands = [
                Demand(queue, now[queue.queue_id]) for queue in QUEUES if now[queue.queue_id] or said[queue.queue_id]
            ]
            said = now
            self._on_supply(await self._ask(demands, self.world.random.choice((300, 1500))))

    async def _ask(self, demands: list[Demand], wait_ms: int) -> Supply:
        return await self._call(lambda service, caller: service.await_slots(demands, wait_ms, caller))

    def _on_supply(self, supply: Supply) -> None:
        self._adopt(grant.slot for grant in supply.grants if grant.slot.row not in self.released)
        for demand in supply.remote_demand:
            self.wanted[demand.queue.queue_id] = demand.messages

    def _demand(self, queue_id: int) -> int:
        has_demand = self.consuming[queue_id] and not self.ready[queue_id] and not self.unread[queue_id]
        return DEMAND if has_demand else 0

    async def _get(self, queue: QueueName) -> None:
        with suppress(PeerUnreachable, StoreUnavailable, CoordinationError):
            grant = await self._call(lambda service, caller: service.get_slot(queue, caller))
            if grant is not None and grant.slot.row not in self.released:
                self._adopt([grant.slot])

    async def _call(self, call: Callable[[SlotService, Caller], Awaitable[T]]) -> T:
        """Call the coordinator; repeat the call once if it was not answered."""
        self._requests += 1
        request_id = str(self._requests)
        try:
            return await self.world.ask_coordinator(self.incarnation, request_id, call)
        except PeerUnreachable:
            return await self.world.ask_coordinator(self.incarnation, request_id, call)

    async def _until_done(self, operation: Callable[[], Awaitable[Any]]) -> None:
        while True:
            try:
                await operation()
                return
            except StoreUnavailable:
                await asyncio.sleep(0.1)


def slot_of(row: Any) -> Slot:
    return Slot(row.queue_id, row.lane, row.start, row.end, row.count, row.maybe_delivered, row.transient, row.start)
