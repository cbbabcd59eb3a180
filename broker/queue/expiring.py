"""The messages in memory that expire by a time of their own, wherever they lie in their queue.

One that has expired in the middle of the queue stays where it is, as a dead one, until its place is reached or the
queue is brought into order: taking it out at once would cost a look at all others.
"""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heapify, heappop, heappush
from typing import Final

from broker.message import Message, published_ms

_GARBAGE: Final = 1000
"""The heap is rebuilt when it has this many entries more than twice the messages."""


class Expiring:
    """Ready messages with a time of their own, those among them that are dead already included; false when empty."""

    __slots__ = ("_heap", "_messages", "_unserved", "dead")

    def __init__(self) -> None:
        self._heap: list[tuple[int, int]] = []  # when, and the message's id; some of messages that have left
        self._messages: dict[int, Message | None] = {}  # by id; None for dead ones
        self._unserved: list[int] = []  # due at once: they leave if no consumer takes them now
        self.dead = 0
        """How many have expired and are still in their places."""

    def __len__(self) -> int:
        return len(self._messages)

    def add(self, message: Message) -> None:
        """A message with a time of its own is ready."""
        self._messages[message.id] = message
        heappush(self._heap, (message.due, message.id))
        if len(self._heap) > 2 * len(self._messages) + _GARBAGE:
            self._heap = [(each.due, each.id) for each in self._messages.values() if each is not None]
            heapify(self._heap)

    def take_out(self, message: Message) -> None:
        """A living message has been taken from its place, where it stays as a dead one; it need not be one of these."""
        self._bury(message.id)

    def revive(self, message: Message) -> bool:
        """A message that was taken from its place is there again, alive; return whether its place was still there."""
        if self._messages.get(message.id, message) is not None:
            return False
        del self._messages[message.id]
        self.dead -= 1
        return True

    def has_dead(self, messages: Iterable[Message]) -> bool:
        """Is one of these messages dead in its place?"""
        return self.dead > 0 and any(map(self.is_dead, messages))

    def remove(self, message: Message) -> bool:
        """A message leaves its place; return whether it was alive. It need not be one of these."""
        if self._messages.pop(message.id, message) is None:
            self.dead -= 1
            return False
        return True

    def remove_all(self, messages: Iterable[Message]) -> None:
        """Living messages leave their places."""
        for message in messages:
            self._messages.pop(message.id, None)

    def take_due(self, now_ms: int, limit: int) -> list[Message]:
        """Return those that have expired by now, the first one first, `limit` at most: they are dead.

        One that was to expire at once has the next dispatch: `take_unserved` returns it after that.
        """
        heap, messages = self._heap, self._messages
        taken: list[Message] = []
        while heap and heap[0][0] <= now_ms and len(taken) < limit:
            due, message_id = heappop(heap)
            message = messages.get(message_id)
            if message is None:
                continue
            if due <= published_ms(message_id):
                self._unserved.append(message_id)
            else:
                taken.append(message)
                self._bury(message_id)
        return taken

    def take_unserved(self) -> list[Message]:
        """Return those that were to expire at once and have not been taken by a consumer: they are dead."""
        unserved, self._unserved = self._unserved, []
        taken = [message for each in unserved if (message := self._messages.get(each)) is not None]
        for message in taken:
            self._bury(message.id)
        return taken

    def _bury(self, message_id: int) -> None:
        self._messages[message_id] = None
        self.dead += 1

    def is_dead(self, message: Message) -> bool:
        """Has this message expired in its place?"""
        return self._messages.get(message.id, message) is None

    def forget_dead(self) -> None:
        """The dead ones are in no place any more."""
        self._messages = {message_id: each for message_id, each in self._messages.items() if each is not None}
        self.dead = 0

    def next_due(self) -> int | None:
        """Return when the next one expires, in milliseconds since 1970; None when none does."""
        heap = self._heap
        while heap and self._messages.get(heap[0][1]) is None:
            heappop(heap)
        return heap[0][0] if heap else None
