"""What the queues of a node ask of it: the time, a call when something is due, and where dead messages go."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

from broker.clock import Clock
from broker.message import Message
from broker.queue.due_reader import DueReader
from broker.queue.outcome import Outcome
from broker.queue.queue import Queue
from broker.server.timers import Timers
from broker.topology.dead_letters import DeadLetters

_MILLISECOND: Final = 0.001


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
        self.dead_letters: DeadLetters
        self.due_reader: DueReader

    def now_ms(self) -> int:
        return self._clock.wall_ms()

    def watch(self, queue: Queue) -> None:
        self._timers.watch(_Deadline(queue, self._clock, self._on_due))

    def read_due(self, queue: Queue) -> None:
        self.due_reader.start(queue)

    def bury(self, queue: Queue, messages: Sequence[Message], outcome: Outcome) -> None:
        self.dead_letters.bury(queue, messages, outcome)

    def has_room(self, queue: Queue) -> bool:
        return self.dead_letters.has_room(queue)

    def _on_due(self, queue: Queue) -> None:
        if not self._may_act():
            return
        if queue.is_lease_over(self.now_ms()):
            self._spawn(self._delete_unused(queue))
        else:
            queue.on_time()
            self._wake(queue)


class _Deadline:
    """The next deadline of a queue, as `Timers` asks for it: all that are made for one queue are equal."""

    __slots__ = ("_clock", "_on_due", "_queue")

    def __init__(self, queue: Queue, clock: Clock, on_due: Callable[[Queue], None]) -> None:
        self._queue = queue
        self._clock = clock
        self._on_due = on_due

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Deadline) and other._queue is self._queue

    def __hash__(self) -> int:
        return hash(self._queue)

    def next_deadline(self) -> float | None:
        due = self._queue.next_due()
        if due is None:
            return None
        return self._clock.monotonic() + (due - self._clock.wall_ms()) * _MILLISECOND

    def on_time(self, now: float) -> None:
        self._on_due(self._queue)
