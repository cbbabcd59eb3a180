"""The consumers of a queue that limits its deliveries, or has message groups: they get as many messages as its
`DeliveryAllowance` leaves.

One node of a cluster gives out the messages of such a queue (ADR 84).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection

from broker.message import Message
from broker.queue.dispatcher import Dispatching, QueueConsumer
from broker.queue.pace import DeliveryAllowance


class Metered:
    """The consumers on this node, and what they may have together."""

    __slots__ = ("_is_active", "allowance", "turns")

    def __init__(self, turns: Dispatching, allowance: DeliveryAllowance) -> None:
        """`turns` has the consumers."""
        self.turns = turns
        self.allowance = allowance
        self._is_active = True

    @property
    def is_active(self) -> bool:
        """Is it this node that gives out the queue's messages?"""
        return self._is_active and self.turns.is_active

    @is_active.setter
    def is_active(self, is_active: bool) -> None:
        self._is_active = self.turns.is_active = is_active

    @property
    def was_used(self) -> bool:
        return self.turns.was_used

    @was_used.setter
    def was_used(self, was_used: bool) -> None:
        self.turns.was_used = was_used

    @property
    def consumers(self) -> Collection[QueueConsumer]:
        return self.turns.consumers

    @property
    def is_in_exclusive_use(self) -> bool:
        return self.turns.is_in_exclusive_use

    @property
    def has_takers(self) -> bool:
        return self._is_active and self.turns.has_takers

    @property
    def has_priorities(self) -> bool:
        return self.turns.has_priorities

    @property
    def priority(self) -> int:
        return self.turns.priority

    def add(self, consumer: QueueConsumer) -> None:
        self.turns.add(consumer)

    def remove(self, consumer: QueueConsumer) -> bool:
        return self.turns.remove(consumer)

    def remove_all(self) -> list[QueueConsumer]:
        return self.turns.remove_all()

    def wake(self, consumer: QueueConsumer) -> None:
        self.turns.wake(consumer)

    def wake_next(self, consumer: QueueConsumer) -> None:
        self.turns.wake_next(consumer)

    def has_credit(self) -> bool:
        return self._is_active and self.turns.has_credit() and self.allowance.room(1) > 0

    def room(self, limit: int) -> int:
        return self.turns.room(self.allowance.room(limit)) if self._is_active else 0

    def share_out(self, ready: deque[Message]) -> bool:
        """Give as much of `ready` to the consumers that have credit as they may have; False when nobody is asked."""
        if not self._is_active:
            return False
        was_anybody = False
        while ready and self.turns.has_credit() and (room := self.allowance.room(len(ready))) > 0:
            run = deque(ready.popleft() for _ in range(room))
            was_anybody |= self.turns.share_out(run)
            self.allowance.spend(room - len(run))
            ready.extendleft(reversed(run))
            if len(run) == room:
                break
        return was_anybody
