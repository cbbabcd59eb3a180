"""The consumers of a queue of which some on other nodes may have a higher priority, and come first then (contract B17).

While another node asks for messages for a consumer of a higher priority, those of lower ones are out of dispatch here.
"""

from __future__ import annotations

from collections import deque

from broker.message import Message
from broker.queue.dispatcher import Dispatching, QueueConsumer


class Yielding:
    """The consumers on this node, of which some may have to wait for others elsewhere."""

    __slots__ = ("_floor", "_floors", "_turns", "consumers", "is_active", "was_used")

    def __init__(self, turns: Dispatching) -> None:
        """`turns` has the consumers up to now, and those that need not wait from now on."""
        self._turns = turns
        self.consumers: dict[QueueConsumer, None] = dict.fromkeys(turns.consumers)
        self._floors: dict[int, int] = {}
        self._floor: int | None = None
        self.is_active = True
        self.was_used = turns.was_used

    def give_way(self, queue_id: int, priority: int | None) -> bool:
        """Let nobody below `priority` have messages, because others want those of the queue, or level of one, with this
        storage id; with None, they do not any more. Return whether anybody waits no longer.
        """
        if priority is None:
            self._floors.pop(queue_id, None)
        else:
            self._floors[queue_id] = priority
        self._floor = max(self._floors.values(), default=None)
        has_woken = False
        for consumer in self.consumers:
            is_in_turn = consumer in self._turns.consumers
            if self._must_wait(consumer) and is_in_turn:
                self._turns.remove(consumer)
                consumer.is_resting = True
            elif not (self._must_wait(consumer) or is_in_turn):
                self._turns.add(consumer)
                has_woken = True
        return has_woken

    def lie_around(self, turns: Dispatching) -> None:
        """Others decide from now on among those that do not wait."""
        self._turns = turns

    def end(self) -> Dispatching:
        """Nobody waits for consumers elsewhere any more: return who has all consumers from now on."""
        self._floor = None
        for consumer in self.consumers:
            if consumer not in self._turns.consumers:
                self._turns.add(consumer)
        return self._turns

    def _must_wait(self, consumer: QueueConsumer) -> bool:
        return self._floor is not None and consumer.priority < self._floor

    def add(self, consumer: QueueConsumer) -> None:
        self.consumers[consumer] = None
        self.was_used = True
        if self._must_wait(consumer):
            consumer.is_resting = True
        else:
            self._turns.add(consumer)

    def remove(self, consumer: QueueConsumer) -> bool:
        self.consumers.pop(consumer, None)
        return self._turns.remove(consumer)

    def remove_all(self) -> list[QueueConsumer]:
        consumers = list(self.consumers)
        self.consumers.clear()
        self._turns.remove_all()
        return consumers

    def wake(self, consumer: QueueConsumer) -> None:
        self._turns.wake(consumer)

    def wake_next(self, consumer: QueueConsumer) -> None:
        self._turns.wake_next(consumer)

    @property
    def is_in_exclusive_use(self) -> bool:
        return len(self.consumers) == 1 and next(iter(self.consumers)).is_exclusive

    @property
    def has_takers(self) -> bool:
        return self._turns.has_takers

    @property
    def has_priorities(self) -> bool:
        return self._turns.has_priorities

    def has_credit(self) -> bool:
        return self._turns.has_credit()

    def room(self, limit: int) -> int:
        return self._turns.room(limit)

    @property
    def priority(self) -> int:
        return self._turns.priority

    def share_out(self, ready: deque[Message]) -> bool:
        return self._turns.share_out(ready)
