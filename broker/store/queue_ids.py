"""Ids for new queues, taken from ranges that the store has reserved for this node."""

from __future__ import annotations

from typing import Final

from broker.ports.store import TopologyStore

_QUEUE_IDS_AHEAD: Final = 1000


class QueueIds:
    """Hands out queue ids one by one, and reserves the next range when the last one is used up."""

    def __init__(self, store: TopologyStore, first: int, last: int) -> None:
        self._store = store
        self._next = first
        self._last = last

    async def take(self) -> int:
        """Return an id that no other queue of any node has."""
        while self._next > self._last:
            first, last = await self._store.reserve_queue_ids(_QUEUE_IDS_AHEAD)
            if self._next > self._last:  # another call may have brought a range in the meantime
                self._next, self._last = first, last
        taken = self._next
        self._next += 1
        return taken
