"""Message ids of tests: small numbers instead of times."""

from __future__ import annotations


def message_id(lane: int, number: int) -> int:
    """Return the id of the lane's message of that number: later than any of a lower number in any lane."""
    return number << 18 | lane << 10
