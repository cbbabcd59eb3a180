"""The long poll of a node: it tells the demand here and learns the demand elsewhere (design §3).

One session with one coordinator at a time; only changes travel. Knows the slot service; knows neither messages nor SQL.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Final, TypeAlias

import structlog

from broker.clock import Clock
from broker.errors import CoordinationError
from broker.ports.cluster import SlotService
from broker.ports.peer_calls import Caller, Demand, Fence, Grant, QueueName, Supply
from broker.queue.queue import Queue

_log = structlog.get_logger(__name__)

WAIT_MS: Final = 15_000
_RETRY_DELAY: Final = 0.1
_RETRY_DELAY_MAX: Final = 1.0
_CHANGES_PER_CALL: Final = 1000

Key: TypeAlias = tuple[SlotService | None, Fence]
"""With whom a session is: the service, and whose power it stands on."""


class DemandSession:
    """Keeps a session with whoever is the coordinator."""

    def __init__(
        self,
        *,
        clock: Clock,
        coordinator: Callable[[], SlotService | None],
        caller: Callable[[], Caller],
        new_request_id: Callable[[], str],
        demand_size: int,
        on_grants: Callable[[tuple[Grant, ...], float], None],
        on_remote_demand: Callable[[tuple[Demand, ...]], None],
        on_session: Callable[[], None],
    ) -> None:
        """`demand_size` is how many messages of a queue are asked for at once.

        `on_grants` gets slots and the time at which they were asked for; `on_remote_demand` what others want, 0
        messages when they do not any more; `on_session` says that what others wanted before does not count.
        """
        self._clock = clock
        self._coordinator = coordinator
        self._caller = caller
        self._new_request_id = new_request_id
        self._demand_size = demand_size
        self._on_grants = on_grants
        self._on_remote_demand = on_remote_demand
        self._on_session = on_session
        self._queues: dict[int, Queue] = {}
        self._left: dict[int, int] = {}  # what is still to come of what was asked for
        self._changed: dict[int, Demand] = {}
        self._wake = asyncio.Event()
        self._session: Key | None = None
        self._calls = 0
        self._failed: Key | None = None
        self._again_at = 0.0
        self._delay = _RETRY_DELAY
        self.failing_since: float | None = None
        """Since when no coordinator has answered; None while one does."""

    # Demand

    def has_demand(self, queue_id: int) -> bool:
        """Are messages of this queue asked for?"""
        return queue_id in self._queues

    def add(self, queue: Queue) -> None:
        """Consumers of `queue` would take messages from elsewhere."""
        self._queues[queue.queue_id] = queue
        self._left[queue.queue_id] = self._demand_size
        self._note(queue, self._demand_size)

    def withdraw(self, queue: Queue) -> None:
        """Nobody here wants messages of `queue` any more."""
        if self._queues.pop(queue.queue_id, None) is not None:
            self._left.pop(queue.queue_id, None)
            self._note(queue, 0)

    def on_granted(self, queue_id: int, messages: int) -> None:
        """So many of those that were asked for are here; the coordinator counts in the same way."""
        left = self._left.get(queue_id)
        if left is not None:
            self._left[queue_id] = left - messages
            if left <= messages:
                self._queues.pop(queue_id, None)
                del self._left[queue_id]

    @property
    def queues(self) -> list[Queue]:
        """The queues of which messages are asked for."""
        return list(self._queues.values())

    def _note(self, queue: Queue, messages: int) -> None:
        self._changed[queue.queue_id] = Demand(name_of(queue), messages)
        self._wake.set()

    # The loop

    def look(self) -> None:
        """Begin a session with another coordinator if there is one now."""
        if self._key() != self._session:
            self._wake.set()

    async def run(self) -> None:
        """Poll until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                service, key = self._coordinator(), self._key()
                rest = self._again_at - self._clock.monotonic() if key == self._failed else 0.0
                if rest > 0:
                    try:
                        async with asyncio.timeout(rest):
                            await self._await_wake()
                    except TimeoutError:
                        self._again_at = float("-inf")  # whatever the clock says: it may be a hair behind
                elif service is None:
                    self._on_failed(key)
                elif key != self._session:
                    await self._begin(service, key)
                else:
                    if not self._calls or self._changed:
                        self._calls += 1
                        tasks.create_task(self._poll(service, key, self._changes(), WAIT_MS), name="long poll")
                    await self._await_wake()

    async def _await_wake(self) -> None:
        await self._wake.wait()
        self._wake.clear()

    def _key(self) -> Key:
        return self._coordinator(), self._caller().fence

    async def _begin(self, service: SlotService, key: Key) -> None:
        """Begin a session: tell everything, learn everything."""
        self._changed.clear()
        self._calls = 1
        self._on_session()
        self._left = dict.fromkeys(self._queues, self._demand_size)
        demands = [Demand(name_of(queue), self._demand_size) for queue in self._queues.values()]
        for demand in demands[_CHANGES_PER_CALL:]:
            self._changed[demand.queue.queue_id] = demand
        self._session = key
        await self._poll(service, key, demands[:_CHANGES_PER_CALL], 0)

    def _changes(self) -> list[Demand]:
        changes = [self._changed.pop(queue_id) for queue_id in list(self._changed)[:_CHANGES_PER_CALL]]
        if self._changed:
            self._wake.set()
        return changes

    async def _poll(self, service: SlotService, key: Key, changes: list[Demand], wait_ms: int) -> None:
        asked_at = self._clock.monotonic()
        caller = replace(self._caller(), request_id=self._new_request_id())
        try:
            supply: Supply = await service.await_slots(changes, wait_ms, caller)
        except CoordinationError as error:
            _log.debug("the coordinator has not answered a poll", reason=str(error))
            if key == self._session:
                self._on_failed(key)
        else:
            if key == self._session:
                self._calls -= 1
                self._failed = None
                self.failing_since = None
                if supply.remote_demand:
                    self._on_remote_demand(supply.remote_demand)
            if supply.grants:
                self._on_grants(supply.grants, asked_at)
        self._wake.set()

    def _on_failed(self, key: Key) -> None:
        """Rest a while, longer each time; another coordinator is asked at once."""
        self._delay = min(self._delay * 2, _RETRY_DELAY_MAX) if key == self._failed else _RETRY_DELAY
        self._session, self._failed = None, key
        now = self._clock.monotonic()
        self._again_at = now + self._delay
        if self.failing_since is None:
            self.failing_since = now


def name_of(queue: Queue) -> QueueName:
    """Return what nodes call the queue."""
    return QueueName(queue.name, queue.queue_id)
