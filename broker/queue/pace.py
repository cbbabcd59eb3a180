"""How many messages of a queue may be given to consumers now, by its limits of deliveries (`x-max-unacked`,
`x-max-rate`). Reads no clock: callers pass the time.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, floor
from typing import Final

_BURST: Final = 0.02
"""Deliveries that were not made in time are made up for, as many as fit into so many seconds: timers are this late."""


class Pace:
    """A number of deliveries per second, spread evenly."""

    __slots__ = ("_burst", "_due", "_interval")

    def __init__(self, rate: float) -> None:
        """`rate` is in deliveries per second, and more than 0."""
        self._interval = 1000 / rate
        self._burst = max(1.0, rate * _BURST)
        self._due = 0.0
        """When the deliveries up to now are all due, in milliseconds."""

    def room(self, now_ms: int) -> int:
        """Return how many deliveries are due now."""
        ahead = max(self._due - now_ms, 0.0)
        return max(floor(self._burst - ahead / self._interval + 1e-9), 0)

    def spend(self, count: int, now_ms: int) -> None:
        """So many deliveries are made."""
        self._due = max(self._due, now_ms) + count * self._interval

    def next_at(self) -> int:
        """Return when the next delivery is due, in milliseconds."""
        return ceil(self._due - (self._burst - 1) * self._interval - 1e-6)


class DeliveryAllowance:
    """What the limits of a queue leave of the consumers' right to messages."""

    __slots__ = ("_max_unacked", "_now_ms", "_on_held", "_pace", "_unacked", "held_until")

    def __init__(
        self,
        max_unacked: int | None,
        max_rate: float | None,
        *,
        unacked: Callable[[], int],
        now_ms: Callable[[], int],
        on_held: Callable[[], None],
    ) -> None:
        """`unacked` returns how many messages of the queue clients hold; `now_ms` the time in milliseconds. `on_held`
        is called when `held_until` tells another time.
        """
        self._max_unacked = max_unacked
        self._pace = None if max_rate is None else Pace(max_rate)
        self._unacked = unacked
        self._now_ms = now_ms
        self._on_held = on_held
        self.held_until: int | None = None
        """When consumers that have credit may get the next message, if it was the rate alone that held it back."""

    def room(self, limit: int) -> int:
        """Return how many of `limit` messages may be given now."""
        if self._max_unacked is not None:
            limit = min(limit, max(self._max_unacked - self._unacked(), 0))
        if self._pace is not None and limit > 0:
            limit = min(limit, self._pace.room(self._now_ms()))
            held_until = None if limit else self._pace.next_at()
            if held_until != self.held_until:
                self.held_until = held_until
                if held_until is not None:
                    self._on_held()
        return limit

    def spend(self, count: int) -> None:
        """So many messages are given to consumers."""
        if self._pace is not None and count:
            self._pace.spend(count, self._now_ms())


def _nobody() -> None:
    """Nothing is held back."""


UNLIMITED: Final = DeliveryAllowance(None, None, unacked=lambda: 0, now_ms=lambda: 0, on_held=_nobody)
"""That of a queue without such limits."""
