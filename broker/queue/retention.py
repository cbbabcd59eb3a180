"""Decides which messages of a queue are too old: they leave it by themselves.

Only queues that have a time to live, a length, or messages with an expiration of their own have a `Retention`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from broker.message import Message, first_id_at, published_ms
from broker.queue.settings import QueueSettings
from broker.queue.time_to_live import first_unexpired
from broker.queue.window import Window

AT_ONCE: Final = 1000
"""Messages that expire in one turn of the loop: all of a queue may be due in the same moment."""


class Retention:
    """How long one queue keeps its messages."""

    __slots__ = ("_kept", "_now_ms", "_settings", "_ttl", "_window", "is_behind", "is_held_up")

    def __init__(self, settings: QueueSettings, window: Window, now_ms: Callable[[], int]) -> None:
        """`now_ms` returns the time by which messages live, in milliseconds since 1970."""
        self._window = window
        self._now_ms = now_ms
        self._settings = settings
        self._ttl = settings.message_ttl
        self._kept = settings.kept_ttl
        self.is_behind = False
        """Had more expired than `take_expired` has taken?"""
        self.is_held_up = False
        """Must what has expired in slots wait, because too much waits to be dead-lettered?"""

    def take_expired(self) -> list[Message]:
        """Remove and return the messages in memory that have expired, the first one first: `AT_ONCE` at most.

        What is to expire at once has one dispatch to find a consumer: see `take_unserved`.
        """
        window, now = self._window, self._now_ms()
        expired = window.take_due(now, AT_ONCE)
        older = self._take_older(now, AT_ONCE - len(expired))
        if older:
            expired = sorted(expired + older, key=self._due) if expired else older
        self.is_behind = len(expired) == AT_ONCE and self._has_expired(now)
        return expired

    def _take_older(self, now: int, limit: int) -> list[Message]:
        """Remove and return messages in memory whose time to live in this queue is over."""
        window, kept = self._window, self._kept
        if kept is None:
            return window.take_older(first_id_at(now - self._ttl + 1), limit) if self._ttl else []
        taken = window.take_older(min(first_unexpired(kept.ttl, now), kept.end), limit)
        if self._ttl:
            taken += window.take_between(kept.end, first_unexpired(self._ttl, now), limit - len(taken))
        return taken

    def _has_expired(self, now: int) -> bool:
        window = self._window
        due = window.expiring.next_due() if window.expiring else None
        if due is not None and due <= now:
            return True
        kept = self._kept
        if kept is not None and self._ttl and window.first_from(kept.end) < first_unexpired(self._ttl, now):
            return True
        return self._is_expired(window.oldest_in_memory(), now)

    def _is_expired(self, message_id: int, now: int) -> bool:
        """Is the time to live of a message in this queue over, if it does not expire at once?"""
        ttl = self._settings.ttl_of(message_id)
        return bool(ttl) and message_id < first_unexpired(ttl, now)

    def take_unserved(self) -> list[Message]:
        """Remove and return the messages in memory that were to expire at once, and that no consumer has taken."""
        window = self._window
        unserved = window.take_unserved()
        if self._ttl != 0:
            return unserved
        end = first_id_at(self._now_ms() + 1)
        kept = self._kept
        return window.take_older(end, AT_ONCE) if kept is None else window.take_between(kept.end, end, AT_ONCE)

    def expires_at_once(self, message: Message) -> bool:
        """Does the message stay for no longer than it takes to find a consumer?"""
        return self._settings.ttl_of(message.id) == 0 or 0 < message.due <= published_ms(message.id)

    def _due(self, message: Message) -> int:
        due = published_ms(message.id) + (self._settings.ttl_of(message.id) or 0)
        return min(due, message.due) if message.due else due

    @property
    def is_expired_in_slots(self) -> bool:
        """Has the next message in slots, which is not in memory, expired by the queue's time to live?"""
        oldest = self._window.oldest_in_slots()
        return oldest < first_unexpired(self._settings.ttl_of(oldest), self._now_ms())

    @property
    def is_due_in_slots(self) -> bool:
        """May a message in slots have expired by a time of its own?"""
        due = self._window.paged_due
        return due is not None and due <= self._now_ms()

    def next_due(self) -> int | None:
        """Return when the next message expires, in milliseconds since 1970, or may expire; None when none will."""
        window = self._window
        times = []
        may_read = not (window.is_reading or self.is_held_up)
        if window.paged_due is not None and may_read:
            times.append(window.paged_due)
        if window.expiring and (due := window.expiring.next_due()) is not None:
            times.append(due)
        if self._ttl is not None or self._kept is not None:
            oldest = window.oldest_in_memory()
            if not window.ready and may_read:
                oldest = window.oldest_in_slots()
            nexts = [oldest] if self._kept is None else [oldest, window.first_from(self._kept.end)]
            for message_id in nexts:
                ttl = self._settings.ttl_of(message_id)
                if ttl is not None and message_id < 1 << 63:
                    times.append(published_ms(message_id) + ttl)
        return min(times, default=None)
