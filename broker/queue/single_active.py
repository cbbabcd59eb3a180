"""The consumers of a queue of which only one gets messages, on all nodes together (contract F11).

Which node it is on, `topology/consumers.py` decides. On this node it is the one of the highest priority, of several the
one that came first. When another comes that has a higher priority, a quorum queue hands over to it, once what the
active one holds is settled or given back; a classic one waits until the active one goes.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import OrderedDict, deque

from broker.message import Message
from broker.queue.dispatcher import QueueConsumer


class SingleActive:
    """The consumers of one queue on this node, and which of them is the active one."""

    __slots__ = ("_active", "_is_preemptive", "_levels", "_priorities", "consumers", "is_active", "was_used")

    def __init__(self, *, is_preemptive: bool) -> None:
        """`is_preemptive`: does the active consumer give way to one of a higher priority?"""
        self._is_preemptive = is_preemptive
        self.consumers: dict[QueueConsumer, None] = {}
        # The ordered ones find their first at once, however many have left before it.
        self._levels: dict[int, OrderedDict[QueueConsumer, None]] = {}
        self._priorities: list[int] = []
        """The priorities of `_levels`, ascending."""
        self._active: QueueConsumer | None = None
        self.is_active = True
        self.was_used = False

    @property
    def active(self) -> QueueConsumer | None:
        """The active one, if it is on this node."""
        return self._active if self.is_active else None

    def add(self, consumer: QueueConsumer) -> None:
        self.consumers[consumer] = None
        self.was_used = True
        consumer.is_resting = False
        level = self._levels.get(consumer.priority)
        if level is None:
            level = self._levels[consumer.priority] = OrderedDict()
            insort(self._priorities, consumer.priority)
        level[consumer] = None
        if self._active is None:
            self._active = consumer

    def remove(self, consumer: QueueConsumer) -> bool:
        if consumer not in self.consumers:
            return False
        del self.consumers[consumer]
        level = self._levels[consumer.priority]
        del level[consumer]
        if not level:
            del self._levels[consumer.priority]
            del self._priorities[bisect_left(self._priorities, consumer.priority)]
        if consumer is not self._active:
            return False
        self._active = self._first()
        return True

    def remove_all(self) -> list[QueueConsumer]:
        consumers = list(self.consumers)
        for members in (self.consumers, self._levels, self._priorities):
            members.clear()
        self._active = None
        return consumers

    def wake(self, consumer: QueueConsumer) -> None:
        """Nothing to do: no consumer rests, as only one is ever asked."""

    def wake_next(self, consumer: QueueConsumer) -> None:
        """Nothing to do, likewise."""

    @property
    def is_in_exclusive_use(self) -> bool:
        return False

    @property
    def has_takers(self) -> bool:
        return self.is_active and bool(self.consumers)

    @property
    def has_priorities(self) -> bool:
        return False

    def has_credit(self) -> bool:
        active = self._find_active()
        return active is not None and active.can_take()

    def room(self, limit: int) -> int:
        active = self._find_active()
        return 0 if active is None else max(active.room(limit), 0)

    @property
    def priority(self) -> int:
        return 0 if self._active is None else self._active.priority

    def share_out(self, ready: deque[Message]) -> bool:
        """Give `ready` to the active consumer, as far as it has credit; False when there is nobody to ask. Hot."""
        active = self._find_active()
        if active is None:
            return False
        active.take(ready, len(ready))
        return True

    def _find_active(self) -> QueueConsumer | None:
        """Return who gets messages now; nobody does while the active consumer is to give way and holds some."""
        active = self._active
        if active is None or not self.is_active:
            return None
        if self._is_preemptive and active.priority < self._priorities[-1]:
            if active.unacked:
                return None
            active = self._active = self._first()
        return active

    def _first(self) -> QueueConsumer | None:
        return next(iter(self._levels[self._priorities[-1]])) if self._priorities else None
