"""A queue that keeps messages of different priorities apart (`x-max-priority`, contract F9; ADR 47).

Each level of priority is a queue by itself: with its own window, slots and storage id, and in the cluster with its own
demand. The levels share the consumers of the whole queue, which gets from the highest level first; what concerns all of
them together, such as length, lease and counts, the whole queue knows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import reduce
from itertools import chain, groupby
from operator import attrgetter
from typing import Any, Final

from broker.codec.field_table import EMPTY_TABLE, FieldTable
from broker.codec.properties import FLAG_PRIORITY, read_priority
from broker.errors import SyntaxFault
from broker.message import Message
from broker.ports.levels import storage_id
from broker.ports.slot import Slot
from broker.queue.ack_deadlines import Holder
from broker.queue.length_limit import Contents
from broker.queue.outcome import Outcome
from broker.queue.queue import Queue
from broker.queue.queue_turns import QueueTurns
from broker.queue.settings import QueueLimits, QueueSettings
from broker.queue.stock import Stock

_FLAGS: Final = 16
"""Where the first octet of the properties' flags is in the tail of a content header frame."""
_HAS_PRIORITY: Final = FLAG_PRIORITY >> 8
_REMEMBERED: Final = 64
"""Different properties whose priority a queue remembers, and the octets that they may have."""
_LEAST: Final = 256 * 1024
"""Octets of memory that each level may have at least."""

_queue_of: Final = attrgetter("queue")


class PriorityLevel(Queue):
    """The messages of one priority."""

    __slots__ = ("_whole",)

    def __init__(self, whole: PriorityQueue, turns: QueueTurns, level: int, parts: dict[str, Any]) -> None:
        """`parts` are the other arguments that `Queue` was made with."""
        self._whole = whole
        settings = whole.settings
        super().__init__(
            whole.vhost,
            whole.name,
            storage_id(whole.queue_id, level),
            settings=_of_level(settings),
            turns=turns,
            counts_octets=settings.max_length_bytes is not None,
            limits=_limits_of_level(whole.limits, settings),
            **parts,
        )

    @property
    def whole(self) -> Queue:
        return self._whole

    def set_as_level(self, settings: QueueSettings) -> None:
        """This is what the whole queue is set to do from now on."""
        if settings.max_length_bytes is not None:
            self._window.begin_counting()
        self.set(_of_level(settings))

    def refuses(self, octets: int, messages: int = 1) -> bool:
        return self._whole.refuses(octets, messages)

    def dispatch(self, *, may_deliver: bool = True) -> bool:
        return self._whole.dispatch()

    def take_turn(self, *, may_deliver: bool) -> None:
        """Do what `Queue.dispatch` does for a queue; deliver nothing while a higher level has something."""
        super().dispatch(may_deliver=may_deliver)

    @property
    def needs_turn(self) -> bool:
        """Is there something ready, or must other nodes know that consumers would take more?"""
        return self.has_ready or self._after_dispatch is not None

    @property
    def consumer_count(self) -> int:
        return self._whole.consumer_count

    @property
    def consumers_elsewhere(self) -> int:
        """Consumers on other nodes, as far as this level was told."""
        return self._remote_consumers

    def take_oldest_ready(self) -> Message | None:
        """Remove and return the oldest message, which nobody gets; None when it is not in memory."""
        return self._window.take_oldest_ready()


