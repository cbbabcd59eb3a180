"""Decides which consumer of a queue on this node gets the next message: those of the highest priority that have credit
take turns (contract B17, B29).

A consumer that has no credit when its turn comes rests: it is not asked again until it may have some (`wake`). So what
a message costs depends neither on how many consumers there are nor on how many priorities.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Collection
from itertools import chain
from typing import Protocol

from broker.message import Message


class QueueConsumer(Protocol):
    """What a queue asks of a consumer."""

    is_resting: bool
    """Is the consumer passed over until `QueueTurns.wake`? Set by the queue alone."""
    priority: int
    """Of those that have credit the highest come first."""
    unacked: int
    """How many deliveries the client has not settled or given back."""

    @property
    def is_exclusive(self) -> bool:
        """Has the client asked to be the queue's only consumer?"""
        ...

    def take(self, ready: deque[Message], limit: int) -> int:
        """Deliver up to `limit` messages from the left of `ready`, as far as credit and output buffer reach.

        Return how many were taken, after telling the queue by `on_taken`. Fewer than `limit` while `ready` is not empty
        means that the consumer has no credit now; `QueueTurns.wake` is called when it may have some again.
        """
        ...

    def can_take(self) -> bool:
        """Would `take` deliver a message now? If not, `QueueTurns.wake` is called when it might."""
        ...

    def room(self, limit: int) -> int:
        """Return how many of `limit` messages there is credit for now; that in the output buffer is not counted."""
        ...

    def on_queue_deleted(self) -> None:
        """The queue was deleted: drop it, and tell the client that the consumer is cancelled."""
        ...


class Dispatching(Protocol):
    """What a queue asks of whoever knows its consumers on this node: `Dispatcher`, or `SingleActive`."""

    is_active: bool
    """Is the single active consumer on this node? True where there is no such thing."""
    was_used: bool
    """Has the queue ever had a consumer on this node?"""

    @property
    def consumers(self) -> Collection[QueueConsumer]:
        """All of them, in the order in which they came."""
        ...

    @property
    def is_in_exclusive_use(self) -> bool:
        """Has the only consumer asked to be the only one?"""
        ...

    @property
    def has_takers(self) -> bool:
        """Are there consumers that get messages as soon as they have credit?"""
        ...

    @property
    def has_priorities(self) -> bool:
        """May one consumer with credit come before another?"""
        ...

    def add(self, consumer: QueueConsumer) -> None:
        """Add a consumer; it takes part from the next dispatch on."""

    def remove(self, consumer: QueueConsumer) -> bool:
        """Remove a consumer, if it is there; return whether it was the active one, of which there is only one."""
        ...

    def remove_all(self) -> list[QueueConsumer]:
        """Remove and return all consumers."""
        ...

    def wake(self, consumer: QueueConsumer) -> None:
        """Let a consumer that rests take its turn again, after all that wait for theirs."""

    def wake_next(self, consumer: QueueConsumer) -> None:
        """Let a consumer that rests take its turn again, before all that wait for theirs."""

    def has_credit(self) -> bool:
        """Would any of the consumers take a message now?"""
        ...

    def room(self, limit: int) -> int:
        """Return how many of `limit` messages the consumers that get messages now have credit for together."""
        ...

    @property
    def priority(self) -> int:
        """The highest priority of the consumers that have credit, if `has_credit` has just said that there are some."""
        ...

    def share_out(self, ready: deque[Message]) -> bool:
        """Give `ready` to the consumers that have credit; False when there is nobody to ask. Hot."""
        ...


