"""Checks of passwords that wait for a thread: sources have turns, and whoever floods the queue loses what is in it.

Pure. Each source has its own line. When the queue is full, the newest item of the longest line makes room.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from typing import Generic, TypeVar

_Item = TypeVar("_Item")


class CheckQueue(Generic[_Item]):
    """Items of many sources, at most `limit` together."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lines: OrderedDict[str, deque[_Item]] = OrderedDict()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def put(self, source: str, item: _Item) -> _Item | None:
        """Put an item in; return the one that has no place any more, which may be the same."""
        displaced = None
        if self._count >= self._limit:
            longest = max(self._lines, key=lambda name: len(self._lines[name]))
            if len(self._lines[longest]) <= len(self._lines.get(source, ())) + 1:
                return item
            displaced = self._lines[longest].pop()
            self._count -= 1
        self._lines.setdefault(source, deque()).append(item)
        self._count += 1
        return displaced

    def take(self) -> _Item:
        """Return the oldest item of the source whose turn it is. Raises KeyError when there is none."""
        source, line = self._lines.popitem(last=False)
        item = line.popleft()
        if line:
            self._lines[source] = line
        self._count -= 1
        return item

    def drain(self) -> Iterator[_Item]:
        """Take everything."""
        while self._count:
            yield self.take()
