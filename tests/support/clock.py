"""A clock that stands until a test moves it."""

from __future__ import annotations


class FakeClock:
    """Both kinds of time; `advance` moves them together."""

    def __init__(self, monotonic: float = 1000.0, wall_ms: int = 1_800_000_000_000) -> None:
        self._monotonic = monotonic
        self._wall_ms = wall_ms

    def monotonic(self) -> float:
        return self._monotonic

    def wall_ms(self) -> int:
        return self._wall_ms

    def advance(self, seconds: float) -> None:
        self._monotonic += seconds
        self._wall_ms += round(seconds * 1000)
