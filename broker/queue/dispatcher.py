"""Decides which consumer of a queue on this node gets the next message: its consumers take turns."""

from __future__ import annotations

from collections import deque
from typing import Protocol

from broker.message import Message


class QueueConsumer(Protocol):
    """What a queue asks of a consumer."""

    @property
    def is_exclusive(self) -> bool:
        """Has the client asked to be the queue's only consumer?"""
        ...

    def take(self, ready: deque[Message], limit: int) -> int:
        """Deliver up to `limit` messages from the left of `ready`, as far as credit and output buffer reach.

        Return how many were taken, after telling the queue by `on_taken`. Fewer than `limit` while `ready` is not empty
        means that the consumer has no credit now.
        """
        ...

    def can_take(self) -> bool:
        """Would `take` deliver a message now?"""
        ...

    def on_queue_deleted(self) -> None:
        """The queue was deleted: drop it, and tell the client that the consumer is cancelled."""
        ...


class Dispatcher:
    """The consumers of one queue on this node."""

    __slots__ = ("_is_single", "consumers", "is_active", "was_used")

    def __init__(self, *, is_single: bool) -> None:
        """`is_single`: of all consumers on all nodes, only the one that came first gets messages."""
        self._is_single = is_single
        self.consumers: deque[QueueConsumer] = deque()
        self.is_active = True
        """With `is_single`: is the single active consumer on this node?"""
        self.was_used = False
        """Has the queue ever had a consumer on this node?"""

    def add(self, consumer: QueueConsumer) -> None:
        """Add a consumer; it takes part from the next dispatch on."""
        self.consumers.append(consumer)
        self.was_used = True

    def remove(self, consumer: QueueConsumer) -> None:
        """Remove a consumer, if it is there."""
        if consumer in self.consumers:
            self.consumers.remove(consumer)

    @property
    def takers(self) -> deque[QueueConsumer]:
        """The consumers that may get messages now."""
        if not self._is_single:
            return self.consumers
        return deque([self.consumers[0]] if self.is_active and self.consumers else ())

    def has_credit(self) -> bool:
        """Would any of the takers take a message now?"""
        return any(consumer.can_take() for consumer in self.takers)

    def share_out(self, ready: deque[Message]) -> bool:
        """Give `ready` to the takers that have credit, one message each in turn; False when there is no taker."""
        consumers = self.takers if self._is_single else self.consumers
        if len(consumers) == 1:
            consumers[0].take(ready, len(ready))
            return True
        if not consumers:
            return False
        without_credit = 0
        while ready and without_credit < len(consumers):
            consumer = consumers[0]
            consumers.rotate(-1)
            if consumer.take(ready, 1):
                without_credit = 0
            else:
                without_credit += 1
        return True
