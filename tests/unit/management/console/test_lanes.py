"""The drawing of the timeline."""

from __future__ import annotations

from typing import Any

from broker.management.console.lanes import WIDTH, lanes


def entry(at: int, kind: str, member: str) -> dict[str, Any]:
    return {"happened_ms": at, "kind": kind, "member_id": member, "node_id": member}


def test_nodes_have_lanes_with_when_they_were_there_and_led() -> None:
    told = [
        entry(800, "coordinator_changed", "B"),
        entry(500, "member_removed", "A"),
        entry(200, "member_added", "B"),
        entry(100, "coordinator_changed", "A"),
        entry(0, "member_added", "A"),
    ]
    first, second = lanes(told, 1000)
    assert [(band.since_ms, band.until_ms) for band in first.there] == [(0, 500)]
    assert [(band.since_ms, band.until_ms) for band in first.coordinated] == [(100, 500)]
    assert [(band.since_ms, band.until_ms) for band in second.there] == [(200, 1000)]
    assert [(band.since_ms, band.until_ms) for band in second.coordinated] == [(800, 1000)]
    assert (second.there[0].start, second.there[0].width) == (WIDTH / 5, WIDTH * 4 / 5)


def test_who_joined_before_the_first_entry_was_there_from_its_beginning() -> None:
    (lane,) = lanes([entry(500, "member_removed", "A")], 1000)
    assert [(band.since_ms, band.until_ms) for band in lane.there] == [(500, 500)]
    assert lane.there[0].width > 0


def test_without_entries_there_is_nothing_to_draw() -> None:
    assert lanes([], 1000) == []
