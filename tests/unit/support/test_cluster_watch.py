"""Slots that have ids in common."""

from __future__ import annotations

from tests.support.cluster import SlotSeen
from tests.support.cluster_watch import overlapping


def test_slots_of_one_queue_and_lane_must_not_share_an_id() -> None:
    slots = [SlotSeen(1, 0, 20, 30, "b"), SlotSeen(1, 0, 10, 20, "")]
    assert overlapping(slots) == ["queue 1, lane 0: 10..20 of nobody and 20..30 of b"]


def test_slots_side_by_side_of_other_queues_and_of_other_lanes_are_fine() -> None:
    slots = [
        SlotSeen(1, 0, 10, 20, "a"),
        SlotSeen(1, 0, 21, 30, "b"),
        SlotSeen(1, 1, 10, 30, ""),
        SlotSeen(2, 0, 10, 30, ""),
    ]
    assert overlapping(slots) == []
