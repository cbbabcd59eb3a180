"""The queues that are exclusive to one connection, and their end with it (contract Q6)."""

from __future__ import annotations

from typing import Final

from broker.queue.queue import Queue
from broker.topology.vhost import VirtualHost

_MANY: Final = 16
"""When a connection has this many queues, the deleted ones among them are forgotten."""


class ExclusiveQueues:
    """Owner of the exclusive queues of one connection."""

    __slots__ = ("_is_over", "_limit", "_queues", "_vhost")

    def __init__(self, vhost: VirtualHost) -> None:
        self._vhost = vhost
        self._queues: set[Queue] = set()
        self._limit = _MANY
        self._is_over = False

    def __len__(self) -> int:
        return len(self._queues)

    async def add(self, queue: Queue) -> None:
        """Remember that `queue` ends with the connection, or delete it if that has ended already."""
        if self._is_over:
            await self._vhost.delete_exclusive([queue], self)
            return
        self._queues.add(queue)
        if len(self._queues) >= self._limit:
            self._queues = {kept for kept in self._queues if not kept.is_closing}
            self._limit = _MANY + 2 * len(self._queues)

    async def delete_all(self) -> None:
        """Delete the queues: the connection has ended."""
        self._is_over = True
        queues, self._queues = self._queues, set()
        if queues:
            await self._vhost.delete_exclusive(queues, self)
