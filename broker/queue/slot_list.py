"""The slots of one queue that this node serves but does not read yet, oldest first."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from broker.ports.slot import Slot


class SlotList:
    """Slots in the order in which they are to be read; false when empty."""

    __slots__ = ("_slots", "count")

    def __init__(self) -> None:
        self._slots: deque[Slot] = deque()
        self.count = 0
        """Messages in all of these slots together."""

    def __len__(self) -> int:
        return len(self._slots)

    def __iter__(self) -> Iterator[Slot]:
        return iter(self._slots)

    @property
    def oldest(self) -> Slot | None:
        """The slot that is to be read next."""
        return self._slots[0] if self._slots else None

    def append(self, slot: Slot) -> None:
        """Add a slot that follows all others."""
        self._slots.append(slot)
        self.count += slot.count

    def extend(self, slot: Slot) -> None:
        """Add a slot that follows all others, as a part of the last one if that is of this node and lane, too."""
        last = self._slots[-1] if self._slots else None
        if (
            last is None
            or last.row
            or slot.row
            or last.lane != slot.lane
            or last.start > slot.start
            or not last.is_exact
        ):
            self.append(slot)
            return
        last.end, last.transient = slot.end, last.transient or slot.transient
        last.count += slot.count
        last.octets += slot.octets
        self.count += slot.count

    def insert(self, slot: Slot) -> None:
        """Add a slot before those of its lane that are newer."""
        newer = (index for index, each in enumerate(self._slots) if each.lane == slot.lane and each.start > slot.start)
        self._slots.insert(next(newer, len(self._slots)), slot)
        self.count += slot.count

    def take_oldest(self) -> Slot | None:
        """Remove and return the slot that is to be read next."""
        return self._taken(self._slots.popleft()) if self._slots else None

    def take_newest(self) -> Slot | None:
        """Remove and return the slot that would be read last."""
        return self._taken(self._slots.pop()) if self._slots else None

    def remove(self, slot: Slot) -> None:
        """Remove a slot that is here."""
        self._slots.remove(slot)
        self.count -= slot.count

    def promote(self, start: int) -> None:
        """Let the slot that begins at `start` be the oldest one, if there is one."""
        for slot in self._slots:
            if slot.start == start:
                self._slots.remove(slot)
                self._slots.appendleft(slot)
                return

    def clear(self) -> list[Slot]:
        """Remove and return all slots."""
        slots = list(self._slots)
        self._slots.clear()
        self.count = 0
        return slots

    def _taken(self, slot: Slot) -> Slot:
        self.count -= slot.count
        return slot
