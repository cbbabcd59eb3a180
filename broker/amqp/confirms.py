"""Publisher confirms of one channel (contract P1 to P4).

A publish is confirmed when its message is safe in every queue it was routed to. Messages wait here in publish order, so
one cumulative ack covers all that is safe.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from broker.message import STORED


class Confirmed(Protocol):
    """What a publish waits for: a message, until it is safe in one queue, or the answer to a reply."""

    confirms: Any
    sequence: int
    state: int


class Confirms:
    """What a channel in confirm mode still owes its publisher."""

    __slots__ = ("_refuse", "_send", "confirmed", "published", "refusals", "refused", "waiting")

    def __init__(self, send: Callable[[int, bool], None], refuse: Callable[[int], None]) -> None:
        """`send` takes a delivery tag and the multiple flag; `refuse` the tag of what a queue did not take."""
        self._send = send
        self._refuse = refuse
        self.published = 0
        self.confirmed = 0
        """How far the publisher knows what became of its messages."""
        self.refusals = 0
        """Of how many of them it knows that they were refused."""
        self.waiting: deque[Confirmed] = deque()
        self.refused: deque[int] = deque()

    def refuse(self) -> None:
        """A publish was refused by a queue: it is told so in its turn."""
        self.published += 1
        self.refused.append(self.published)

    def expect(self, message: Confirmed) -> None:
        """The next publish that `published` will count is not safe before `message` is. Hot."""
        message.confirms = self
        message.sequence = self.published + 1
        self.waiting.append(message)

    def flush(self) -> None:
        """Confirm everything before the first publish that is not safe."""
        waiting = self.waiting
        while waiting and waiting[0].state >= STORED:
            waiting.popleft()
        safe = waiting[0].sequence - 1 if waiting else self.published
        while self.refused and self.refused[0] <= safe:
            refused = self.refused.popleft()
            self._confirm(refused - 1)
            self._refuse(refused)
            self.refusals += 1
            self.confirmed = refused
        self._confirm(safe)

    def _confirm(self, safe: int) -> None:
        if safe > self.confirmed:
            self._send(safe, safe - self.confirmed > 1)
            self.confirmed = safe

    def close(self) -> None:
        """The channel is gone: owe nothing any more. Messages in queues may refer to this for long."""
        self.waiting.clear()
        self.refused.clear()
        self.confirmed = self.published
        self._send = self._refuse = _nobody


def _nobody(tag: int, multiple: bool = False) -> None:
    """Stands where the channel was."""
