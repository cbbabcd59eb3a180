"""Whether a node sees enough members to take clients (andes §7.1)."""

from __future__ import annotations

import pytest

from broker.coordination.membership.partition_detector import PartitionDetector


def test_a_node_that_needs_nobody_else_always_takes_clients() -> None:
    detector = PartitionDetector(1)
    assert [detector.on_size(size) for size in (1, 5, 1)] == [False, False, False]
    assert detector.reason == ""


@pytest.mark.parametrize(("size", "noun"), [(1, "member"), (2, "members")])
def test_below_the_minimum_the_reason_names_both_numbers(size: int, noun: str) -> None:
    detector = PartitionDetector(3)
    assert detector.on_size(size)
    assert detector.reason == (
        f"this node sees {size} living {noun} of its cluster, itself included, and takes no clients below 3"
        " (minimumClusterSize)"
    )


def test_what_has_not_changed_is_not_told_again() -> None:
    detector = PartitionDetector(3)
    sizes = (3, 2, 2, 1, 3, 4)
    assert [detector.on_size(size) for size in sizes] == [False, True, False, True, True, False]
    assert detector.reason == ""
