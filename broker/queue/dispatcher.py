"""Decides which consumer of a queue on this node gets the next message: its consumers take turns.

A consumer that has no credit when its turn comes rests: it is not asked again until it may have some (`wake`). So what
a message costs does not depend on how many consumers there are.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Protocol

from broker.message import Message


class QueueConsumer(Protocol):
    """What a queue asks of a consumer."""

    is_resting: bool
    """Is the consumer passed over until `Queue.wake`? Set by the queue alone."""

    @property
    def is_exclusive(self) -> bool:
        """Has the client asked to be the queue's only consumer?"""
        ...

    def take(self, ready: deque[Message], limit: int) -> int:
        """Deliver up to `limit` messages from the left of `ready`, as far as credit and output buffer reach.

        Return how many were taken, after telling the queue by `on_taken`. Fewer than `limit` while `ready` is not empty
        means that the consumer has no credit now; `Queue.wake` is called when it may have some again.
        """
        ...

    def can_take(self) -> bool:
        """Would `take` deliver a message now? If not, `Queue.wake` is called when it might."""
        ...

    def on_queue_deleted(self) -> None:
        """The queue was deleted: drop it, and tell the client that the consumer is cancelled."""
        ...


class Dispatcher:
    """The consumers of one queue on this node."""

    __slots__ = ("_gone", "_is_single", "_turns", "consumers", "is_active", "was_used")

    def __init__(self, *, is_single: bool) -> None:
        """`is_single`: of all consumers on all nodes, only the one that came first gets messages."""
        self._is_single = is_single
        # In the order in which they came. The ordered one finds its first at once, however many have left before it.
        self.consumers: dict[QueueConsumer, None] = OrderedDict() if is_single else {}
        self._turns: deque[QueueConsumer] = deque()
        """The consumers that do not rest, the next one first, and `_gone` others that have left."""
        self._gone = 0
        self.is_active = True
        """With `is_single`: is the single active consumer on this node?"""
        self.was_used = False
        """Has the queue ever had a consumer on this node?"""

    def add(self, consumer: QueueConsumer) -> None:
        """Add a consumer; it takes part from the next dispatch on."""
        self.consumers[consumer] = None
        self.was_used = True
        consumer.is_resting = False
        if not self._is_single:
            self._turns.append(consumer)

    def remove(self, consumer: QueueConsumer) -> None:
        """Remove a consumer, if it is there."""
        if consumer in self.consumers:
            del self.consumers[consumer]
            if not (consumer.is_resting or self._is_single):
                self._gone += 1
                if self._gone > len(self.consumers):
                    self._forget_gone()

    def remove_all(self) -> list[QueueConsumer]:
        """Remove and return all consumers."""
        consumers = list(self.consumers)
        self.consumers.clear()
        self._turns.clear()
        self._gone = 0
        return consumers

    def wake(self, consumer: QueueConsumer) -> None:
        """Let a consumer that rests take its turn again, after all that wait for theirs."""
        if consumer.is_resting and consumer in self.consumers:
            consumer.is_resting = False
            self._turns.append(consumer)

    def _forget_gone(self) -> None:
        waiting = [consumer for consumer in self._turns if consumer in self.consumers]
        self._turns.clear()
        self._turns.extend(waiting)
        self._gone = 0

    @property
    def is_in_exclusive_use(self) -> bool:
        """Has the only consumer asked to be the only one?"""
        return len(self.consumers) == 1 and next(iter(self.consumers)).is_exclusive

    @property
    def has_takers(self) -> bool:
        """Are there consumers that get messages as soon as they have credit?"""
        return bool(self.consumers) and (self.is_active or not self._is_single)

    def has_credit(self) -> bool:
        """Would any of the consumers take a message now?"""
        if self._is_single:
            return self.has_takers and next(iter(self.consumers)).can_take()
        if self._gone:
            self._forget_gone()
        turns = self._turns
        while turns:
            if turns[0].can_take():
                return True
            turns.popleft().is_resting = True
        return False

    def share_out(self, ready: deque[Message]) -> bool:
        """Give `ready` to the consumers that have credit, one message each in turn; False when there is nobody to ask.

        Hot.
        """
        if self._is_single:
            if self.has_takers:
                next(iter(self.consumers)).take(ready, len(ready))
            return self.has_takers
        if self._gone:
            self._forget_gone()
        turns = self._turns
        if not turns:
            return False
        while len(turns) > 1 and ready:
            if turns[0].take(ready, 1):
                turns.rotate(-1)
            else:
                turns.popleft().is_resting = True
        if ready:
            turns[0].take(ready, len(ready))
        return True
