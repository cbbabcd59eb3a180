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


ACKED: Final = Outcome("acked", was_held=True)
REJECTED: Final = Outcome("rejected", was_held=True)
"""Rejected without requeue."""
AUTO_ACKED: Final = Outcome("auto-acked", was_held=True)
"""Delivered to a consumer or a get that acknowledges nothing."""
PURGED: Final = Outcome("purged", was_held=False)
DELETED: Final = Outcome("deleted", was_held=False)
"""Its queue was deleted."""
