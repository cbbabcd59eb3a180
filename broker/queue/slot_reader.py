"""Brings the messages of slots into the memory of hungry queues: one task per queue that is being fed.

Knows the store's read and the queue's offer; decides nothing about order or credit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from broker.message import STORED, TRANSIENT, Message
from broker.ports.slot import Slot
from broker.ports.store import Journal, MessageStore, SlotCoordinator
from broker.queue.queue import Queue


class Feed:
    """Reads slots for queues whose consumers have credit and whose memory is empty."""

    def __init__(
        self,
        store: MessageStore,
        journal: Journal,
        slots: SlotCoordinator,
        tasks: asyncio.TaskGroup,
        on_fed: Callable[[Queue], None],
        on_read: Callable[[Queue, Slot, Sequence[Message], bool], None] | None = None,
    ) -> None:
        """`store` waits by itself while it is away. `on_fed` is called when a queue has got messages, or has none.

        In a cluster `on_read` is called with what was read of a slot, and whether that was its end; rows of transient
        messages are kept then until they are settled, because they may have to go to another node.
        """
        self._store = store
        self._journal = journal
        self._slots = slots
        self._tasks = tasks
        self._on_fed = on_fed
        self._on_read = on_read
        self._fills: dict[int, asyncio.Task[None]] = {}

    def start(self, queue: Queue) -> None:
        """Fill `queue` from its oldest slot; `queue.feeding` is set until that is done."""
        self._fills[queue.queue_id] = self._tasks.create_task(self._fill(queue), name=f"feed {queue.name}")

    async def wait(self, queue: Queue) -> None:
        """Return when the fill that is under way for `queue` is done."""
        task = self._fills.get(queue.queue_id)
        if task is not None:
            await asyncio.shield(task)

    async def _fill(self, queue: Queue) -> None:
        try:
            slot = queue.open_slot = queue.open_slot or self._slots.get(queue.queue_id)
            if slot is not None:
                if not slot.row:  # what came from another node was written before
                    await self._journal.flushed()
                if queue.open_slot is slot:  # not purged in the meantime
                    limits = queue.limits
                    messages = await self._store.read(queue, slot, limits.read_ahead, limits.read_ahead_bytes)
                    if queue.open_slot is slot:
                        self._deliver(queue, slot, messages)
        finally:
            queue.feeding = False
            self._fills.pop(queue.queue_id, None)
        self._on_fed(queue)

    def _deliver(self, queue: Queue, slot: Slot, messages: list[Message]) -> None:
        slot.count = max(slot.count - len(messages), 0)
        if not messages or messages[-1].id >= slot.end:
            queue.open_slot = None
        else:
            slot.start = messages[-1].id + 1
        for message in messages:
            if message.state == TRANSIENT:
                if self._on_read is None:
                    self._journal.forget(message)
                else:
                    message.state = STORED
        if self._on_read is not None:
            self._on_read(queue, slot, messages, queue.open_slot is None)
        queue.offer(messages)