class PriorityQueue(Queue):
    """The levels of a queue with priorities, as clients see them: as one queue."""

    __slots__ = ("_current", "_descending", "_levels", "_parts", "_priorities")

    def __init__(
        self,
        vhost: str,
        name: str,
        queue_id: int,
        *,
        owner: object | None = None,
        arguments: FieldTable = EMPTY_TABLE,
        limits: QueueLimits | None = None,
        settings: QueueSettings | None = None,
        **parts: Any,
    ) -> None:
        """`parts` are the other arguments of `Queue`."""
        self._levels: tuple[PriorityLevel, ...] = ()
        super().__init__(
            vhost, name, queue_id, owner=owner, arguments=arguments, limits=limits, settings=settings, **parts
        )
        parts |= {"owner": owner, "arguments": arguments}
        self._parts = parts
        self._priorities: dict[bytes, int] = {}
        self._levels = self._all_levels()
        self._descending = self._levels[::-1]
        self._current = self._levels[0]
        """The level that messages were taken from last."""

    # Its levels

    @property
    def levels(self) -> Sequence[Queue]:
        return self._levels

    def _all_levels(self) -> tuple[PriorityLevel, ...]:
        """Return as many levels as there are priorities, or more: none goes, it may have messages."""
        further = range(len(self._levels), self.settings.max_priority + 1)
        return self._levels + tuple(PriorityLevel(self, self.turns, level, self._parts) for level in further)

    def set(self, settings: QueueSettings) -> None:
        super().set(settings)
        if settings.max_priority >= len(self._levels):
            self._levels = self._all_levels()
            self._descending = self._levels[::-1]
            self._priorities.clear()
        for level in self._levels:
            level.set_as_level(settings)

    def _observe(self) -> None:
        super()._observe()
        for level in self._levels:
            level._observe()

    def level_for(self, header: bytes) -> Queue:
        if not header[_FLAGS] & _HAS_PRIORITY:
            return self._levels[0]
        properties = header[_FLAGS:]
        priority = self._priorities.get(properties)
        if priority is None:
            priority = self._priority_in(header)
            if len(properties) <= _REMEMBERED:
                if len(self._priorities) >= _REMEMBERED:
                    self._priorities.clear()
                self._priorities[properties] = priority
        return self._levels[priority]

    def _priority_in(self, header: bytes) -> int:
        try:
            return min(read_priority(header[4:-1]), len(self._levels) - 1)
        except (IndexError, SyntaxFault):
            return 0  # a row of an earlier version, whose header nobody has checked

    def _new_append(self) -> Callable[[Message], None]:
        return self._append

    def _contents(self) -> Contents:
        return self

    def _append(self, message: Message) -> None:
        message.queue = level = self.level_for(message.header)
        level.append(message)

    # Contents and counts

    @property
    def ready(self) -> Sequence[Message]:
        return [message for level in self._descending for message in level.ready]

    @property
    def ready_count(self) -> int:
        return sum([level.ready_count for level in self._levels])

    @property
    def ready_octets(self) -> int:
        return sum([level.ready_octets for level in self._levels])

    @property
    def has_ready(self) -> bool:
        return any(level.has_ready for level in self._levels)

    @property
    def unacked_count(self) -> int:
        return sum([level.unacked_count for level in self._levels])

    @property
    def message_count(self) -> int:
        return sum([level.message_count for level in self._levels])

    def stock(self) -> Stock:
        return reduce(Stock.plus, [level.stock() for level in self._levels])

    @property
    def consumer_count(self) -> int:
        return len(self.consumers) + sum([level.consumers_elsewhere for level in self._levels[:1]])

    def set_remote_counts(self, ready: int, consumers: int, octets: int) -> None:
        """Set that each level has so many ready messages, and the queue so many consumers, on other nodes."""
        for level in self._levels:
            level.set_remote_counts(ready, consumers, octets)

    @property
    def remote_octets(self) -> int:
        return sum([level.remote_octets for level in self._levels])

    @property
    def withheld_ids(self) -> Iterator[int]:
        return chain.from_iterable(level.withheld_ids for level in self._levels)

    # Messages in and out

    def expect_expiry(self, messages: Sequence[Message]) -> None:
        for level, run in groupby(messages, _queue_of):
            level.expect_expiry(list(run))

    def insert(self, messages: Sequence[Message]) -> None:
        for level, run in _by_level(messages):
            level.insert(run)

    def return_unsent(self, messages: Sequence[Message]) -> None:
        for level, run in _by_level(messages):
            level.return_unsent(run)

    def settle(self, messages: Sequence[Message], outcome: Outcome, unstored: int = 0) -> None:
        if unstored:
            self._current.settle(messages, outcome, unstored)
            return
        for level, run in _by_level(messages):
            level.settle(run, outcome)

    def pop(self) -> Message | None:
        for level in self._descending:
            if level.has_ready:
                message = level.pop()
                if message is not None:
                    self._current = level
                    return message
                if level.has_ready:
                    return None  # it is being read
        return None

    def on_taken(self, count: int, octets: int) -> None:
        self._current.on_taken(count, octets)

    def expect_answers(self, holder: Holder, first: int, last: int, timeout: int = 0) -> None:
        self._current.expect_answers(holder, first, last, timeout)

    def purge(self) -> list[Slot]:
        return [slot for level in self._levels for slot in level.purge()]

    def take_oldest_ready(self) -> Message | None:
        """Remove and return the message in memory that consumers would get next; None when it is not there."""
        for level in self._descending:
            if level.has_ready:
                return level.take_oldest_ready()
        return None

    # Dispatch

    def dispatch(self, *, may_deliver: bool = True) -> bool:
        for level in self._descending:
            if level.needs_turn:
                if may_deliver:
                    self._current = level
                level.take_turn(may_deliver=may_deliver)
                may_deliver = may_deliver and not level.has_ready
        if self._length is not None and self._length.drops_head:
            self._drop_excess(self._length)
        return bool(not may_deliver and self.consumers)

    def read_oldest(self) -> None:
        """Bring the next messages of the highest level that has some into memory."""
        for level in self._descending:
            if level.has_ready:
                level.read_oldest()
                return

    # Deletion

    def begin_delete(self) -> None:
        Queue.begin_delete(self)
        for level in self._levels:
            level.begin_delete()

    def cancel_delete(self) -> None:
        Queue.cancel_delete(self)
        for level in self._levels:
            level.cancel_delete()

    def delete(self) -> list[Slot]:
        Queue.delete(self)
        return [slot for level in self._levels for slot in level.delete()]


def _of_level(settings: QueueSettings) -> QueueSettings:
    """Return the settings of a level: length, lease and limits of deliveries are the whole queue's."""
    return replace(settings, max_length=None, max_length_bytes=None, expires=None, max_unacked=None, max_rate=None)


def _limits_of_level(limits: QueueLimits, settings: QueueSettings) -> QueueLimits:
    """Return the limits of one level, of which all together keep to those of the queue."""
    count = settings.max_priority + 1
    return replace(
        limits,
        memory=max(limits.memory // count, min(limits.memory, _LEAST)),
        transient_memory=max(limits.transient_memory // count, min(limits.transient_memory, _LEAST)),
        read_ahead_bytes=max(limits.read_ahead_bytes // count, min(limits.read_ahead_bytes, _LEAST)),
    )


def _by_level(messages: Sequence[Message]) -> Iterator[tuple[Any, list[Message]]]:
    """Yield levels and their messages, in the order of the messages."""
    levels: dict[Any, list[Message]] = {}
    for message in messages:
        levels.setdefault(message.queue, []).append(message)
    yield from levels.items()
