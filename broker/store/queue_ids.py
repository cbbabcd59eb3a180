"""Ids for new queues, of which the store hands out whole ranges.

Knows the ranges; knows no queue.
"""

from __future__ import annotations

from typing import Final

from broker.ports.store import TopologyStore

_QUEUE_IDS_AHEAD: Final = 1000


class QueueIds:
    """Hands out queue ids from ranges the store has reserved."""

    def __init__(self, store: TopologyStore, first: int, last: int) -> None:
        self._store = store
        self._next = first
        self._last = last

    async def take(self) -> int:
        """Return an id that nobody else has."""
        while self._next > self._last:
            first, last = await self._store.reserve_queue_ids(_QUEUE_IDS_AHEAD)
            if self._next > self._last:  # another call may have brought a range in the meantime
                self._next, self._last = first, last
        taken = self._next
        self._next += 1
        return taken
