"""Samples of the figures of one object, in rings.

A sample is one number for each figure. Samples of equal age are taken at the same times, so a ring needs no times: the
sample of tick `n` has its place at `n` modulo the size. Nothing is written while nothing changes: the gap is filled
when something does.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from functools import cache
from typing import Final, NamedTuple

TICK: Final = 5
"""Seconds between two samples."""


class Tier(NamedTuple):
    """A ring of `size` samples, one in every `ticks` ticks."""

    ticks: int
    size: int

    @property
    def seconds(self) -> int:
        """For how long samples are kept."""
        return self.ticks * self.size * TICK


FINE: Final = Tier(1, 122)
MINUTES: Final = Tier(60 // TICK, 61)
TEN_MINUTES: Final = Tier(600 // TICK, 49)
HALF_HOURS: Final = Tier(1800 // TICK, 49)
SHORT: Final = Tier(1, 14)
OF_NODES: Final = (FINE, MINUTES, TEN_MINUTES, HALF_HOURS)
OF_OBJECTS: Final = (FINE, MINUTES)
OF_MANY_OBJECTS: Final = (SHORT,)
"""If there are too many objects for more."""
NONE_KEPT: Final[tuple[Tier, ...]] = ()
"""Only the last two samples are known."""
_OVERHEAD: Final = 300
"""About what a series occupies beside its samples, in octets."""


@cache
def octets_of(tiers: tuple[Tier, ...], width: int) -> int:
    """Return about what a series of `width` figures occupies."""
    return _OVERHEAD + 64 * width + sum([8 * width * tier.size for tier in tiers])


class Series:
    """Samples of one object. The values of one sample are in the order of its figures."""

    __slots__ = ("_rings", "changed_at", "key", "last", "previous", "tiers")

    def __init__(self, key: object, values: Sequence[int], tick: int) -> None:
        """`key` is anything that differs when values do."""
        self.key = key
        self.last = tuple(values)
        self.previous = self.last
        """The sample before the one of `changed_at`."""
        self.changed_at = tick
        """The tick of the last sample that differs from the one before."""
        self.tiers: tuple[Tier, ...] = NONE_KEPT
        self._rings: list[array[int]] = []

    def keep(self, tiers: tuple[Tier, ...]) -> None:
        """Keep so many samples from now on; the others are forgotten."""
        self.tiers = tiers
        self._rings = [array("q", self.last * tier.size) for tier in tiers]

    def note(self, key: object, values: Sequence[int], tick: int) -> None:
        """At `tick` the figures are these, and not what they were before."""
        self.previous = self.last
        for tier, ring in zip(self.tiers, self._rings, strict=True):
            self._fill(tier, ring, tick)
        self.key, self.last, self.changed_at = key, tuple(values), tick
        for tier, ring in zip(self.tiers, self._rings, strict=True):
            if tick % tier.ticks == 0:
                _put(ring, tick // tier.ticks % tier.size, self.last)

    def _fill(self, tier: Tier, ring: array[int], tick: int) -> None:
        """Nothing has changed after `changed_at` until just before `tick`."""
        first, end = self.changed_at // tier.ticks + 1, -(-tick // tier.ticks)
        for place in range(max(first, end - tier.size), end):
            _put(ring, place % tier.size, self.last)

    def at(self, index: int, tick: int) -> int:
        """Return figure `index` at `tick`, or at the first time after it of which there is a sample."""
        if tick >= self.changed_at:
            return self.last[index]
        for tier, ring in zip(self.tiers, self._rings, strict=True):
            step = tick // tier.ticks
            if self.changed_at // tier.ticks - step < tier.size:
                return ring[step % tier.size * len(self.last) + index]
        if not self.tiers:
            return self.previous[index]
        tier = self.tiers[-1]
        oldest = (self.changed_at // tier.ticks + 1) % tier.size
        return self._rings[-1][oldest * len(self.last) + index]

    def growth(self, index: int, now: int) -> int:
        """Return by how much figure `index` has grown from the tick before to `now`."""
        return self.last[index] - self.previous[index] if self.changed_at == now else 0


def _put(ring: array[int], place: int, values: tuple[int, ...]) -> None:
    width = len(values)
    ring[place * width : (place + 1) * width] = array("q", values)
