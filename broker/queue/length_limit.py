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


class LengthElsewhere:
    """What a queue has on other nodes, of which one keeps its length, as this node must take it for (ADR 67).

    The last counts are old by as much as it takes to exchange them. So what this node has given away since then is held
    against the limit, too, but not added to them: the others may have consumed it by now.
    """

    __slots__ = ("_sent", "given", "given_octets", "messages", "octets", "was_asked")

    def __init__(self) -> None:
        self.messages = self.octets = 0
        """What was ready elsewhere when counts were exchanged last."""
        self.given = self.given_octets = 0
        """What this node has given away since."""
        self.was_asked = False
        """Has anybody published since `begin_exchange`?"""
        self._sent = (0, 0)

    def give(self, messages: int, octets: int) -> None:
        """This node gives so much away."""
        self.given += messages
        self.given_octets += octets

    def begin_exchange(self) -> None:
        """Counts are being exchanged: what was given away up to now will be among them."""
        self.was_asked = False
        self._sent = (self.given, self.given_octets)

    def end_exchange(self, messages: int, octets: int) -> None:
        """So much was ready elsewhere."""
        self.messages, self.octets = messages, octets
        self.given -= self._sent[0]
        self.given_octets -= self._sent[1]
        self._sent = (0, 0)


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

    def is_full_elsewhere(self, elsewhere: LengthElsewhere, octets: int, messages: int) -> bool:
        """Would so many messages more be too many, as far as this node knows what other nodes have?"""
        elsewhere.was_asked = True
        return self.is_full_for(octets + elsewhere.octets, messages + elsewhere.messages) or self.is_full_for(
            octets + elsewhere.given_octets, messages + elsewhere.given
        )

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
