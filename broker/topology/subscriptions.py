"""Which incarnations of which nodes have consumers of a queue, in the order in which they came.

Knows what is recorded of subscriptions; knows no queue, no consumer and no rule about either.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from broker.ports.cluster_rows import Incarnation
from broker.ports.records import SubscriptionKey, SubscriptionRecord

_NOBODY: Final[Mapping[Incarnation, SubscriptionRecord]] = {}


class Subscriptions:
    """All subscriptions of one virtual host, those of this node too."""

    __slots__ = ("_by_queue",)

    def __init__(self) -> None:
        self._by_queue: dict[int, dict[Incarnation, SubscriptionRecord]] = {}

    def of(self, queue_id: int) -> Mapping[Incarnation, SubscriptionRecord]:
        """Return who consumes the queue, oldest first."""
        return self._by_queue.get(queue_id, _NOBODY)

    def __iter__(self) -> Iterator[SubscriptionRecord]:
        """Go through all of them, queue by queue."""
        for records in self._by_queue.values():
            yield from records.values()

    def add(self, record: SubscriptionRecord) -> None:
        """Note a subscription; one that is there already keeps its place."""
        self._by_queue.setdefault(record.queue_id, {})[incarnation_of(record)] = record

    def remove(self, queue_id: int, incarnation: Incarnation) -> None:
        """Forget a subscription, if there is one."""
        records = self._by_queue.get(queue_id)
        if records is not None:
            records.pop(incarnation, None)
            if not records:
                del self._by_queue[queue_id]

    def forget(self, queue_id: int) -> None:
        """Forget everybody who consumed a queue that is gone."""
        self._by_queue.pop(queue_id, None)


def incarnation_of(subscription: SubscriptionRecord | SubscriptionKey) -> Incarnation:
    """Return in which incarnation of which node the consumers are."""
    return Incarnation(subscription.node_id, subscription.incarnation)
