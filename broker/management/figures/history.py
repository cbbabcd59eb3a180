"""What figures were earlier: where their rates come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

MOST_SAMPLES: Final = 1000
"""Samples of one figure in one answer."""


@dataclass(frozen=True, slots=True)
class SampleSpan:
    """Which samples are asked for: those of the last `age` seconds, one in every `increment` seconds."""

    age: int
    increment: int

    def __post_init__(self) -> None:
        """Raises ValueError for what nobody would look at."""
        if self.age < 1 or self.increment < 1:
            raise ValueError("samples are asked for by positive numbers of seconds")
        if self.age // self.increment > MOST_SAMPLES:
            raise ValueError(f"more than {MOST_SAMPLES} samples are asked for")


@dataclass(frozen=True, slots=True)
class SampleSpans:
    """Which samples are asked for, by the kind of figure; None for none. The names are those of RabbitMQ's query
    parameters `lengths_age`, `msg_rates_incr` and so on.
    """

    lengths: SampleSpan | None = None
    msg_rates: SampleSpan | None = None
    data_rates: SampleSpan | None = None
    node_stats: SampleSpan | None = None


NO_SAMPLES: Final = SampleSpans()


class History(Protocol):
    """Samples of figures."""

    def details(self, owner: object, name: str, span: SampleSpan | None = None) -> dict[str, Any]:
        """Return `rate`, how much the figure `name` of `owner` grows in a second; with a `span` also `samples`, the
        newest first, `avg` and `avg_rate`.
        """
        ...

    def idle_since(self, owner: object) -> int | None:
        """Return since when no figure of `owner` has changed, in milliseconds since 1970; None if one has just now, or
        nobody knows.
        """
        ...

    def totals(self, owner: object) -> Mapping[str, int]:
        """Return the figures of `owner` as they were in the last sample; nothing if there is none."""
        ...


class NoHistory:
    """Stands where nobody takes samples: nothing grows."""

    def details(self, owner: object, name: str, span: SampleSpan | None = None) -> dict[str, Any]:
        return {"rate": 0.0} if span is None else {"rate": 0.0, "samples": [], "avg_rate": 0.0, "avg": 0.0}

    def idle_since(self, owner: object) -> int | None:
        return None

    def totals(self, owner: object) -> Mapping[str, int]:
        return {}


def with_details(
    figures: Mapping[str, Any], history: History, owner: object, span: SampleSpan | None = None
) -> dict[str, Any]:
    """Return figures, each followed by its `_details`."""
    result: dict[str, Any] = {}
    for name, value in figures.items():
        result[name] = value
        result[f"{name}_details"] = history.details(owner, name, span)
    return result
