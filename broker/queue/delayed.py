"""Messages that were given back and come again after a delay. Reads no clock: callers pass the time."""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heappop, heappush
from itertools import islice
from typing import Final

from broker.message import Message

AT_ONCE: Final = 1000
"""Messages that come again in one turn of the loop: all of a queue may be due in the same moment."""


class Delayed:
    """The messages of one queue that wait, of at most `limit` octets of memory."""

    __slots__ = ("_heap", "_limit", "_octets")

    def __init__(self, limit: int) -> None:
        self._heap: list[tuple[int, int, Message]] = []
        self._octets = 0
        self._limit = limit

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, message: Message, ready_at: int) -> None:
        """Keep `message` until `ready_at`, in milliseconds."""
        heappush(self._heap, (ready_at, message.id, message))
        self._octets += message.weight

    @property
    def ids(self) -> Iterator[int]:
        """The ids of all messages that wait, in no order."""
        return (message_id for _, message_id, _ in self._heap)

    def next_due(self) -> int | None:
        """Return when the next message has waited long enough, in milliseconds."""
        return self._heap[0][0] if self._heap else None

    def take_due(self, now_ms: int) -> list[Message]:
        """Remove and return what has waited long enough, and what there is no room for, the next one first: `AT_ONCE`
        messages at most.
        """
        return list(islice(self._take(now_ms), AT_ONCE))

    def take_all(self) -> list[Message]:
        """Remove and return everything."""
        return list(self._take(1 << 63))

    def _take(self, now_ms: int) -> Iterator[Message]:
        while self._heap and (self._heap[0][0] <= now_ms or self._octets > self._limit):
            message = heappop(self._heap)[2]
            self._octets -= message.weight
            yield message
