"""Sums the counts that nodes report of each queue: ready messages and consumers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from heapq import nlargest
from typing import Final

from broker.ports.cluster_rows import Incarnation
from broker.ports.peer_calls import QueueCount

_COUNTS_PER_ANSWER: Final = 10_000


class QueueCounts:
    """The last counts that every living node reported."""

    __slots__ = ("_counts", "_sums")

    def __init__(self) -> None:
        self._counts: dict[Incarnation, dict[int, tuple[int, int]]] = {}
        self._sums: dict[int, tuple[int, int]] = {}

    def note(self, incarnation: Incarnation, counts: Iterable[QueueCount]) -> None:
        """Replace the counts that `incarnation` reported before."""
        self.drop(incarnation)
        self._counts[incarnation] = {}
        for count in counts:
            ready, consumers = self._counts[incarnation].get(count.queue_id, (0, 0))
            self._counts[incarnation][count.queue_id] = (ready + count.ready, consumers + count.consumers)
            self._add(count.queue_id, count.ready, count.consumers)

    def drop(self, incarnation: Incarnation) -> None:
        """Forget the counts of `incarnation`."""
        for queue_id, (ready, consumers) in self._counts.pop(incarnation, {}).items():
            self._add(queue_id, -ready, -consumers)

    def elsewhere(self, incarnation: Incarnation, free: Iterable[tuple[int, int]]) -> Sequence[QueueCount]:
        """Return the sums over all other incarnations and over `free` messages, for queues that have any there.

        If these are too many for one answer, those with the most messages are returned.
        """
        own = self._counts.get(incarnation, {})
        unowned = dict(free)
        counts = []
        for queue_id in self._sums.keys() | unowned.keys():
            ready, consumers = self._sums.get(queue_id, (0, 0))
            own_ready, own_consumers = own.get(queue_id, (0, 0))
            count = QueueCount(queue_id, ready - own_ready + unowned.get(queue_id, 0), consumers - own_consumers)
            if count.ready or count.consumers:
                counts.append(count)
        if len(counts) > _COUNTS_PER_ANSWER:
            return nlargest(_COUNTS_PER_ANSWER, counts, key=_size)
        return counts

    def _add(self, queue_id: int, ready: int, consumers: int) -> None:
        before = self._sums.pop(queue_id, (0, 0))
        after = before[0] + ready, before[1] + consumers
        if after != (0, 0):
            self._sums[queue_id] = after


def _size(count: QueueCount) -> tuple[int, int]:
    return count.ready, count.consumers
