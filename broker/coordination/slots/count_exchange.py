"""Exchanges with the coordinator, once a second, how many messages and consumers each queue has on all nodes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable
from typing import Final

import structlog

from broker.errors import CoordinationError, StoreUnavailable
from broker.machine.faults import MachineFaults
from broker.ports.cluster import SlotService
from broker.ports.cluster_rows import Incarnation
from broker.ports.peer_calls import Caller, QueueCount
from broker.ports.slot import Slot
from broker.queue.queue import Queue

_log = structlog.get_logger(__name__)

_INTERVAL: Final = 1.0
_LOOKS: Final = 5
"""How often it is looked in that time whether publishers must know sooner."""
LEASE_MARGIN: Final = 3000
"""Milliseconds within which a use of a queue is known everywhere: two intervals, and the calls."""
_MOST: Final = 10_000
_REST_PER_COUNT: Final = 20
"""Counting all that is stored may take long: the pause before the next time is this many times as long."""


class CountExchange:
    """Tells this node's queues how many messages and consumers they have on other nodes."""

    def __init__(
        self,
        *,
        queues: Callable[[], Iterable[Queue]],
        find_queue: Callable[[int], Queue | None],
        coordinator: Callable[[], SlotService | None],
        caller: Callable[[], Caller],
        is_cut_off: Callable[[], bool],
        read_stored: Callable[[], Awaitable[Iterable[Slot]]],
        consumers_elsewhere: Callable[[Queue], Collection[Incarnation]],
        limited: Callable[[], Iterable[Queue]] = tuple,
        monotonic: Callable[[], float],
    ) -> None:
        """`is_cut_off` says that other nodes cannot be asked, nor tell this one. Then what is stored is counted, by
        `read_stored`, and each of the nodes `consumers_elsewhere` counts as one consumer. The length of the `limited`
        queues, or of some of them, is kept for all nodes together (ADR 67).
        """
        self._queues = queues
        self._find_queue = find_queue
        self._coordinator = coordinator
        self._caller = caller
        self._is_cut_off = is_cut_off
        self._read_stored = read_stored
        self._consumers_elsewhere = consumers_elsewhere
        self._limited = limited
        self._monotonic = monotonic
        self._lengths: dict[int, int] = {}  # of the queues that refuse publishers, as they were told last
        self._known: set[int] = set()
        self._count_at = float("-inf")

    async def run(self) -> None:
        """Exchange counts every second, and sooner while publishers have to know them, until cancelled."""
        faults = MachineFaults("counts")
        waits, rested_at = 0, float("-inf")
        while True:
            await asyncio.sleep(_INTERVAL / _LOOKS)
            waits += 1
            began = self._monotonic()
            if waits < _LOOKS and (began < rested_at or not self._must_know()):
                continue
            waits = 0
            with faults:
                await self.exchange()
            rested_at = self._monotonic() + _REST_PER_COUNT * (self._monotonic() - began)

    def _must_know(self) -> bool:
        """Has a queue that refuses publishers another length, or has anybody published to one that other nodes keep?"""
        for queue in self._limited():
            if queue.refuses_publishers:
                elsewhere = queue.elsewhere
                if elsewhere is not None and elsewhere.was_asked:
                    return True
                if self._lengths.get(queue.queue_id, 0) != queue.ready_count:
                    return True
        return False

    async def exchange(self) -> None:
        """Report this node's counts and set those of the other nodes; without a coordinator the last ones stay."""
        if self._is_cut_off():
            await self._count_stored()
            return
        service = self._coordinator()
        if service is None:
            return
        here = [
            QueueCount(
                queue.queue_id,
                queue.ready_count,
                len(queue.consumers),
                queue.whole.deadlines.used_at,
                queue.ready_octets,
            )
            for queue in self._queues()
            if queue.consumers or queue.ready_count or queue.whole.deadlines.used_at
        ]
        limited = list(self._limited())
        self._lengths = {queue.queue_id: queue.ready_count for queue in limited if queue.refuses_publishers}
        for each in limited:
            if each.elsewhere is not None:
                each.elsewhere.begin_exchange()
        try:
            elsewhere = await service.exchange_counts(here[:_MOST], self._caller())
        except CoordinationError as error:
            _log.debug("counts were not exchanged", reason=str(error))
            return
        forgotten = self._known
        self._known = set()
        for count in elsewhere:
            queue = self._find_queue(count.queue_id)
            if queue is not None:
                queue.set_remote_counts(count.ready, count.consumers, count.octets)
                queue.whole.use_elsewhere(count.used_at)
                self._known.add(count.queue_id)
        for queue_id in forgotten - self._known:
            queue = self._find_queue(queue_id)
            if queue is not None:
                queue.set_remote_counts(0, 0, 0)
        for each in limited:
            if each.elsewhere is not None:
                each.elsewhere.end_exchange(each.message_count - each.ready_count, each.remote_octets)

    async def _count_stored(self) -> None:
        """Take for elsewhere what is stored and not here; a large backlog is counted more rarely."""
        began = self._monotonic()
        if began < self._count_at:
            return
        stored: dict[int, int] = {}
        try:
            for slot in await self._read_stored():
                stored[slot.queue_id] = stored.get(slot.queue_id, 0) + slot.count
        except StoreUnavailable as error:
            _log.debug("what is stored was not counted", reason=str(error))
        else:
            for queue in self._queues():
                ready = stored.get(queue.queue_id, 0) - queue.ready_count - queue.unacked_count
                queue.set_remote_counts(max(ready, 0), len(self._consumers_elsewhere(queue)), 0)
                queue.whole.use()  # who knows whether it is used elsewhere
                self._known.add(queue.queue_id)
        self._count_at = self._monotonic() + _REST_PER_COUNT * (self._monotonic() - began)
