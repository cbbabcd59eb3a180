"""Which living nodes of the cluster are not seen among the peers: two that do not know each other would say nothing.

Pure: does no I/O and reads no clock.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from broker.ports.cluster_rows import Incarnation, NodeRow

_TOLD_AFTER: Final = 2
"""Times of silence after which it is told: a node may be starting, or have ended a moment ago."""


class Unseen:
    """Says of each node, once, that its row beats while it does not answer; and again when it has answered between."""

    def __init__(self, silence: float) -> None:
        """`silence` is that of the `Detector`."""
        self._silence = silence
        self._since: dict[Incarnation, float] = {}
        self._told: set[Incarnation] = set()

    def on_look(
        self, rows: Iterable[NodeRow], apart: Collection[Incarnation], now: float
    ) -> list[tuple[NodeRow, float]]:
        """`rows` are those of the living nodes, `apart` those of them that are not seen.

        Return of which it is to be told now, with the seconds for which it is so.
        """
        self._since = {each: self._since.get(each, now) for each in apart}
        self._told &= self._since.keys()
        unseen: list[tuple[NodeRow, float]] = []
        for row in rows:
            each = Incarnation(row.node_id, row.incarnation)
            lasted = now - self._since.get(each, now)
            if lasted >= _TOLD_AFTER * self._silence and each not in self._told:
                self._told.add(each)
                unseen.append((row, lasted))
        return unseen
