"""Reads messages of groups that have none in memory, wherever they lie in the slots of their queue (ADR 83)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from broker.ports.slot import Slot
from broker.ports.store import GroupStore, Journal
from broker.queue.group_cursor import AT_ONCE
from broker.queue.grouped_queue import GroupedQueue
from broker.queue.queue import Queue

_LAST_ID: Final = (1 << 63) - 1


class GroupReader:
    """Reads the next groups of queues, one task for each queue that asks."""

    def __init__(
        self, store: GroupStore, journal: Journal, tasks: asyncio.TaskGroup, *, on_done: Callable[[Queue], None]
    ) -> None:
        """`store` waits by itself while the database is away. `on_done` is called at the end of a read."""
        self._store = store
        self._journal = journal
        self._tasks = tasks
        self._on_done = on_done

    def start(self, queue: GroupedQueue) -> None:
        """Read the next groups of `queue`; `queue.is_reading` until that is done."""
        self._tasks.create_task(self._read(queue), name=f"read groups of {queue.name}")

    async def _read(self, queue: GroupedQueue) -> None:
        try:
            await self._journal.readable(Slot(queue.queue_id, 0, 0, _LAST_ID, 0))
            cursor = queue.cursor
            page = await self._store.read_groups(queue.queue_id, cursor.place, AT_ONCE, cursor.depth)
            ids = queue.unknown_in(page)
            octets = queue.limits.read_ahead_bytes
            messages = await self._store.read_listed(queue, ids, octets) if ids else []
            queue.on_groups_read(page, messages)
        finally:
            queue.slots.end_reading()
        self._on_done(queue)
