"""A slot: a closed range of message ids of one queue and one lane (ADR 6, andes §4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from broker.message import once_more

ALL_LANES: Final = -1
"""The lane of a slot that is only read: of messages of all nodes, in the order of their ids."""


@dataclass(slots=True)
class Slot:
    """Messages `start` to `end` (both included) of `queue_id` and `lane`, all in the store or on the way to it.

    `count` is how many of them are ready. `maybe_delivered`: after a crash it is unknown whether they were delivered
    once more than the store says, so they are delivered as redelivered. `transient`: some of them are stored under the
    queue's negative storage id, whose rows do not survive a restart. `row` is where the slot starts in the table of
    slots; 0 when only its node knows of it. `is_late`: newer messages of its lane are delivered before it on this node,
    so these are delivered as redelivered, too.
    """

    queue_id: int
    lane: int
    start: int
    end: int
    count: int
    maybe_delivered: bool = False
    transient: bool = False
    row: int = 0
    octets: int = 0
    is_late: bool = False

    @property
    def is_exact(self) -> bool:
        """Does the store say of all messages how often they were delivered?"""
        return not (self.maybe_delivered or self.is_late)

    def deliveries(self, stored: int) -> int:
        """Return how often a message is taken to have been delivered of which the store says `stored`."""
        return once_more(stored) if self.maybe_delivered else stored or int(self.is_late)
