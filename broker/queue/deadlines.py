"""What of one queue waits for a time: the queue for its end, deliveries for an answer, returned messages for their next
delivery. When messages expire, `Expiry` knows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from broker.message import Message
from broker.queue.ack_deadlines import AckTimeouts, Holder, Span
from broker.queue.delayed import Delayed
from broker.queue.services import QueueServices
from broker.queue.settings import QueueSettings, RetryDelay

_NOTHING: Final = Delayed(0)
"""What waits in queues without a delay."""


class Deadlines:
    """The times that one queue waits for."""

    __slots__ = ("_answers", "_delayed", "_expires", "_services", "_used_at")

    def __init__(self, services: QueueServices[Any]) -> None:
        self._services = services  # of which only the clock is asked
        self._answers: AckTimeouts | None = None
        self._delayed = _NOTHING
        self._expires: int | None = None
        self._used_at = 0

    def set(self, settings: QueueSettings, delayed_octets: int) -> None:
        """This is what the queue is set to do from now on. At most `delayed_octets` of memory wait to come again."""
        self._expires = settings.expires
        if settings.retry_delay is not None and self._delayed is _NOTHING:
            self._delayed = Delayed(delayed_octets)
        if self._answers is None and settings.consumer_timeout is not None:
            self._answers = AckTimeouts()
        if self._answers is not None:
            self._answers.set_timeout(settings.consumer_timeout)

    def next_due(self) -> int | None:
        """Return when a delivery is to be taken back, or one to be delivered again, in milliseconds since 1970."""
        answer_due = None if self._answers is None else self._answers.next_due()
        return min(filter(None, (answer_due, self._delayed.next_due())), default=None)

    # Answers to deliveries

    def expect_answers(self, holder: Holder, first: int, last: int, timeout: int = 0) -> bool:
        """A channel holds the deliveries with these tags now, to be answered within the queue's time or `timeout`
        milliseconds; return whether `next_due` may have come nearer.
        """
        answers = self._answers
        if answers is None:
            answers = self._answers = AckTimeouts()
        return answers.note(holder, first, last, self._services.now_ms(), timeout)

    def take_unanswered(self) -> list[Span]:
        """Remove and return the deliveries that had to be answered by now, answered ones among them."""
        return [] if self._answers is None else self._answers.take_due(self._services.now_ms())

    # Messages that wait before they are delivered again

    def keep_back(self, messages: Sequence[Message], delay: RetryDelay) -> bool:
        """Let messages wait, each for as long as its deliveries tell; return whether `next_due` has changed."""
        now, delayed = self._services.now_ms(), self._delayed
        due = delayed.next_due()
        for message in messages:
            delayed.add(message, now + delay.after(message.redelivered))
        return delayed.next_due() != due

    def take_delayed(self) -> list[Message]:
        """Remove and return what has waited long enough, or has no room to wait."""
        return self._delayed.take_due(self._services.now_ms()) if self._delayed else []

    def take_all_delayed(self) -> list[Message]:
        """Remove and return all that waits."""
        return self._delayed.take_all()

    @property
    def delayed_ids(self) -> Iterator[int]:
        """The ids of the messages that wait."""
        return self._delayed.ids

    # The queue's lease

    @property
    def used_at(self) -> int:
        """When a client used the queue last, in milliseconds since 1970, if it has a lease; else 0."""
        return self._used_at if self._expires else 0

    def use(self) -> bool:
        """A client uses the queue: its lease, if it has one, begins anew (contract F3). Return whether it has."""
        if self._expires:
            self._used_at = max(self._used_at, self._services.now_ms())
        return bool(self._expires)

    def use_elsewhere(self, used_at: int) -> bool:
        """A client of some node used the queue at this time; return whether that was later than what was known."""
        is_later = used_at > self._used_at
        self._used_at = max(self._used_at, used_at)
        return is_later

    def lease_end(self, margin: int) -> int | None:
        """Return when the lease ends that the last use has begun, in milliseconds since 1970. `margin` is the time
        within which this node has heard that the queue was used on another.
        """
        return self._used_at + self._expires + margin if self._expires else None
