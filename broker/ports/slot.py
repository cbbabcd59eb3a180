"""A slot: a closed range of message ids of one queue and one lane (ADR 6, andes §4)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Slot:
    """Messages `start` to `end` (both included) of `queue_id` and `lane`, all in the store or on the way to it.

    `count` is how many of them are ready. `maybe_delivered`: after a crash it is unknown whether they were delivered
    before, so they are delivered as redelivered. `transient`: some of them are stored under the queue's negative
    storage id, whose rows do not survive a restart. `row` is where the slot starts in the store's table of slots; 0
    when only its node knows of it.
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
