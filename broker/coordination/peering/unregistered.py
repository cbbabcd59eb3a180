"""Which members that answer among the peers are not found in the database: they may use another one.

Pure: does no I/O and reads no clock.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from math import inf
from typing import Final

from broker.ports.cluster_rows import Incarnation

_ASKED_IN_SILENCE: Final = 8
"""So often the rows of all nodes are read in a time of silence: a member may have registered after the last read."""


@dataclass(slots=True)
class _Member:
    """Since when (monotonic) it is not found, and when the database was asked for it last."""

    since: float
    asked_at: float = -inf
    is_told: bool = False


class Unregistered:
    """Says when the database is to be asked, and of each member once that it is not there."""

    def __init__(self, silence: float) -> None:
        """`silence` is that of the `Detector`."""
        self._silence = silence
        self._members: dict[Incarnation, _Member] = {}

    def on_look(
        self, members: Iterable[Incarnation], living: Collection[Incarnation], now: float
    ) -> tuple[bool, list[Incarnation]]:
        """`members` answer, and `living` are in the database.

        Return whether to read the database again, and of which members it is to be told now that they are not there.
        """
        known, self._members = self._members, {}
        asks = False
        missed: list[Incarnation] = []
        for each in members:
            if each in living:
                continue
            member = self._members[each] = known.get(each) or _Member(now)
            if now - member.asked_at >= self._silence / _ASKED_IN_SILENCE:
                member.asked_at = now
                asks = True
            if not member.is_told and now - member.since >= self._silence:
                member.is_told = True
                missed.append(each)
        return asks, missed

    def tell_again(self, member: Incarnation) -> None:
        """It could not be told of this member: do so at the next look."""
        if member in self._members:
            self._members[member].is_told = False
