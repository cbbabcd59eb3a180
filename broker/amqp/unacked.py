"""Deliveries of one channel that the client has not settled yet (contract B22 to B25).

Knows delivery tags and messages; knows no frame.
"""

from __future__ import annotations

from broker.errors import PreconditionFailed
from broker.message import Message


class Unacked:
    """Messages by delivery tag. Tags are handed out by the channel, ascending from 1."""

    __slots__ = ("_settled_below", "messages")

    def __init__(self) -> None:
        self.messages: dict[int, Message] = {}
        self._settled_below = 1  # no smaller tag is outstanding

    def __len__(self) -> int:
        return len(self.messages)

    def take(self, tag: int, multiple: bool, last_tag: int) -> list[tuple[int, Message]]:
        """Remove and return what `tag` names: one delivery, or with `multiple` all up to it; 0 means all there are.

        Raises `PreconditionFailed` for a tag that is not outstanding. With `multiple` it is enough that the tag was
        handed out and something up to it is outstanding.
        """
        if not multiple:
            message = self.messages.pop(tag, None)
            if message is None:
                raise PreconditionFailed(f"unknown delivery tag {tag}")
            return [(tag, message)]
        if tag == 0:
            taken = sorted(self.messages.items())
            self.messages.clear()
            self._settled_below = last_tag + 1
            return taken
        if tag > last_tag:
            raise PreconditionFailed(f"unknown delivery tag {tag}")
        pop = self.messages.pop
        taken = []
        for each in range(self._settled_below, tag + 1):
            message = pop(each, None)
            if message is not None:
                taken.append((each, message))
        self._settled_below = max(self._settled_below, tag + 1)
        if not taken:
            raise PreconditionFailed(f"unknown delivery tag {tag}")
        return taken

    def put_back(self, deliveries: list[tuple[int, Message]]) -> None:
        """Make deliveries outstanding again (a transaction that was rolled back)."""
        for tag, message in deliveries:
            self.messages[tag] = message
            self._settled_below = min(self._settled_below, tag)

    def take_all(self) -> list[Message]:
        """Remove and return everything, in the order of delivery."""
        messages = [message for _, message in sorted(self.messages.items())]
        self.messages.clear()
        return messages
