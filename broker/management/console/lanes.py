"""The timeline as a drawing: a lane for each node, in which bands say when it was there, and when it coordinated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

WIDTH: Final = 1000.0
"""Of the drawing, in its own units."""
_NARROWEST: Final = 3.0


@dataclass(frozen=True, slots=True)
class Band:
    """Something that lasted, from a place of the drawing on."""

    start: float
    width: float
    since_ms: int
    until_ms: int


@dataclass(slots=True)
class Lane:
    """One node."""

    name: str
    there: list[Band] = field(default_factory=list)
    """When it was a member."""
    coordinated: list[Band] = field(default_factory=list)


def lanes(entries: Sequence[Mapping[str, Any]], now_ms: int) -> list[Lane]:
    """Return the lanes of entries of the timeline, which come the newest first, up to now."""
    if not entries:
        return []
    ordered = entries[::-1]
    first = ordered[0]["happened_ms"]
    span = max(now_ms - first, 1)

    def band(since: int, until: int) -> Band:
        start = WIDTH * (since - first) / span
        width = max(WIDTH * (until - since) / span, _NARROWEST)
        return Band(round(start, 1), round(min(width, WIDTH - start + _NARROWEST), 1), since, until)

    found: dict[str, Lane] = {}
    joined: dict[str, int] = {}
    coordinator: tuple[str, int] | None = None
    for entry in ordered:
        name, at = entry["member_id"], entry["happened_ms"]
        lane = found.setdefault(name, Lane(name))
        match entry["kind"]:
            case "member_added":
                joined.setdefault(name, at)
            case "member_removed":
                lane.there.append(band(joined.pop(name, first), at))
                if coordinator is not None and coordinator[0] == name:
                    lane.coordinated.append(band(coordinator[1], at))
                    coordinator = None
            case "coordinator_changed":
                if coordinator is not None and coordinator[0] in found:
                    found[coordinator[0]].coordinated.append(band(coordinator[1], at))
                coordinator = (name, at)
                joined.setdefault(name, at)
            case _:
                joined.setdefault(name, at)
    for name, since in joined.items():
        found[name].there.append(band(since, now_ms))
    if coordinator is not None:
        found[coordinator[0]].coordinated.append(band(coordinator[1], now_ms))
    return [lane for _, lane in sorted(found.items())]
