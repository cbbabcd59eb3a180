"""Nodes that live in the database and do not see each other are told of."""

from __future__ import annotations

from broker.coordination.peering.unseen import Unseen
from broker.ports.cluster_rows import Incarnation, NodeRow, NodeState

A, B = Incarnation("a", "a-1"), Incarnation("b", "b-1")
ROWS = [NodeRow(each.node_id, each.id, 1, 1, NodeState.UP, "10.0.0.1", 7611) for each in (A, B)]


def told(unseen: Unseen, apart: set[Incarnation], now: float) -> list[tuple[str, float]]:
    return [(row.node_id, lasted) for row, lasted in unseen.on_look(ROWS, apart, now)]


def test_a_node_that_lives_and_is_not_seen_for_twice_the_silence_is_told_of_once() -> None:
    unseen = Unseen(10.0)
    assert told(unseen, {B}, 100.0) == []
    assert told(unseen, {B}, 119.9) == []
    assert told(unseen, {B}, 120.0) == [("b", 20.0)]
    assert told(unseen, {B}, 500.0) == []
    assert told(unseen, {A, B}, 600.0) == []
    assert told(unseen, {A, B}, 620.0) == [("a", 20.0)]


def test_a_node_that_was_seen_between_is_told_of_again() -> None:
    unseen = Unseen(10.0)
    told(unseen, {B}, 0.0)
    assert told(unseen, {B}, 20.0) == [("b", 20.0)]
    assert told(unseen, set(), 21.0) == []
    assert told(unseen, {B}, 22.0) == []
    assert told(unseen, {B}, 42.0) == [("b", 20.0)]
