"""Sums the counts that nodes report of each queue: ready messages and consumers; and knows who used it last."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from heapq import nlargest
from typing import Final

from broker.ports.cluster_rows import Incarnation
from broker.ports.peer_calls import QueueCount

_COUNTS_PER_ANSWER: Final = 10_000


class QueueCounts:
    """The last counts that every living node reported."""

    __slots__ = ("_counts", "_sums", "_used")

    def __init__(self) -> None:
        self._counts: dict[Incarnation, dict[int, tuple[int, int]]] = {}
        self._sums: dict[int, tuple[int, int]] = {}
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
            ready, consumers = self._counts[incarnation].get(count.queue_id, (0, 0))
            self._counts[incarnation][count.queue_id] = (ready + count.ready, consumers + count.consumers)
            self._add(count.queue_id, count.ready, count.consumers)

    def drop(self, incarnation: Incarnation) -> None:
        """Forget the counts of `incarnation`."""
        self._used.pop(incarnation, None)
        for queue_id, (ready, consumers) in self._counts.pop(incarnation, {}).items():
            self._add(queue_id, -ready, -consumers)

    def elsewhere(self, incarnation: Incarnation, free: Iterable[tuple[int, int]]) -> Sequence[QueueCount]:
        """Return the sums over all other incarnations and over `free` messages, for queues that have any there.

        If these are too many for one answer, those with the most messages are returned.
        """
        own = self._counts.get(incarnation, {})
        unowned, used = dict(free), self._used_elsewhere(incarnation)
        counts = []
        for queue_id in self._sums.keys() | unowned.keys() | used.keys():
            ready, consumers = self._sums.get(queue_id, (0, 0))
            own_ready, own_consumers = own.get(queue_id, (0, 0))
            ready += unowned.get(queue_id, 0) - own_ready
            count = QueueCount(queue_id, ready, consumers - own_consumers, used.get(queue_id, 0))
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

    def _add(self, queue_id: int, ready: int, consumers: int) -> None:
        before = self._sums.pop(queue_id, (0, 0))
        after = before[0] + ready, before[1] + consumers
        if after != (0, 0):
            self._sums[queue_id] = after


def _size(count: QueueCount) -> tuple[int, int]:
    return count.ready, count.consumers
