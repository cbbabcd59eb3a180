"""Sums the counts that nodes report of each queue: ready messages, consumers, octets; and knows who used it last."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from heapq import nlargest
from typing import Final, TypeAlias

from broker.ports.cluster_rows import Incarnation
from broker.ports.peer_calls import QueueCount

_COUNTS_PER_ANSWER: Final = 10_000
_Sums: TypeAlias = tuple[int, int, int]
"""Ready messages, consumers, and octets of the messages."""
_NONE: Final[_Sums] = (0, 0, 0)


class QueueCounts:
    """The last counts that every living node reported."""

    __slots__ = ("_counts", "_sums", "_used")

    def __init__(self) -> None:
        self._counts: dict[Incarnation, dict[int, _Sums]] = {}
        self._sums: dict[int, _Sums] = {}
        self._used: dict[Incarnation, dict[int, int]] = {}
        """When clients of each node used queues with a lease last."""

    def note(self, incarnation: Incarnation, counts: Iterable[QueueCount]) -> None:
        """Replace the counts that `incarnation` reported before."""
        self.drop(incarnation)
        self._counts[incarnation] = {}
        used = self._used[incarnation] = {}
        for count in counts:
            if count.used_at:
                used[count.queue_id] = max(count.used_at, used.get(count.queue_id, 0))
            reported = count.ready, count.consumers, count.octets
            before = self._counts[incarnation].get(count.queue_id, _NONE)
            self._counts[incarnation][count.queue_id] = _sum(before, reported)
            self._add(count.queue_id, reported)

    def grant(self, incarnation: Incarnation, queue_id: int, messages: int) -> None:
        """`incarnation` has got so many messages that were free; it will count them itself when it reports next."""
        counts = self._counts.get(incarnation)
        if counts is not None:
            granted = messages, 0, 0
            counts[queue_id] = _sum(counts.get(queue_id, _NONE), granted)
            self._add(queue_id, granted)

    def drop(self, incarnation: Incarnation) -> None:
        """Forget the counts of `incarnation`."""
        self._used.pop(incarnation, None)
        for queue_id, reported in self._counts.pop(incarnation, {}).items():
            self._add(queue_id, reported, -1)

    def elsewhere(self, incarnation: Incarnation, free: Iterable[tuple[int, int]]) -> Sequence[QueueCount]:
        """Return the sums over all other incarnations and over `free` messages, for queues that have any there.

        If these are too many for one answer, those with the most messages are returned.
        """
        own = self._counts.get(incarnation, {})
        unowned, used = dict(free), self._used_elsewhere(incarnation)
        counts = []
        for queue_id in self._sums.keys() | unowned.keys() | used.keys():
            here = own.get(queue_id, _NONE)
            ready, consumers, octets = _sum(self._sums.get(queue_id, _NONE), here, -1)
            ready += unowned.get(queue_id, 0)
            count = QueueCount(queue_id, ready, consumers, used.get(queue_id, 0), octets)
            if count.ready or count.consumers or count.used_at:
                counts.append(count)
        if len(counts) > _COUNTS_PER_ANSWER:
            return nlargest(_COUNTS_PER_ANSWER, counts, key=_size)
        return counts

    def _used_elsewhere(self, incarnation: Incarnation) -> dict[int, int]:
        latest: dict[int, int] = {}
        for other, used in self._used.items():
            if other != incarnation:
                for queue_id, used_at in used.items():
                    latest[queue_id] = max(used_at, latest.get(queue_id, 0))
        return latest

    def _add(self, queue_id: int, reported: _Sums, sign: int = 1) -> None:
        after = _sum(self._sums.pop(queue_id, _NONE), reported, sign)
        if after != _NONE:
            self._sums[queue_id] = after


def _sum(one: _Sums, other: _Sums, sign: int = 1) -> _Sums:
    return one[0] + sign * other[0], one[1] + sign * other[1], one[2] + sign * other[2]


def _size(count: QueueCount) -> tuple[int, int]:
    return count.ready, count.consumers
