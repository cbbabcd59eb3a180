"""What the queues of a node ask of it: the time, a call when something is due, and where dead messages go."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

from broker.clock import Clock
from broker.message import Message
from broker.ports.names import SCHEDULE
from broker.queue.due_reader import DueReader
from broker.queue.group_reader import GroupReader
from broker.queue.grouped_queue import GroupedQueue
from broker.queue.outcome import Outcome
from broker.queue.queue import Queue
from broker.server.timers import Timers
from broker.topology.dead_letters import DeadLetters
from broker.topology.firing import Firing

_MILLISECOND: Final = 0.001
_LOOK_AGAIN: Final = 0.5
"""Seconds until a node that may not act on messages looks again at what is due."""


class LiveServices:
    """The `QueueServices` of one incarnation of a node."""

    def __init__(
        self,
        clock: Clock,
        timers: Timers,
        *,
        wake: Callable[[Queue], None],
        spawn: Callable[[Coroutine[Any, Any, None]], None],
        delete_unused: Callable[[Queue], Coroutine[Any, Any, None]],
        may_act: Callable[[], bool],
        lease_margin: int,
    ) -> None:
        """`wake` dispatches a queue; `delete_unused` deletes one whose lease is over; `may_act` is whether this node
        may do anything to messages now.
        """
        self._clock = clock
        self._timers = timers
        self._wake = wake
        self._spawn = spawn
        self._delete_unused = delete_unused
        self._may_act = may_act
        self.lease_margin: Final = lease_margin
        self._deleting: set[Queue] = set()
        self.dead_letters: DeadLetters
        self.firing: Firing
        self.due_reader: DueReader
        self.group_reader: GroupReader

    def now_ms(self) -> int:
        return self._clock.wall_ms()

    def watch(self, queue: Queue) -> None:
        self._timers.watch(_Deadline(queue, self))

    def read_due(self, queue: Queue) -> None:
        self.due_reader.start(queue)

    def read_groups(self, queue: Queue) -> None:
        assert isinstance(queue, GroupedQueue)
        self.group_reader.start(queue)

    def bury(self, queue: Queue, messages: Sequence[Message], outcome: Outcome) -> None:
        if queue.name == SCHEDULE:
            self.firing.take(queue, messages)
        else:
            self.dead_letters.bury(queue, messages, outcome)

    def has_room(self, queue: Queue) -> bool:
        return self.firing.gate.has_room(queue) if queue.name == SCHEDULE else self.dead_letters.gate.has_room(queue)

    def deadline_of(self, queue: Queue) -> float | None:
        """Return when `on_due` is to be called for a queue, in monotonic seconds; None for never."""
        due = None if queue in self._deleting else queue.next_due()
        if due is None:
            return None
        now = self._clock.monotonic()
        deadline = now + (due - self._clock.wall_ms()) * _MILLISECOND
        return deadline if self._may_act() else max(deadline, now + _LOOK_AGAIN)

    def on_due(self, queue: Queue) -> None:
        """Do what is due in a queue, if this node may."""
        if not self._may_act():
            return
        if queue.is_lease_over(self.now_ms()):
            self._deleting.add(queue)
            self._spawn(self._delete(queue))
            return
        queue.on_time()
        self._wake(queue)

    async def _delete(self, queue: Queue) -> None:
        """Delete a queue; no other try begins meanwhile, however long the store takes."""
        try:
            await self._delete_unused(queue)
        finally:
            self._deleting.discard(queue)
            self.watch(queue)  # it may be in use again


class _Deadline:
    """The next deadline of a queue, as `Timers` asks for it: all that are made for one queue are equal."""

    __slots__ = ("_queue", "_services")

    def __init__(self, queue: Queue, services: LiveServices) -> None:
        self._queue = queue
        self._services = services

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Deadline) and other._queue is self._queue

    def __hash__(self) -> int:
        return hash(self._queue)

    def next_deadline(self) -> float | None:
        return self._services.deadline_of(self._queue)

    def on_time(self, now: float) -> None:
        self._services.on_due(self._queue)
