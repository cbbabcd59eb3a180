"""How much may be done in one turn of the loop, so that no client's request is a pause for all others.

Where one request can cost much more than its octets say, its cost is counted in steps. Who finds the turn used up stops
there and goes on in a later turn; in between other clients are served. The edge begins each turn.
"""

from __future__ import annotations

from typing import Final

TURN: Final = 4_000
"""Steps in one turn. A step is about a microsecond: a turn is shorter than anybody notices, and long beside what it
costs to begin another one."""


class TurnBudget:
    """What has been done in this turn of the loop, by all clients together."""

    __slots__ = ("done", "limit")

    def __init__(self, limit: int = TURN) -> None:
        self.limit = limit
        self.done = 0
        """Steps since `begin_turn`."""

    def begin_turn(self) -> None:
        """A new turn of the loop begins."""
        self.done = 0

    @property
    def is_over(self) -> bool:
        """Is the turn used up?"""
        return self.done >= self.limit
