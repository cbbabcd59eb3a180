"""Exchanges with the coordinator, once a second, how many messages and consumers each queue has on all nodes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

import structlog

from broker.errors import CoordinationError
from broker.machine.faults import MachineFaults
from broker.ports.cluster import SlotService
from broker.ports.peer_calls import Caller, QueueCount
from broker.queue.queue import Queue

_log = structlog.get_logger(__name__)

_INTERVAL: Final = 1.0
_MOST: Final = 10_000


class CountExchange:
    """Tells this node's queues how many messages and consumers they have on other nodes."""

    def __init__(
        self,
        *,
        queues: Callable[[], Iterable[Queue]],
        find_queue: Callable[[int], Queue | None],
        coordinator: Callable[[], SlotService | None],
        caller: Callable[[], Caller],
    ) -> None:
        self._queues = queues
        self._find_queue = find_queue
        self._coordinator = coordinator
        self._caller = caller
        self._known: set[int] = set()

    async def run(self) -> None:
        """Exchange counts every second until cancelled."""
        faults = MachineFaults("counts")
        while True:
            await asyncio.sleep(_INTERVAL)
            with faults:
                await self.exchange()

    async def exchange(self) -> None:
        """Report this node's counts and set those of the other nodes; without a coordinator the last ones stay."""
        service = self._coordinator()
        if service is None:
            return
        here = [
            QueueCount(queue.queue_id, queue.ready_count, len(queue.consumers))
            for queue in self._queues()
            if queue.consumers or queue.ready_count
        ]
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
                queue.set_remote_counts(count.ready, count.consumers)
                self._known.add(count.queue_id)
        for queue_id in forgotten - self._known:
            queue = self._find_queue(queue_id)
            if queue is not None:
                queue.set_remote_counts(0, 0)
