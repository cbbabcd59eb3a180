"""The bounds of a journal, and what it counts."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from typing import Final

from broker.backoff import Backoff

_RETRY: Final = Backoff(0.1, 5.0)


@dataclass(frozen=True, slots=True)
class JournalLimits:
    """Bounds of one journal."""

    batch_messages: int = 2000
    """Inserts in one transaction; a group can force more."""
    batch_deletes: int = 4000
    batch_deletes_when_full: int = 1000
    """A delete may write two pages of the store's log, and a full disk leaves the log little room."""
    batch_bytes: int = 4 * 1024 * 1024
    pending_bytes: int = 64 * 1024 * 1024
    """Octets waiting for the store above which publishers are held back; they resume below half of it."""
    pending_messages: int = 50_000
    retry: Backoff = _RETRY
    """How long to wait between two tries of a store that does not answer."""
    full_delay: float = 1.0
    """Seconds between two tries of a store without room; rows of settled messages are deleted this late then."""


class Spread:
    """How often something was how large."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, *bounds: float) -> None:
        self.bounds: Final = bounds
        self.counts = [0] * (len(bounds) + 1)
        """By the first bound that was not exceeded; the last number is of what exceeds all."""
        self.total = 0.0

    def note(self, value: float) -> None:
        """It was so large once more."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


@dataclass(slots=True)
class JournalCounters:
    """What the journal has done since it started."""

    commits: int = 0
    inserted: int = 0
    deleted: int = 0
    cancelled: int = 0
    retries: int = 0
    duplicates: int = 0
    """Messages that did not get their keys."""
    seconds: Spread = field(default_factory=lambda: Spread(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5))
    """How long batches took, failed tries included."""
    rows: Spread = field(default_factory=lambda: Spread(1, 4, 16, 64, 256, 1024, 4096))
    """How many rows batches had."""
