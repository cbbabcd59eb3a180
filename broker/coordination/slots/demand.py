"""Which queues have demand on this node, and the session in which the coordinator is told so (ADR 19).

A session is a chain of long polls: the first one tells all the demand there is, the others what has changed. There is
one session at a time, with one coordinator. Pure: does no I/O and reads no clock; `runner` sends the polls.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Final, TypeAlias

from broker.backoff import Backoff
from broker.ports.cluster import SlotService
from broker.ports.peer_calls import Demand, Fence, QueueName, Supply
from broker.queue.queue import Queue

WAIT_MS: Final = 15_000
_BACKOFF: Final = Backoff(0.1, 1.0)
_CHANGES_PER_CALL: Final = 1000
_CALLS_AT_ONCE: Final = 2
"""The coordinator answers the older one as soon as it has the newer one."""

Coordinator: TypeAlias = tuple[SlotService | None, Fence]
"""Who is asked, None while nobody is known, and whose power the answers stand on."""


@dataclass(frozen=True, slots=True, eq=False)
class Poll:
    """Ask `coordinator` for slots; answer with `on_answered` or `on_failed`."""

    coordinator: Coordinator
    demands: Sequence[Demand]
    wait_ms: int
    is_first: bool = False
    """Does the call begin a session?"""
    session: int = 0
    """The session that it belongs to; the one before may have been with the same coordinator."""
    number: int = 0
    """Its place in the session."""


class DemandSession:
    """Keeps a session with whoever is the coordinator.

    The edge sends every `Poll` that `next_action` returns and reports its end. It calls again then, at
    `next_deadline`, and when `on_due` was called.
    """

    __slots__ = (
        "_asked",
        "_backoff",
        "_calls",
        "_changed",
        "_demand_size",
        "_failed",
        "_first_poll",
        "_heard",
        "_left",
        "_on_due",
        "_polls",
        "_queues",
        "_retry_at",
        "_session",
        "_sessions",
        "failing_since",
    )

    def __init__(self, demand_size: int, *, on_due: Callable[[], None]) -> None:
        """`demand_size` is how many messages of a queue are asked for at once."""
        self._demand_size = demand_size
        self._on_due = on_due
        self._queues: dict[int, Queue] = {}
        self._asked: dict[int, Demand] = {}  # by queue id, what was asked for, as it was
        self._left: dict[int, int] = {}  # what is still to come of what was asked for
        self._changed: dict[int, Demand] = {}
        self._session: Coordinator | None = None
        self._sessions = 0
        self._first_poll: Poll | None = None
        self._calls = 0  # under way
        self._polls = 0  # of this session
        self._heard = 0  # the number of the newest answer
        self._failed: Coordinator | None = None
        self._retry_at = inf
        self._backoff = _BACKOFF
        self.failing_since: float | None = None
        """Since when no coordinator has answered; None while one does."""

    # Demand

    def has_demand(self, queue_id: int) -> bool:
        """Are messages of this queue asked for? Hot."""
        return queue_id in self._queues

    def add(self, queue: Queue) -> None:
        """Consumers of `queue` would take messages from other nodes."""
        self._ask(queue, self._demand_size)

    def add_exactly(self, queue: Queue) -> None:
        """Consumers of `queue` would take messages from other nodes, but not more than they have credit for."""
        room = queue.turns.room(self._demand_size)
        self._ask(queue, room, queue.turns.priority)

    def _ask(self, queue: Queue, messages: int, priority: int = 0) -> None:
        self._queues[queue.queue_id] = queue
        self._left[queue.queue_id] = messages
        self._note(queue, messages, priority)
        self._asked[queue.queue_id] = self._changed[queue.queue_id]

    def withdraw(self, queue: Queue) -> None:
        """Nobody here would take messages of `queue` any more."""
        if self._queues.pop(queue.queue_id, None) is not None:
            self._left.pop(queue.queue_id, None)
            self._note(queue, 0)

    def on_granted(self, queue_id: int, messages: int) -> None:
        """So many of the messages that were asked for are here; the coordinator counts in the same way."""
        left = self._left.get(queue_id)
        if left is not None:
            self._left[queue_id] = left - messages
            if left <= messages:
                self._queues.pop(queue_id, None)
                del self._left[queue_id]

    @property
    def queues(self) -> list[Queue]:
        """The queues of which messages are asked for."""
        return list(self._queues.values())

    def _note(self, queue: Queue, messages: int, priority: int = 0) -> None:
        self._changed[queue.queue_id] = Demand(name_of(queue), messages, priority)
        self._on_due()

    # The session

    def is_with(self, coordinator: Coordinator) -> bool:
        """Is this the coordinator with whom the session is?"""
        return coordinator == self._session

    def next_deadline(self) -> float:
        """Return when `next_action` may be different although nothing was reported."""
        return self._retry_at if self._session is None else inf

    def next_action(self, now: float, coordinator: Coordinator) -> Poll | None:
        """Return the next call, if one is due; `coordinator` is who it is at this moment."""
        if self._first_poll is not None:
            return None
        if coordinator == self._failed and now < self._retry_at:
            return None
        if coordinator[0] is None:
            self._fail(coordinator, now)
            return None
        if coordinator != self._session:
            return self._begin(coordinator)
        if self._calls and (not self._changed or self._calls >= _CALLS_AT_ONCE):
            return None
        self._calls += 1
        self._polls += 1
        return Poll(coordinator, self._take_changes(), WAIT_MS, session=self._sessions, number=self._polls)

    def on_answered(self, poll: Poll, supply: Supply) -> bool:
        """The coordinator has answered; return whether the session is still the one of `poll`, and this its last word.

        An answer that a later one has overtaken ends the session: what it tells may not be so any more.
        """
        self._end(poll)
        if not self._is_of_session(poll):
            return False
        self._calls -= 1
        self._failed = None
        self.failing_since = None
        if supply.number and supply.number < self._heard:
            self._session = None
            return False
        self._heard = supply.number or self._heard
        return True

    def on_failed(self, poll: Poll, now: float) -> None:
        """The coordinator has not answered, or has refused to."""
        self._end(poll)
        if self._is_of_session(poll):
            self._fail(poll.coordinator, now)

    def _begin(self, coordinator: Coordinator) -> Poll:
        """Begin a session: tell everything. The first answer tells of slots that were granted whenever."""
        self._session = coordinator
        self._sessions += 1
        self._calls = 1
        self._polls = self._heard = 0
        self._asked = {queue_id: self._asked[queue_id] for queue_id in self._queues}
        self._left = {queue_id: demand.messages for queue_id, demand in self._asked.items()}
        demands = list(self._asked.values())
        self._changed = {demand.queue.queue_id: demand for demand in demands[_CHANGES_PER_CALL:]}
        self._first_poll = Poll(coordinator, demands[:_CHANGES_PER_CALL], 0, is_first=True, session=self._sessions)
        return self._first_poll

    def _take_changes(self) -> list[Demand]:
        return [self._changed.pop(queue_id) for queue_id in list(self._changed)[:_CHANGES_PER_CALL]]

    def _is_of_session(self, poll: Poll) -> bool:
        return self._session is not None and poll.session == self._sessions

    def _end(self, poll: Poll) -> None:
        if poll is self._first_poll:
            self._first_poll = None

    def _fail(self, coordinator: Coordinator, now: float) -> None:
        """Rest a while, longer each time; another coordinator is asked at once."""
        self._backoff = self._backoff.longer() if coordinator == self._failed else _BACKOFF
        self._session, self._failed = None, coordinator
        self._retry_at = now + self._backoff.delay
        if self.failing_since is None:
            self.failing_since = now


def name_of(queue: Queue) -> QueueName:
    """Return what nodes call the queue."""
    return QueueName(queue.name, queue.queue_id)
