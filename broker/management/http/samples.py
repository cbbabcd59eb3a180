"""Which samples of figures a request asks for: RabbitMQ's parameters `lengths_age`, `msg_rates_incr` and the like."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from broker.management.figures.history import MOST_SAMPLES, NO_SAMPLES, SampleSpan, SampleSpans
from broker.management.http.call import BadRequest

_LONGEST: Final = 86_400
"""Seconds."""
_KINDS: Final = ("lengths", "msg_rates", "data_rates", "node_stats")


def spans_of(query: Mapping[str, str]) -> SampleSpans:
    """Read the query of a request. Raises `BadRequest`."""
    found = {kind: span for kind in _KINDS if (span := _span(query, kind)) is not None}
    return SampleSpans(**found) if found else NO_SAMPLES


def _span(query: Mapping[str, str], kind: str) -> SampleSpan | None:
    age, increment = query.get(f"{kind}_age"), query.get(f"{kind}_incr")
    if not age or not increment:
        return None
    if not all(text.isascii() and text.isdigit() and len(text) < 7 for text in (age, increment)):
        raise BadRequest(f"{kind}_age and {kind}_incr are seconds")
    if 0 < int(increment) <= int(age) <= _LONGEST and int(age) // int(increment) <= MOST_SAMPLES:
        return SampleSpan(int(age), int(increment))
    raise BadRequest(f"{kind}_age is at most {_LONGEST} seconds, and there are at most {MOST_SAMPLES} samples in it")
