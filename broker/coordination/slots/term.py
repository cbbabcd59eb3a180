"""One term of a coordinator: keeps free slots and demand in step with the store, and assigns slots.

One loop does one thing at a time: it assigns what is planned, frees the slots of dead nodes, reads the table, and
plans. Calls that arrive meanwhile enter the next plan. `Assignment` decides about order and fairness.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import structlog

from broker.backoff import Backoff
from broker.clock import Clock
from broker.coordination.slots.assignment import SLOTS_PER_ROUND, Assignment
from broker.coordination.slots.free_expiry import FreeExpiry
from broker.errors import CoordinationError, StoreError, StoreUnavailable
from broker.ports.cluster import SlotService, SlotStore
from broker.ports.cluster_rows import Incarnation, SlotRow, slot_of
from broker.ports.peer_calls import Caller, Demand, Fence, Grant, QueueName, Supply

_log = structlog.get_logger(__name__)

_BACKOFF: Final = Backoff(0.1, 1.0)
_TELL_AGAIN: Final = 30.0
_RELEASE_TIMEOUT: Final = 1.0
_TRIES: Final = 3
_QUEUES_PER_LOOK: Final = 64
"""Queues of which the store is asked in one round whether messages in free slots have expired."""
# Reading the table of a large backlog may take long: the pause before the next read is this many times as long.
_REST_PER_SCAN: Final = 20


FindDue: TypeAlias = Callable[[int], Awaitable[tuple[Sequence[int], int | None]]]
"""Returns, for a queue, the ids of stored messages that have expired by a time of their own, and the first such time
of all its messages, in milliseconds since 1970.
"""


async def nothing_due(queue_id: int) -> tuple[Sequence[int], int | None]:
    """Nothing expires by a time of its own."""
    return (), None


@dataclass(slots=True, eq=False)
class _Get:
    """A call that waits for one slot of a queue."""

    queue: QueueName
    incarnation: Incarnation
    request_id: str
    answer: asyncio.Future[Grant | None]
    tries: int = 0


@dataclass(slots=True)
class _Order:
    """Slots that are to be assigned to an incarnation in one transaction; some of them answer a `_Get`."""

    incarnation: Incarnation
    rows: list[SlotRow] = field(default_factory=list)
    gets: dict[int, _Get] = field(default_factory=dict)


class SlotTerm:
    """Assigns slots while the store accepts `fence`."""

    def __init__(
        self,
        fence: Fence,
        store: SlotStore,
        clock: Clock,
        tasks: asyncio.TaskGroup,
        *,
        others: Callable[[], Mapping[str, SlotService]],
        caller: Callable[[], Caller],
        window_size: int,
        rescan_interval: float,
        expired: Callable[[int], int],
        keeper: Callable[[int], Incarnation | None],
        on_granted: Callable[[Incarnation, int, int], None],
        due: FindDue,
    ) -> None:
        self.fence = fence
        self._store = store
        self._clock = clock
        self._tasks = tasks
        self._others = others
        self._caller = caller
        self._window_size = window_size
        self._rescan_interval = rescan_interval
        self._expired = expired
        self._on_granted = on_granted
        self._due = due
        self._expiry = FreeExpiry()
        self._assignment = Assignment(keeper)
        self._living: Collection[Incarnation] = ()
        self._held: set[Incarnation] = set()
        self._waiters: dict[Incarnation, asyncio.Future[None]] = {}
        self._gets: deque[_Get] = deque()
        self._unanswered: dict[_Get, asyncio.Task[None]] = {}
        self._orders: deque[_Order] = deque()
        self._newer: set[int] = set()
        self._must_reclaim = True
        self._must_scan = True
        self._has_strangers = False
        self._may_expire = self._may_be_due = False
        self._poked = asyncio.Event()
        self._rescan_timer: asyncio.TimerHandle | None = None
        self._backoff = _BACKOFF
        self._tell_at = float("-inf")

    # Calls of nodes

    def has_session(self, incarnation: Incarnation) -> bool:
        return self._assignment.has_session(incarnation)

    def begin(self, incarnation: Incarnation, demands: Sequence[Demand]) -> None:
        """Start a session of `incarnation`."""
        self._assignment.begin(incarnation, demands)
        self._poked.set()

    def on_demand(self, incarnation: Incarnation, demands: Sequence[Demand]) -> None:
        """The demand of `incarnation` has changed."""
        if demands:
            self._assignment.on_demand(incarnation, demands)
            self._poked.set()

    async def news(self, incarnation: Incarnation, seconds: float) -> None:
        """Return when there is something to tell `incarnation`, after `seconds`, or when a newer call waits instead."""
        self._wake(incarnation)
        if seconds <= 0 or self._assignment.has_news(incarnation):
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters[incarnation] = waiter
        try:
            async with asyncio.timeout(seconds):
                await waiter
        except TimeoutError:
            pass
        finally:
            if self._waiters.get(incarnation) is waiter:
                del self._waiters[incarnation]

    def take(self, incarnation: Incarnation, request_id: str) -> Supply:
        """Return what `incarnation` has not been told yet, and mark it as told."""
        answer = self._assignment.take(incarnation)
        grants = tuple(self._grant(queue, row, incarnation, request_id) for queue, row in answer.grants)
        return Supply(grants, tuple(answer.remote_demand), self.fence)

    def submit(self, row: SlotRow) -> None:
        """A node reports a free slot; the attempt to assign it will show whether it is free."""
        self._newer.add(row.start)
        self._assignment.add(row)
        self._poked.set()

    def free_messages(self) -> Iterator[tuple[int, int]]:
        return self._assignment.free_messages()

    def get(self, queue: QueueName, incarnation: Incarnation, request_id: str) -> asyncio.Future[Grant | None]:
        """Find one slot of the queue for `incarnation`, released from other nodes' memory if none is free."""
        get = _Get(queue, incarnation, request_id, asyncio.get_running_loop().create_future())
        self._unanswered[get] = self._tasks.create_task(self._fetch(get), name=f"get {queue.name}")
        return get.answer

    def on_living(self, incarnations: Collection[Incarnation], *, has_lost: bool) -> None:
        """The living members have changed; `has_lost`: some are gone, and their slots must be freed."""
        self._living = incarnations
        self._held.clear()
        self._must_reclaim |= has_lost
        self._poked.set()

    def drop(self, incarnation: Incarnation, error: CoordinationError) -> None:
        """`incarnation` is over: drop its demand, and fail the calls that it waits for with `error`."""
        self._assignment.drop(incarnation)
        self._fail([incarnation], [get for get in self._unanswered if get.incarnation == incarnation], error)

    def close(self, error: CoordinationError) -> None:
        """The term is over: fail every waiting call with `error`."""
        if self._rescan_timer is not None:
            self._rescan_timer.cancel()
        self._fail(list(self._waiters), list(self._unanswered), error)

    # The loop

    async def serve(self) -> None:
        """Assign slots until cancelled; raises `Fenced` when there is a newer coordinator."""
        while True:
            try:
                await self._step()
            except StoreUnavailable as error:
                self._tell(error)
                await asyncio.sleep(self._backoff.delay)
                self._backoff = self._backoff.longer()
            else:
                self._backoff = _BACKOFF

    async def _step(self) -> None:
        if self._orders:
            await self._assign(self._orders[0])
        elif self._must_reclaim:
            await self._reclaim()
        elif self._must_scan:
            await self._scan()
        elif self._may_be_due:
            await self._take_due()
        elif not self._plan():
            for incarnation in list(self._waiters):
                self._wake_if_news(incarnation)
            await self._poked.wait()
            self._poked.clear()

    async def _assign(self, order: _Order) -> None:
        """Assign slots. Their owner is unknown until the store answers, so the loop does nothing else meanwhile."""
        owned = await self._store.assign(order.rows, order.incarnation, self.fence)
        self._orders.popleft()
        starts = {row.start for row in owned}
        for row in owned:
            self._on_granted(order.incarnation, row.queue_id, row.count)
        self._assignment.grant(order.incarnation, [row for row in owned if row.start not in order.gets])
        self._assignment.end_plan(order.rows)
        if len(starts) < len(order.rows):
            self._must_scan = True
            if not starts:
                # The incarnation may be over without this term knowing yet: do not retry before the next scan.
                self._held.add(order.incarnation)
        for start, get in order.gets.items():
            self._on_assigned(get, next((row for row in owned if row.start == start), None))
        self._wake_if_news(order.incarnation)

    def _on_assigned(self, get: _Get, row: SlotRow | None) -> None:
        if row is not None:
            self._answer(get, self._grant(get.queue, row, get.incarnation, get.request_id))
        elif get.tries < _TRIES:
            self._gets.append(get)
        else:
            self._answer(get, None)

    async def _reclaim(self) -> None:
        self._must_reclaim = False
        try:
            count = await self._store.reclaim(self.fence, self._window_size)
        except StoreUnavailable:
            self._must_reclaim = True
            raise
        self._must_scan = True
        if count:
            _log.info("slots of nodes that are gone are free", count=count)

    async def _scan(self) -> None:
        self._must_scan = False
        self._newer.clear()
        if self._rescan_timer is not None:
            self._rescan_timer.cancel()
        began = self._clock.monotonic()
        try:
            rows = await self._store.slots()
        except StoreUnavailable:
            self._must_scan = True
            raise
        self._assignment.load(rows, self._newer)
        self._has_strangers = any(row.owner is not None and row.owner not in self._living for row in rows)
        rest = max(self._rescan_interval, _REST_PER_SCAN * (self._clock.monotonic() - began))
        self._rescan_timer = asyncio.get_running_loop().call_later(rest, self._on_rescan_due)

    def _on_rescan_due(self) -> None:
        self._held.clear()
        self._must_reclaim |= self._has_strangers
        self._must_scan = True
        self._may_expire = self._may_be_due = True
        self._poked.set()

    def _plan(self) -> bool:
        """Plan the next assignments; return False if there is nothing to do."""
        orders: dict[Incarnation, _Order] = {}
        for _ in range(min(len(self._gets), SLOTS_PER_ROUND)):
            self._plan_get(self._gets.popleft(), orders)
        fetched = {get.queue.queue_id for get in self._unanswered}
        for incarnation, rows in self._assignment.plan(self._held, fetched).items():
            orders.setdefault(incarnation, _Order(incarnation)).rows.extend(rows)
        if self._may_expire and not orders:
            self._may_expire = False
            self._plan_expired(orders)
        self._orders.extend(orders.values())
        return bool(self._orders or self._gets)

    async def _take_due(self) -> None:
        """Take slots for this node that nobody wants, and in which messages have expired by a time of their own."""
        self._may_be_due = False
        caller = self._caller()
        own = Incarnation(caller.node_id, caller.incarnation)
        if not self._assignment.has_session(own) or own in self._held:
            return
        now_ms = self._clock.wall_ms()
        for queue_id, slots in list(self._expiry.to_ask(self._assignment.unwanted(), now_ms, _QUEUES_PER_LOOK)):
            ids, due = await self._due(queue_id)
            self._expiry.on_answer(queue_id, slots, due)
            rows = self._assignment.reserve_with(queue_id, ids)
            if rows:
                self._orders.append(_Order(own, rows))

    def _plan_expired(self, orders: dict[Incarnation, _Order]) -> None:
        """Take slots for this node in which messages have expired, and that nobody wants: it lets them expire."""
        caller = self._caller()
        own = Incarnation(caller.node_id, caller.incarnation)
        if self._assignment.has_session(own) and own not in self._held:
            rows = self._assignment.reserve_older(self._expired)
            if rows:
                self._may_expire = True  # there may be more
                orders[own] = _Order(own, rows)

    def _plan_get(self, get: _Get, orders: dict[Incarnation, _Order]) -> None:
        if get not in self._unanswered:
            return
        row = self._assignment.reserve(get.queue.queue_id)
        if row is None:
            self._answer(get, None)
            return
        get.tries += 1
        order = orders.setdefault(get.incarnation, _Order(get.incarnation))
        order.rows.append(row)
        order.gets[row.start] = get

    async def _fetch(self, get: _Get) -> None:
        if not self._assignment.has_free(get.queue.queue_id):
            await self._release(get.queue, get.incarnation)
            self._must_scan = True
        self._gets.append(get)
        self._poked.set()

    async def _release(self, queue: QueueName, asker: Incarnation) -> None:
        """Ask every other node to release one message; the table then shows which nodes had one."""
        caller = self._caller()
        async with asyncio.TaskGroup() as tasks:
            for node_id, service in self._others().items():
                if node_id != asker.node_id:
                    tasks.create_task(_release(service, queue, caller))

    def _grant(self, queue: QueueName, row: SlotRow, incarnation: Incarnation, request_id: str) -> Grant:
        return Grant(queue, slot_of(row), incarnation.node_id, self.fence, request_id)

    def _answer(self, get: _Get, grant: Grant | None) -> None:
        if self._unanswered.pop(get, None) is not None:
            get.answer.set_result(grant)
            self._poked.set()  # what was kept for it may go elsewhere now

    def _fail(self, incarnations: Iterable[Incarnation], gets: Iterable[_Get], error: CoordinationError) -> None:
        for incarnation in incarnations:
            waiter = self._waiters.pop(incarnation, None)
            if waiter is not None and not waiter.done():
                waiter.set_exception(error)
        for get in gets:
            self._unanswered.pop(get).cancel()
            get.answer.set_exception(error)
            get.answer.exception()  # marks the exception as seen: the caller may be gone

    def _wake(self, incarnation: Incarnation) -> None:
        waiter = self._waiters.pop(incarnation, None)
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _wake_if_news(self, incarnation: Incarnation) -> None:
        if incarnation in self._waiters and self._assignment.has_news(incarnation):
            self._wake(incarnation)

    def _tell(self, error: StoreUnavailable) -> None:
        now = self._clock.monotonic()
        if now >= self._tell_at:
            self._tell_at = now + _TELL_AGAIN
            _log.warning("slots wait for the store", reason=str(error))


async def _release(service: SlotService, queue: QueueName, caller: Caller) -> None:
    """Ask one node to release one message. A node that does not answer in time may still do it."""
    with suppress(CoordinationError, StoreError, TimeoutError):
        async with asyncio.timeout(_RELEASE_TIMEOUT):
            await service.release(queue, 1, caller)
