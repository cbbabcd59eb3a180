"""Gives memory back to the system that the process has freed or can free, before publishers are blocked (contract M13).

Freed memory stays with the process until the C library returns it, objects in a circle until they are collected.
The alarm looks at what is resident, so both would keep publishers blocked for nothing.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from math import inf
from typing import Final

_SHARE: Final = 100
"""At most one part in so many of the time goes into an attempt."""
_MOST_BLOCKS: Final = 750_000
"""Blocks of Python's allocator up to which garbage is collected. Collecting looks at all objects at once, half a
microsecond each: beside millions of messages it would hold the node up for seconds.
"""


class Reclaim:
    """One way to give memory back, and when it may be tried again."""

    def __init__(
        self, action: Callable[[], object], *, interval: float, is_quick: Callable[[], bool] = lambda: True
    ) -> None:
        """`action` may be tried every `interval` seconds, more seldom if it takes long, and while it `is_quick`."""
        self._action = action
        self._interval = interval
        self._is_quick = is_quick
        self._not_before = -inf

    def attempt(self, monotonic: Callable[[], float]) -> bool:
        """Try it, if it may be tried now; return whether it was."""
        begun = monotonic()
        if begun < self._not_before or not self._is_quick():
            return False
        self._action()
        ended = monotonic()
        self._not_before = ended + max(self._interval, _SHARE * (ended - begun))
        return True


def is_collection_quick() -> bool:
    """Are there so few objects that collecting garbage holds nobody up for long?"""
    return sys.getallocatedblocks() <= _MOST_BLOCKS


def reclaims(give_back: Callable[[], object]) -> tuple[Reclaim, Reclaim]:
    """Return the ways to give memory back, in the order in which to try them; `give_back` returns what is free."""

    def collect() -> None:
        gc.collect()
        give_back()

    return Reclaim(give_back, interval=1.0), Reclaim(collect, interval=10.0, is_quick=is_collection_quick)
