"""How much on its way from queue to queue is in memory, and which queues may read no more for it meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from broker.queue.queue import Queue

HIGH_WATERMARK: Final = 16 * 1024 * 1024
"""Octets of waiting messages from which on nothing more is read from the store to go on."""
LOW_WATERMARK: Final = HIGH_WATERMARK // 2
"""Octets down to which they have to go before it is."""


class ReadGate:
    """Counts what waits to be carried on, and holds the queues up that would read more."""

    __slots__ = ("_held_up", "_hold", "_octets", "_touched")

    def __init__(self, hold: Callable[[int], object], touched: set[Queue]) -> None:
        """`hold` tells the journal of octets that are in memory; queues that may read again are `touched`."""
        self._hold = hold
        self._touched = touched
        self._octets = 0
        self._held_up: set[Queue] = set()

    def count(self, octets: int) -> None:
        """So many octets more, or with a minus less, wait in memory."""
        self._octets += octets
        self._hold(octets)
        if self._held_up and self._octets <= LOW_WATERMARK:
            self._touched |= self._held_up
            self._held_up.clear()

    def has_room(self, queue: Queue) -> bool:
        """May more be read from the store for this queue? If not, it is touched when it may."""
        if self._octets <= HIGH_WATERMARK:
            return True
        self._held_up.add(queue)
        return False
