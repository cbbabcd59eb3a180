"""A slot: a closed range of message ids of one queue and one lane (design §3, andes.md §4).

Knows nothing but numbers.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Slot:
    """Messages `start` to `end` (both included) of `queue_id` and `lane`, all in the store or on the way to it.

    `count` is how many of them are ready. `maybe_delivered` is set when nobody can say whether they were written to a
    consumer before (a crash): they are then delivered as redelivered. `transient` is set when some of them lie under
    the queue's negative storage id, where rows go that must not survive a restart. `row` is where the slot begins in
    the store's table of slots; 0 when it is the node's own affair.
    """

    queue_id: int
    lane: int
    start: int
    end: int
    count: int
    maybe_delivered: bool = False
    transient: bool = False
    row: int = 0
