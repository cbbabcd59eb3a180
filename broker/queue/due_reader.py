"""Finds what has expired in the slots of queues, where only the store knows the times of single messages."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from broker.ports.slot import Slot
from broker.ports.store import Journal, MessageStore
from broker.queue.queue import Queue

_LAST_ID: Final = (1 << 63) - 1
_AT_ONCE: Final = 1000
"""Messages that are read at once."""
_OCTETS_AT_ONCE: Final = 4 * 1024 * 1024
_SPENT_AT_ONCE: Final = 10
"""Slots that may be empty, and are looked at when everything that was due has been read."""


class DueReader:
    """Reads what is due in the store, one task for each queue that asks."""

    def __init__(
        self,
        store: MessageStore,
        journal: Journal,
        tasks: asyncio.TaskGroup,
        *,
        now_ms: Callable[[], int],
        has_room: Callable[[Queue], bool],
        on_done: Callable[[Queue], None],
    ) -> None:
        """`now_ms` is the time by which messages live; `has_room` is whether more may expire now. `on_done` is called
        at the end.
        """
        self._store = store
        self._journal = journal
        self._tasks = tasks
        self._now_ms = now_ms
        self._has_room = has_room
        self._on_done = on_done

    def start(self, queue: Queue) -> None:
        """Let messages of `queue` in slots expire; `queue.slots.is_reading` until that is done."""
        self._tasks.create_task(self._read(queue), name=f"read what is due of {queue.name}")

    async def _read(self, queue: Queue) -> None:
        try:
            await self._journal.readable(Slot(queue.queue_id, 0, 0, _LAST_ID, 0))
            while not queue.is_deleted:
                until, after = self._now_ms(), queue.due_after
                if not self._has_room(queue):
                    queue.set_due_in_slots(until, after)
                    break
                due = await self._store.read_due(queue, until, after, _AT_ONCE, _OCTETS_AT_ONCE)
                if due:
                    queue.expire_in_slots(due)
                else:
                    after = (until, _LAST_ID)
                    queue.set_due_in_slots(await self._store.next_due(queue, after), after)
                    await self._drop_spent(queue)
                    break
        finally:
            queue.slots.end_reading()
        self._on_done(queue)

    async def _drop_spent(self, queue: Queue) -> None:
        """Drop slots of which everything has gone by itself, if the store has nothing of them any more."""
        for slot in queue.slots.spent(_SPENT_AT_ONCE):
            await self._journal.readable(slot)
            if not await self._store.read(queue, slot, 1, 1):
                queue.drop_spent(slot)
