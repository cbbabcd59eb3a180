"""Computes medians, spreads, percentiles and ratios of results. Pure: does no I/O."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

Values = dict[str, float]

# Metrics that describe a run and say nothing about which broker is better.
NOT_COMPARED = {"cpu_percent", "others_percent", "left", "missing"}


def higher_is_better(metric: str) -> bool:
    """Return whether a higher value is better: true for rates, false for everything else, which is a cost."""
    return metric.endswith("rate") or metric == "mb_per_s"


def percentile(ascending: Sequence[float], fraction: float) -> float:
    """Return the nearest-rank percentile of sorted samples."""
    if not ascending:
        return float("nan")
    return ascending[max(0, math.ceil(fraction * len(ascending)) - 1)]


def latency_values(prefix: str, ascending_ns: Sequence[int]) -> Values:
    """Return p50, p95, p99 and max in milliseconds."""
    if not ascending_ns:
        return {}
    marks = {"p50": 0.50, "p95": 0.95, "p99": 0.99, "max": 1.0}
    return {f"{prefix}{name}_ms": percentile(ascending_ns, mark) / 1e6 for name, mark in marks.items()}


@dataclass(slots=True)
class Row:
    """The values of all rounds of each broker for one scenario; the first broker is the one under test."""

    case: str
    name: str
    metrics: list[str]
    rounds: dict[str, list[Values]] = field(default_factory=dict)
    x: float = 0.0

    def add(self, broker: str, values: Values) -> None:
        """Add one round of one broker."""
        self.rounds.setdefault(broker, []).append(values)

    def samples(self, broker: str, metric: str) -> list[float]:
        """Return the values of a metric in all rounds."""
        return [values[metric] for values in self.rounds.get(broker, []) if metric in values]

    def median(self, broker: str, metric: str) -> float | None:
        """Return the median over the rounds."""
        samples = self.samples(broker, metric)
        return statistics.median(samples) if samples else None

    def spread(self, broker: str, metric: str) -> tuple[float, float] | None:
        """Return the smallest and the largest value of all rounds."""
        samples = self.samples(broker, metric)
        return (min(samples), max(samples)) if samples else None

    def ratio(self, subject: str, peer: str, metric: str) -> float | None:
        """Return how many times better the subject is than the peer: above 1 is better for every metric."""
        ours, theirs = self.median(subject, metric), self.median(peer, metric)
        if not ours or not theirs or metric in NOT_COMPARED:
            return None
        return ours / theirs if higher_is_better(metric) else theirs / ours
