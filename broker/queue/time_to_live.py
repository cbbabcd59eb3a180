"""How long a queue keeps its messages (`x-message-ttl`), and how long those that came before that was altered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

from broker.message import first_id_at

KEPT: Final = "x-message-ttl-kept"
"""The argument that an alteration leaves: the time to live of the messages that had come before it, or `none`, and when
it was altered. Times are in milliseconds.
"""
_NONE: Final = "none"


@dataclass(frozen=True, slots=True)
class KeptTimeToLive:
    """What messages keep that had come before the time to live of their queue was altered."""

    ttl: int | None
    """Milliseconds; None for as long as they are not taken."""
    until_ms: int
    """When it was altered, in milliseconds since 1970."""

    @classmethod
    def of(cls, value: object) -> Self | None:
        """Return what the argument says; None if it says nothing."""
        ttl, _, until = value.partition(" ") if isinstance(value, str) and len(value) <= 64 else ("", "", "")
        if not until.isascii() or not until.isdecimal() or not (ttl == _NONE or (ttl.isascii() and ttl.isdecimal())):
            return None
        return cls(None if ttl == _NONE else int(ttl), int(until))

    @property
    def text(self) -> str:
        """The value of the argument."""
        return f"{_NONE if self.ttl is None else self.ttl} {self.until_ms}"

    @property
    def end(self) -> int:
        """The ids of the messages that keep it are smaller than this."""
        return first_id_at(self.until_ms)

    def is_over(self, now_ms: int) -> bool:
        """Have all messages that keep it expired?"""
        return self.ttl is not None and self.until_ms + self.ttl <= now_ms


def first_unexpired(ttl: int | None, now_ms: int) -> int:
    """Return an id: of messages with this time to live those with smaller ones have expired."""
    return 0 if ttl is None else first_id_at(now_ms - ttl + 1)
