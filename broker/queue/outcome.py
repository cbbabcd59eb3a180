"""Why a message leaves its queue for good."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final


@dataclass(frozen=True, slots=True)
class Outcome:
    """A way in which a message is settled."""

    reason: str
    was_held: bool
    """Does a client hold it now, so that it counts among the queue's unacknowledged messages?"""
    is_death: bool = False
    """Does the message go on to the queue's dead-letter exchange? `reason` is the one in x-death then."""
    number: int = field(default=0, compare=False)
    """Its place among `OUTCOMES`."""


ACKED: Final = Outcome("acked", was_held=True, number=0)
REJECTED: Final = Outcome("rejected", was_held=True, is_death=True, number=1)
"""Rejected without requeue."""
EXPIRED: Final = Outcome("expired", was_held=False, is_death=True, number=2)
"""Its time to live is over."""
OVER_LENGTH: Final = Outcome("maxlen", was_held=False, is_death=True, number=3)
"""Its queue has more messages or octets than it may have."""
OVER_DELIVERED: Final = Outcome("delivery_limit", was_held=True, is_death=True, number=4)
"""It was given back more often than its queue allows."""
AUTO_ACKED: Final = Outcome("auto-acked", was_held=True, number=5)
"""Delivered to a consumer or a get that acknowledges nothing."""
PURGED: Final = Outcome("purged", was_held=False, number=6)
DELETED: Final = Outcome("deleted", was_held=False, number=7)
"""Its queue was deleted."""

OUTCOMES: Final = (ACKED, REJECTED, EXPIRED, OVER_LENGTH, OVER_DELIVERED, AUTO_ACKED, PURGED, DELETED)
"""All of them, each at the place that is its number."""
