"""How long something takes, as a command line says it: `30s`, `1m30s`, `500ms`, or a number of the usual unit."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Final

import click

_PART: Final = re.compile(r"(\d+(?:\.\d*)?)(ms|s|min|m|h|d)")
_MS: Final = {"ms": 1, "s": 1000, "m": 60_000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}
_NAMES: Final = {"ms": "milliseconds", "s": "seconds"}


def duration_in(unit: str, least: float = 0.0, most: float = math.inf) -> Callable[[str | float], float]:
    """Return the type of options that are a duration between `least` and `most`: seconds, or for `ms` whole
    milliseconds.
    """

    def duration(text: str | float) -> float:
        found = float(text) if isinstance(text, int | float) else _read(text.strip(), unit)
        if not math.isfinite(found):
            raise click.BadParameter(
                f"{text!r} is no duration: say a number of {_NAMES[unit]}, or 500ms, 30s, 5m, 2h, 1d"
            )
        if not least <= found <= most:
            upper = "" if math.isinf(most) else f" and at most {most:g} {unit}"
            raise click.BadParameter(f"{text!r} is out of range: at least {least:g} {unit}{upper}")
        return round(found) if unit == "ms" else found

    return duration


def _read(text: str, unit: str) -> float:
    """Return how many of the unit a text means; not a number if it means none."""
    if text.isascii() and text.replace(".", "", 1).isdecimal():
        return float(text)
    parts = _PART.findall(text)
    if not parts or "".join(number + each for number, each in parts) != text:
        return math.nan
    return sum(float(number) * _MS[each] for number, each in parts) / _MS[unit]
