"""Series of figures for the charts of pages, from the samples of the HTTP API."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Final

_RATES: Final = (
    ("publish", "Published"),
    ("deliver_get", "Delivered"),
    ("ack", "Acknowledged"),
    ("redeliver", "Redelivered"),
)
_DEPTHS: Final = (("messages_ready", "Ready"), ("messages_unacknowledged", "Unacknowledged"))


def of_rates(stats: Mapping[str, Any]) -> str:
    """Return how often a second things have happened, as JSON: times, and a series for each thing."""
    return _chart(stats, _RATES, is_rate=True)


def of_depths(totals: Mapping[str, Any]) -> str:
    """Return how many messages there were, as JSON."""
    return _chart(totals, _DEPTHS, is_rate=False)


def _chart(figures: Mapping[str, Any], wanted: tuple[tuple[str, str], ...], *, is_rate: bool) -> str:
    times: list[float] = []
    series = []
    for name, label in wanted:
        samples = sorted(
            (sample["timestamp"] / 1000, sample["sample"])
            for sample in figures.get(f"{name}_details", {}).get("samples", [])
        )
        if is_rate:
            samples = [
                (later[0], max(0.0, (later[1] - earlier[1]) / (later[0] - earlier[0])))
                for earlier, later in pairwise(samples)
                if later[0] > earlier[0]
            ]
        if len(samples) > len(times):
            times = [time for time, _ in samples]
        series.append((label, dict(samples)))
    values = [[known.get(time) for time in times] for _, known in series]
    return json.dumps({"labels": [label for label, _ in series], "data": [times, *values]})
