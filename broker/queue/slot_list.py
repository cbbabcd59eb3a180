"""The slots of one node that is alone: the coordinator as a local object (design §3).

Knows slots and their order; knows no queue, no message and no database.
"""

from __future__ import annotations

from collections import deque

from broker.ports.slot import Slot


class LocalSlotCoordinator:
    """Keeps every slot that nobody serves yet, oldest first per queue."""

    __slots__ = ("_counts", "_slots")

    def __init__(self) -> None:
        self._slots: dict[int, deque[Slot]] = {}
        self._counts: dict[int, int] = {}

    def submit(self, slot: Slot, *, in_order: bool = False) -> None:
        """Add a slot that follows every earlier one of its queue, or `in_order` goes before newer ones of its lane."""
        slots = self._slots.setdefault(slot.queue_id, deque())
        newer = (index for index, each in enumerate(slots) if each.lane == slot.lane and each.start > slot.start)
        index = next(newer, None) if in_order else None
        if index is None:
            slots.append(slot)
        else:
            slots.insert(index, slot)
        self._counts[slot.queue_id] = self._counts.get(slot.queue_id, 0) + slot.count

    def get(self, queue_id: int, *, newest: bool = False) -> Slot | None:
        """Take the oldest slot of the queue, or the newest one."""
        slots = self._slots.get(queue_id)
        if not slots:
            return None
        slot = slots.pop() if newest else slots.popleft()
        self._counts[queue_id] -= slot.count
        if not slots:
            self.forget(queue_id)
        return slot

    def count(self, queue_id: int) -> int:
        """Return how many messages wait in slots of the queue."""
        return self._counts.get(queue_id, 0)

    def forget(self, queue_id: int) -> list[Slot]:
        """Drop all slots of the queue and return them."""
        self._counts.pop(queue_id, None)
        return list(self._slots.pop(queue_id, ()))
