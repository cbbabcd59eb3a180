"""What leaves a queue by itself because its time is over, in memory and in slots.

Only queues that have a time to live, a length, or messages with an expiration of their own have an `Expiry`.
`Retention` knows which messages are too old; here they leave.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from broker.message import Message
from broker.queue.outcome import EXPIRED, Outcome
from broker.queue.retention import Retention
from broker.queue.services import QueueServices
from broker.queue.settings import QueueSettings
from broker.queue.window import Window


class ExpiringQueue(Protocol):
    """What is asked of the queue, which is passed in each time: held, it would be in a circle of references."""

    dying: dict[int, Message]

    @property
    def has_dead_letters(self) -> bool:
        """Do messages that die here go on to an exchange?"""
        ...

    @property
    def is_deleted(self) -> bool: ...

    def settle(self, messages: Sequence[Message], outcome: Outcome) -> None:
        """Record that these messages have left the queue for good."""
        ...

    def refill(self) -> None:
        """Bring the next messages into memory."""
        ...


class Expiry:
    """Lets messages of one queue go when they have expired."""

    __slots__ = ("_retention", "_services", "_window")

    def __init__(self, settings: QueueSettings, window: Window, services: QueueServices[Any]) -> None:
        self._window = window
        self._services = services
        self.set(settings)
        window.is_watched = True

    def set(self, settings: QueueSettings) -> None:
        """This is what the queue is set to do from now on."""
        self._retention = Retention(settings, self._window, self._services.now_ms)

    def next_due(self) -> int | None:
        """Return when the next message expires, in milliseconds since 1970, or may expire; None when none will."""
        return self._retention.next_due()

    def expires_at_once(self, message: Message) -> bool:
        """Does the message stay for no longer than it takes to find a consumer?"""
        return self._retention.expires_at_once(message)

    def run(self, queue: ExpiringQueue) -> bool:
        """Let go what has expired, before a consumer gets it; return False when more has than goes in one turn."""
        retention, window = self._retention, self._window
        retention.is_held_up = False
        expired = retention.take_expired()
        if expired:
            queue.settle(expired, EXPIRED)
            if retention.is_behind:
                return False
        if not window.ready and window.is_paged and retention.is_expired_in_slots:
            queue.refill()
            if window.ready:
                return self.run(queue)
        if retention.is_due_in_slots and not window.is_reading and self.has_room(queue):
            window.paged_due = None
            if window.has_slots:
                window.is_reading = True
                self._services.read_due(queue)
        return True

    def has_room(self, queue: ExpiringQueue) -> bool:
        """May messages be read only to die? If not, the queue is dispatched when they may."""
        held_up = queue.has_dead_letters and not self._services.has_room(queue)
        self._retention.is_held_up = held_up
        return not held_up

    def let_unserved_go(self, queue: ExpiringQueue) -> None:
        """Let go what consumers have left, and was to be taken at once."""
        unserved = self._retention.take_unserved()
        if unserved:
            queue.settle(unserved, EXPIRED)

    # Slots, of whose messages the store knows the times

    def set_due_in_slots(self, due: int | None, after: tuple[int, int]) -> None:
        """The next message in slots expires by itself at `due`, or none does; all up to `after` are seen to.

        What has left memory for slots since `QueueServices.read_due` may be due before that.
        """
        window = self._window
        window.paged_due = min(filter(None, (due, window.paged_due)), default=None)
        window.due_after = after

    def expect_due(self) -> None:
        """Messages from other nodes may expire by a time of their own."""
        window = self._window
        window.may_be_due = True
        window.paged_due, window.due_after = 0, (0, 0)

    def expire_in_slots(self, queue: ExpiringQueue, due: Sequence[Message]) -> None:
        """These stored messages have expired: let those go that lie in slots, and not with a client or in memory."""
        self._window.due_after = (due[-1].due, due[-1].id)
        dying = queue.dying
        expired = self._window.take_from_slots([message for message in due if message.id not in dying])
        self._window.forget(expired)
        queue.settle(expired, EXPIRED)
