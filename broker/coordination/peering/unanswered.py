"""Which of the well-known members have never answered, and why: a wrong list is not to be found out by silence alone.

Pure: does no I/O and reads no clock.
"""

from __future__ import annotations

from math import inf
from typing import Final

from broker.coordination.peering.greeting import Address

_TOLD_AFTER: Final = 2
"""Times of silence after which it is told that nobody answers: members may start one after the other."""
_AGAIN: Final = 30
"""Times of silence before another reason is told."""


class Unanswered:
    """Says once of each address that nobody has answered there, and again when the reason is another one."""

    def __init__(self, silence: float, now: float) -> None:
        """`silence` is that of the `Detector`, `now` when the calls began."""
        self._silence = silence
        self._since = now
        self._answered: set[Address] = set()
        self._told: dict[Address, tuple[str, float]] = {}

    def on_answer(self, address: Address) -> None:
        """Somebody is there, a member or not."""
        self._answered.add(address)
        self._told.pop(address, None)

    def on_failed(self, address: Address, reason: str, now: float) -> float | None:
        """A call came to nothing. Return for how many seconds all did, when that is to be told now."""
        lasted = now - self._since
        if address in self._answered or lasted < _TOLD_AFTER * self._silence:
            return None
        told, told_at = self._told.get(address, ("", -inf))
        if told == reason or now < told_at + _AGAIN * self._silence:
            return None
        self._told[address] = reason, now
        return lasted
