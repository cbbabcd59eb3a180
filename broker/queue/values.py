"""Values of arguments: what is not as it should be is none."""

from __future__ import annotations

from typing import Final

MAX_NAME: Final = 255
"""Octets of the name of an exchange or a header, and of a routing key (contract Q10)."""
MAX_TIME: Final = 315_360_000_000
"""The longest time that an argument may ask for, in milliseconds: ten years."""


def number(value: object, largest: int | None = None) -> int | None:
    """Return a number from 0 up to `largest`."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        return None
    return value if largest is None or value <= largest else None
