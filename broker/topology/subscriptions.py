"""The subscriptions of a virtual host: which incarnations of which nodes have consumers of a queue, oldest first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from broker.ports.cluster_rows import Incarnation
from broker.ports.records import SubscriptionKey, SubscriptionRecord

_NOBODY: Final[Mapping[Incarnation, SubscriptionRecord]] = {}


class Subscriptions:
    """All subscriptions of one virtual host, including this node's."""

    __slots__ = ("_by_queue",)

    def __init__(self) -> None:
        self._by_queue: dict[int, dict[Incarnation, SubscriptionRecord]] = {}

    def of(self, queue_id: int) -> Mapping[Incarnation, SubscriptionRecord]:
        """Return the subscriptions to a queue, oldest first."""
        return self._by_queue.get(queue_id, _NOBODY)

    def __iter__(self) -> Iterator[SubscriptionRecord]:
        """Iterate over all subscriptions, queue by queue."""
        for records in self._by_queue.values():
            yield from records.values()

    def add(self, record: SubscriptionRecord) -> None:
        """Add a subscription; one that exists already keeps its place."""
        self._by_queue.setdefault(record.queue_id, {})[incarnation_of(record)] = record

    def remove(self, queue_id: int, incarnation: Incarnation) -> None:
        """Remove a subscription, if there is one."""
        records = self._by_queue.get(queue_id)
        if records is not None:
            records.pop(incarnation, None)
            if not records:
                del self._by_queue[queue_id]

    def forget(self, queue_id: int) -> None:
        """Remove all subscriptions to a deleted queue."""
        self._by_queue.pop(queue_id, None)


def incarnation_of(subscription: SubscriptionRecord | SubscriptionKey) -> Incarnation:
    """Return the incarnation whose consumers a subscription stands for."""
    return Incarnation(subscription.node_id, subscription.incarnation)