class Dispatcher:
    """The consumers of one queue on this node, which take turns."""

    __slots__ = ("_gone", "_levels", "_priorities", "_unequal", "consumers", "is_active", "was_used")

    def __init__(self) -> None:
        self.consumers: dict[QueueConsumer, None] = {}
        self._priorities = [0]
        """The priorities of `_levels`, ascending: those of consumers that do not rest, and at least one."""
        self._levels: list[deque[QueueConsumer]] = [deque()]
        """The consumers that do not rest, by priority, the next one of each first, and `_gone` others that have left.
        """
        self._gone = 0
        self._unequal = 0
        """How many consumers have another priority than 0."""
        self.is_active = True
        self.was_used = False

    def add(self, consumer: QueueConsumer) -> None:
        self.consumers[consumer] = None
        self.was_used = True
        self._unequal += consumer.priority != 0
        consumer.is_resting = False
        self._level(consumer.priority).append(consumer)

    def remove(self, consumer: QueueConsumer) -> bool:
        if consumer in self.consumers:
            del self.consumers[consumer]
            self._unequal -= consumer.priority != 0
            if not consumer.is_resting:
                self._gone += 1
                if self._gone > len(self.consumers):
                    self._forget_gone()
        return False

    def remove_all(self) -> list[QueueConsumer]:
        consumers = list(self.consumers)
        self.consumers.clear()
        self._unequal = 0
        self._forget_gone()
        return consumers

    def wake(self, consumer: QueueConsumer) -> None:
        if consumer.is_resting and consumer in self.consumers:
            consumer.is_resting = False
            if consumer.priority == self._priorities[-1]:
                self._levels[-1].append(consumer)
            else:
                self._level(consumer.priority).append(consumer)

    def wake_next(self, consumer: QueueConsumer) -> None:
        if consumer.is_resting and consumer in self.consumers:
            consumer.is_resting = False
            self._level(consumer.priority).appendleft(consumer)

    def _level(self, priority: int) -> deque[QueueConsumer]:
        """Return the consumers of a priority that wait for their turn."""
        priorities = self._priorities
        place = bisect_left(priorities, priority)
        if priorities[place : place + 1] != [priority]:
            priorities.insert(place, priority)
            self._levels.insert(place, deque())
        return self._levels[place]

    def _leave_level(self) -> None:
        """Nobody of the highest level waits any more."""
        self._priorities.pop()
        self._levels.pop()

    def _forget_gone(self) -> None:
        waiting = [consumer for turns in self._levels for consumer in turns if consumer in self.consumers]
        self._gone = 0
        self._priorities[:] = [0]
        self._levels[:] = [deque()]
        for consumer in waiting:
            self._level(consumer.priority).append(consumer)

    @property
    def is_in_exclusive_use(self) -> bool:
        return len(self.consumers) == 1 and next(iter(self.consumers)).is_exclusive

    @property
    def has_takers(self) -> bool:
        return bool(self.consumers)

    @property
    def has_priorities(self) -> bool:
        return self._unequal > 0

    def has_credit(self) -> bool:
        if self._gone:
            self._forget_gone()
        while True:
            turns = self._levels[-1]
            while turns:
                if turns[0].can_take():
                    return True
                turns.popleft().is_resting = True
            if len(self._levels) == 1:
                return False
            self._leave_level()

    def room(self, limit: int) -> int:
        if self._gone:
            self._forget_gone()
        room = 0
        for consumer in chain.from_iterable(self._levels):
            if room >= limit:
                break
            room += max(consumer.room(limit - room), 0)
        return min(room, limit)

    @property
    def priority(self) -> int:
        return self._priorities[-1]

    def share_out(self, ready: deque[Message]) -> bool:
        """Give `ready` to the consumers that have credit, one message each in turn; those of a lower priority get what
        the higher ones leave. False when there is nobody to ask. Hot.
        """
        if self._gone:
            self._forget_gone()
        levels = self._levels
        was_anybody = False
        while True:
            turns = levels[-1]
            while len(turns) > 1 and ready:
                if turns[0].take(ready, 1):
                    turns.rotate(-1)
                else:
                    turns.popleft().is_resting = True
            if ready and turns:
                turns[0].take(ready, len(ready))
            if not ready or len(levels) == 1:
                return bool(turns) or was_anybody
            if turns:
                turns.popleft().is_resting = was_anybody = True
            self._leave_level()
