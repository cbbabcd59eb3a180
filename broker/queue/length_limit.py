"""How much may be ready in a queue (contract F8), and what leaves it when that is more."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from broker.message import Message
from broker.queue.settings import Overflow, QueueSettings


class Contents(Protocol):
    """What is counted: the window of a queue, or all levels of one with priorities."""

    @property
    def ready_count(self) -> int: ...

    @property
    def ready_octets(self) -> int: ...

    def take_oldest_ready(self) -> Message | None:
        """Remove and return the message in memory that is next; None when it is not there."""
        ...


class LengthLimit:
    """The length of one queue, in messages and in octets of their bodies."""

    __slots__ = ("_contents", "_max_length", "_max_octets", "drops_head")

    def __init__(self, settings: QueueSettings, contents: Contents) -> None:
        self._contents = contents
        self._max_length = settings.max_length
        self._max_octets = settings.max_length_bytes
        self.drops_head = settings.overflow is Overflow.DROP_HEAD
        """Do messages leave to make room? Otherwise publishers are refused."""

    def take_excess(self) -> Iterator[Message]:
        """Remove and return the oldest messages, as far as there are more than there may be and they are in memory."""
        while self.is_exceeded:
            message = self._contents.take_oldest_ready()
            if message is None:
                return
            yield message

    @property
    def is_exceeded(self) -> bool:
        """Is more ready than there may be?"""
        return self.is_full_for(0, 0)

    def is_full_for(self, octets: int, messages: int = 1) -> bool:
        """Would more be ready than there may be with so many messages more, whose bodies have so many octets?"""
        contents = self._contents
        if self._max_length is not None and contents.ready_count + messages > self._max_length:
            return True
        return self._max_octets is not None and contents.ready_octets + octets > self._max_octets
