"""Values of arguments: what is not as it should be is none."""

from __future__ import annotations

import re
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


_AGE: Final = re.compile(r"([0-9]{1,12})([YMDhms])\Z")
_SECONDS: Final = {"Y": 365 * 86_400, "M": 30 * 86_400, "D": 86_400, "h": 3_600, "m": 60, "s": 1}


def age_in_ms(value: object) -> int | None:
    """Return the milliseconds of an age such as `7D`, with RabbitMQ's units; None for what is no age, or 0."""
    match = _AGE.match(value) if isinstance(value, str) else None
    return None if match is None else int(match[1]) * _SECONDS[match[2]] * 1000 or None
