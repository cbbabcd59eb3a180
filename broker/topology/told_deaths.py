"""What operators are told of the deaths of a message. Clients may write anything into the headers that say it: what is
not of the type that the broker writes is left out (contract L3, docs/jms.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from broker.codec.channel_death import FIRST, LAST, told_of
from broker.codec.expiration import LATEST
from broker.codec.field_table import FieldTable, Timestamp
from broker.codec.properties import BasicProperties
from broker.errors import SyntaxFault

_MOST: Final = (1 << 63) - 1
_NAMES: Final = ("queue", "reason", "exchange", "time")


@dataclass(frozen=True, slots=True)
class ToldDeath:
    """One death. What a header does not tell is None."""

    queue: str | None
    reason: str | None
    exchange: str | None
    count: int | None
    time_s: int | None
    """Seconds since 1970."""

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> ToldDeath:
        """Read an entry of `x-death`, or headers of that name."""
        return cls(
            text_of(values.get("queue")),
            text_of(values.get("reason")),
            text_of(values.get("exchange")),
            count_of(values.get("count")),
            seconds_of(values.get("time")),
        )

    @property
    def row(self) -> dict[str, Any]:
        """What is told of it, as JSON has it."""
        row: dict[str, Any] = {"queue": self.queue, "reason": self.reason, "exchange": self.exchange}
        row |= {"count": self.count, "time_ms": None if self.time_s is None else 1000 * self.time_s}
        return {name: value for name, value in row.items() if value is not None}


def text_of(value: object) -> str | None:
    """Return a value that is a text."""
    return value if isinstance(value, str) else None


def count_of(value: object) -> int | None:
    """Return a value that is a number of deaths."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _MOST else None


def seconds_of(value: object) -> int | None:
    """Return a value that is a time since 1970, in seconds: as milliseconds it fits into 63 bits."""
    return value.seconds if isinstance(value, Timestamp) and 0 <= value.seconds <= LATEST // 1000 else None


def deaths_in(header: bytes, properties: BasicProperties) -> list[ToldDeath]:
    """Return where a message has died, the first time first. `header` is the payload of its content header. An entry
    without a queue and a reason tells of no death.
    """
    headers = properties.headers
    try:
        history = headers.values.get("x-death") if isinstance(headers, FieldTable) else None
        if isinstance(history, list):
            tables = [each.values if isinstance(each, FieldTable) else each for each in reversed(history)]
            found = [ToldDeath.of(each) for each in tables if isinstance(each, Mapping)]
        else:
            told = told_of(header) if header else {}
            first, last = ({name: told.get(each + name) for name in _NAMES} for each in (FIRST, LAST))
            found = [ToldDeath.of(each) for each in ([first] if first == last else [first, last])]
    except SyntaxFault:
        return []
    return [each for each in found if each.queue is not None and each.reason is not None]
