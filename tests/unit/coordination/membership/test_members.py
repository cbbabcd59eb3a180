"""Who joined, who left, and who has been silent for too long."""

from __future__ import annotations

from dataclasses import replace
from math import inf

from broker.coordination.membership.members import MemberJoined, MemberLeft, Members
from broker.ports.cluster_rows import NodeRow, NodeState

ONE = NodeRow("one", "a", 1, 7, NodeState.UP, "10.0.0.1", 5672)
TWO = NodeRow("two", "b", 1, 3, NodeState.UP, "10.0.0.2", 5673)


def new_members() -> Members:
    return Members("me", 5.0)


def test_the_first_snapshot_tells_of_everybody_else() -> None:
    members = new_members()
    events = members.on_nodes([ONE, replace(TWO, node_id="me")], asked_at=100.0, now=100.1)
    assert events == [MemberJoined("one", "a")]
    assert members.members == {"one": ONE}


def test_a_node_that_beats_is_no_news() -> None:
    members = new_members()
    members.on_nodes([ONE], asked_at=100.0, now=100.1)
    assert members.on_nodes([replace(ONE, beat=8)], asked_at=104.0, now=104.1) == []


def test_a_node_that_stopped_or_was_evicted_has_left() -> None:
    members = new_members()
    members.on_nodes([ONE, TWO], asked_at=100.0, now=100.1)
    rows = [replace(ONE, state=NodeState.STOPPED), replace(TWO, state=NodeState.DEAD)]
    assert members.on_nodes(rows, asked_at=104.0, now=104.1) == [MemberLeft("one", "a"), MemberLeft("two", "b")]


def test_a_node_whose_row_is_gone_has_left() -> None:
    members = new_members()
    members.on_nodes([ONE], asked_at=100.0, now=100.1)
    assert members.on_nodes([], asked_at=104.0, now=104.1) == [MemberLeft("one", "a")]


def test_a_node_that_restarted_has_left_and_joined() -> None:
    members = new_members()
    members.on_nodes([ONE], asked_at=100.0, now=100.1)
    events = members.on_nodes([replace(ONE, incarnation="c", beat=0)], asked_at=104.0, now=104.1)
    assert events == [MemberLeft("one", "a"), MemberJoined("one", "c")]


def test_a_node_is_evictable_when_its_beat_has_stood_still_for_ten_seconds() -> None:
    members = new_members()
    members.on_nodes([ONE], asked_at=100.0, now=100.5)
    members.on_nodes([ONE], asked_at=110.4, now=110.5)
    assert (members.evictable(), members.next_deadline()) == ([], 110.5)
    members.on_nodes([ONE], asked_at=110.5, now=110.6)
    assert (members.evictable(), members.next_deadline()) == ([ONE], inf)


def test_a_beat_begins_the_observation_anew() -> None:
    members = new_members()
    members.on_nodes([ONE, TWO], asked_at=100.0, now=100.1)
    members.on_nodes([replace(ONE, beat=8), TWO], asked_at=108.0, now=108.1)
    members.on_nodes([replace(ONE, beat=8), TWO], asked_at=112.0, now=112.1)
    assert members.evictable() == [TWO]
    assert members.next_deadline() == 118.1


def test_a_new_incarnation_with_the_same_beat_begins_the_observation_anew() -> None:
    members = new_members()
    members.on_nodes([ONE], asked_at=100.0, now=100.1)
    members.on_nodes([replace(ONE, incarnation="c")], asked_at=112.0, now=112.1)
    assert members.evictable() == []


def test_nobody_is_judged_for_silence_during_an_outage() -> None:
    members = new_members()
    members.on_nodes([ONE], asked_at=100.0, now=100.1)
    members.on_nodes([ONE], asked_at=112.0, now=112.1)
    members.on_store_failed()
    assert (members.evictable(), members.next_deadline()) == ([], inf)
    assert members.on_nodes([ONE], asked_at=113.0, now=113.1) == []
    assert members.evictable() == []
    members.on_nodes([ONE], asked_at=123.2, now=123.3)
    assert members.evictable() == [ONE]


def test_the_last_beat_of_a_member_is_when_it_was_first_seen_whatever_the_store_did_between() -> None:
    members = new_members()
    members.on_nodes([ONE], asked_at=99.0, now=100.0)
    members.on_nodes([ONE], asked_at=103.0, now=104.0)
    assert members.last_beats() == {"one": 100.0}
    members.on_store_failed()
    assert members.last_beats() == {"one": 100.0}
    members.on_nodes([replace(ONE, beat=8)], asked_at=107.0, now=108.0)
    assert members.last_beats() == {"one": 108.0}
    members.on_nodes([], asked_at=111.0, now=112.0)
    assert members.last_beats() == {}
