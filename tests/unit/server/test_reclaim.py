"""Contract M13: memory is given back before anybody is blocked, and not all the time."""

from __future__ import annotations

import gc
import weakref

from broker.server.reclaim import Reclaim, is_collection_quick, reclaims
from tests.support.clock import FakeClock


class Attempts:
    """A reclaim whose action takes `seconds`, and how often that was done."""

    def __init__(self, seconds: float) -> None:
        self.clock = FakeClock()
        self.seconds = seconds
        self.count = 0
        self.is_quick = True
        self.reclaim = Reclaim(self._act, interval=1.0, is_quick=lambda: self.is_quick)

    def _act(self) -> None:
        self.count += 1
        self.clock.advance(self.seconds)

    def within(self, seconds: float) -> int:
        """Return how often it was tried in so much time, asked ten times a second."""
        before = self.count
        for _ in range(round(seconds * 10)):
            self.reclaim.attempt(self.clock.monotonic)
            self.clock.advance(0.1)
        return self.count - before


def test_it_is_tried_once_in_its_interval() -> None:
    assert Attempts(0.0).within(10.0) in (9, 10)


def test_what_takes_long_takes_a_hundredth_of_the_time() -> None:
    assert Attempts(0.5).within(200.0) in (4, 5)


def test_what_would_take_too_long_is_not_tried() -> None:
    attempts = Attempts(0.0)
    attempts.is_quick = False
    assert attempts.within(10.0) == 0
    attempts.is_quick = True
    assert attempts.reclaim.attempt(attempts.clock.monotonic)


class Knot:
    """Refers to itself."""

    def __init__(self) -> None:
        self.end = self


def test_free_memory_is_given_back_first_then_garbage_is_collected_and_given_back() -> None:
    given_back: list[bool] = []
    clock = FakeClock()
    gc.disable()
    try:
        knot = weakref.ref(Knot())
        trim, collect = reclaims(lambda: given_back.append(knot() is None))
        trim.attempt(clock.monotonic)
        collect.attempt(clock.monotonic)
    finally:
        gc.enable()
    assert given_back == ([False, True] if is_collection_quick() else [False])
