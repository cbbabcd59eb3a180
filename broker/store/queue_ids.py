"""Ids for new queues, taken from ranges that the store has reserved for this node."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from broker.ports.store import TopologyStore

_QUEUE_IDS_AHEAD: Final = 1000


class QueueIds:
    """Hands out queue ids one by one.

    Whoever takes the id after which few are left reserves the next range, once; the others go on meanwhile.
    """

    def __init__(self, store: TopologyStore, first: int, last: int) -> None:
        self._store = store
        self._ranges = deque([range(first, last + 1)] if first <= last else [])
        self._left = last - first + 1
        self._reserving = asyncio.Lock()

    async def take(self) -> int:
        """Return an id that no other queue of any node has."""
        while not self._left:
            await self._reserve()
        first = self._ranges.popleft()
        if len(first) > 1:
            self._ranges.appendleft(first[1:])
        self._left -= 1
        if self._left <= _QUEUE_IDS_AHEAD // 2 and not self._reserving.locked():
            await self._reserve()
        return first[0]

    async def _reserve(self) -> None:
        async with self._reserving:
            if self._left <= _QUEUE_IDS_AHEAD // 2:
                first, last = await self._store.reserve_queue_ids(_QUEUE_IDS_AHEAD)
                self._ranges.append(range(first, last + 1))
                self._left += last - first + 1
