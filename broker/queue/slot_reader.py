"""Reads the messages of slots into memory for queues whose consumers have credit: one task per queue that reads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence, Set
from typing import Final

from broker.message import Message
from broker.ports.slot import Slot
from broker.ports.store import Journal, MessageStore
from broker.queue.queue import Queue

_LOOK_AGAIN: Final = 0.01
"""Seconds until one who waits for a message looks again."""


class SlotReader:
    """Reads the slots of queues, one at a time for each queue."""

    def __init__(
        self,
        store: MessageStore,
        journal: Journal,
        tasks: asyncio.TaskGroup,
        on_done: Callable[[Queue], None],
        on_read: Callable[[Queue, Slot, Sequence[Message], bool], None],
    ) -> None:
        """`store` waits by itself while the database is away.

        `on_read` is called with the messages read from a slot, and whether the slot ends with them, before the queue
        gets them. `on_done` is called at the end of a read, with or without messages.
        """
        self._store = store
        self._journal = journal
        self._tasks = tasks
        self._on_done = on_done
        self._on_read = on_read
        self._reads: dict[int, asyncio.Task[None]] = {}

    def start(self, queue: Queue) -> None:
        """Read the next messages of `queue` from its slots; `queue.slots.is_reading` until that is done."""
        self._reads[queue.queue_id] = self._tasks.create_task(self._read(queue), name=f"read slots of {queue.name}")

    async def wait(self, queue: Queue) -> None:
        """Return when the current read for `queue` is done; a little later when there is none: something else reads, or
        nothing may be read now.
        """
        task = self._reads.get(queue.queue_id)
        if task is None:
            await asyncio.sleep(_LOOK_AGAIN)
        else:
            await asyncio.shield(task)

    async def _read(self, queue: Queue) -> None:
        try:
            slot = queue.slots.open_next()
            if slot is not None:
                if not slot.row or queue.may_slots_be_behind:  # a slot from another node is committed already
                    await self._journal.readable(slot)
                if queue.slots.opened is slot:  # not purged in the meantime
                    limits, known = queue.limits, queue.known_ids()
                    messages = await self._store.read(queue, slot, limits.read_ahead, limits.read_ahead_bytes)
                    if queue.slots.opened is slot:
                        self._offer(queue, slot, messages, known)
        finally:
            queue.slots.end_reading()
            self._reads.pop(queue.queue_id, None)
        self._on_done(queue)

    def _offer(self, queue: Queue, slot: Slot, messages: list[Message], known: Set[int]) -> None:
        """Give the queue what was read, but for those that it knew before: the rows of dead ones go with what they
        become, and others of a queue with groups are in memory or with clients.
        """
        fresh = [message for message in messages if message.id not in known] if known else messages
        is_end = queue.slots.on_read(slot, messages, fresh)
        self._on_read(queue, slot, messages, is_end)
        queue.slots.offer(fresh)
