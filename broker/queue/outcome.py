"""Why a message leaves its queue for good."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Outcome:
    """A way in which a message is settled."""

    reason: str
    was_held: bool
    """Does a client hold it now, so that it counts among the queue's unacknowledged messages?"""
    is_death: bool = False
    """Does the message go on to the queue's dead-letter exchange? `reason` is the one in x-death then."""


ACKED: Final = Outcome("acked", was_held=True)
REJECTED: Final = Outcome("rejected", was_held=True, is_death=True)
"""Rejected without requeue."""
EXPIRED: Final = Outcome("expired", was_held=False, is_death=True)
"""Its time to live is over."""
OVER_LENGTH: Final = Outcome("maxlen", was_held=False, is_death=True)
"""Its queue has more messages or octets than it may have."""
OVER_DELIVERED: Final = Outcome("delivery_limit", was_held=True, is_death=True)
"""It was given back more often than its queue allows."""
AUTO_ACKED: Final = Outcome("auto-acked", was_held=True)
"""Delivered to a consumer or a get that acknowledges nothing."""
PURGED: Final = Outcome("purged", was_held=False)
DELETED: Final = Outcome("deleted", was_held=False)
"""Its queue was deleted."""
