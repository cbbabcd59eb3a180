"""This node's own row: taken, kept, lost and given back."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import pytest

from broker.coordination.membership.own_row import DuplicateNodeId, OwnRow, ReadOwnRow
from broker.ports.cluster_rows import Beat, Leave, NodeRow, NodeState, Register

DEAD = NodeRow("me", "old", 4, 9, NodeState.DEAD, "10.0.0.9", 5672)
ALIVE = replace(DEAD, state=NodeState.UP)


def new_own_row() -> OwnRow:
    incarnations = (f"incarnation-{number}" for number in range(100))
    return OwnRow("me", 5.0, incarnations.__next__, lambda: 1.0)


def read(own_row: OwnRow, row: NodeRow | None, asked_at: float) -> None:
    """Let the node read `row`, answered 0.1 s after the request."""
    assert own_row.next_action(asked_at) == ReadOwnRow(asked_at, asked_at + 2.0)
    own_row.on_row(row, asked_at=asked_at, now=asked_at + 0.1)


def registered() -> OwnRow:
    """Return the row of a node whose registration was asked for at 100.1 and granted at 100.2."""
    own_row = new_own_row()
    read(own_row, DEAD, 100.0)
    own_row.next_action(100.1)
    own_row.on_granted(asked_at=100.1, now=100.2)
    return own_row


def test_the_first_start_of_a_node_makes_its_row() -> None:
    own_row = new_own_row()
    read(own_row, None, 100.0)
    assert own_row.next_action(100.1) == Register(None, "incarnation-0", 100.1, 102.1)
    assert not own_row.is_trusted(100.1)
    own_row.on_granted(asked_at=100.1, now=100.2)
    assert (own_row.fence, own_row.is_trusted(109.0), own_row.is_trusted(109.1)) == (1, True, False)


@pytest.mark.parametrize("state", [NodeState.DEAD, NodeState.STOPPED])
def test_a_row_that_is_not_up_is_taken_at_once(state: NodeState) -> None:
    own_row = new_own_row()
    row = replace(DEAD, state=state)
    read(own_row, row, 100.0)
    assert own_row.next_action(100.1) == Register(row, "incarnation-0", 100.1, 102.1)
    own_row.on_granted(asked_at=100.1, now=100.2)
    assert own_row.fence == 5


def test_a_row_that_is_up_is_taken_after_ten_seconds_of_silence() -> None:
    own_row = new_own_row()
    read(own_row, ALIVE, 100.0)
    read(own_row, ALIVE, 110.0)
    assert own_row.next_deadline() == 110.1
    read(own_row, ALIVE, 110.1)
    assert own_row.next_action(110.2) == Register(ALIVE, "incarnation-0", 110.2, 112.2)


def test_an_id_that_another_living_node_has_is_refused() -> None:
    own_row = new_own_row()
    read(own_row, ALIVE, 100.0)
    read(own_row, replace(ALIVE, beat=10), 105.0)
    own_row.next_action(110.0)
    with pytest.raises(
        DuplicateNodeId, match=r"node id 'me' is in use by a living node at 10.0.0.9:5672, incarn.* old"
    ):
        own_row.on_row(replace(ALIVE, beat=11), asked_at=110.0, now=110.1)


def test_late_beats_of_the_process_before_are_waited_out() -> None:
    own_row = new_own_row()
    read(own_row, ALIVE, 100.0)
    read(own_row, replace(ALIVE, beat=10), 103.0)
    read(own_row, replace(ALIVE, beat=11), 106.0)
    read(own_row, replace(ALIVE, beat=11), 116.1)
    assert own_row.next_action(116.2) == Register(replace(ALIVE, beat=11), "incarnation-0", 116.2, 118.2)


def test_silence_during_an_outage_does_not_count() -> None:
    own_row = new_own_row()
    read(own_row, ALIVE, 100.0)
    own_row.next_action(105.0)
    own_row.on_failed(asked_at=105.0, now=105.1)
    read(own_row, ALIVE, 111.0)
    assert own_row.next_deadline() == 113.25


def test_beats_extend_trust_from_the_question() -> None:
    own_row = registered()
    assert own_row.next_action(105.0) is None
    assert own_row.next_action(105.1) == Beat("incarnation-0", 105.1, 107.1)
    assert own_row.next_action(105.2) is None
    own_row.on_granted(asked_at=105.1, now=107.0)
    assert (own_row.trusted_until, own_row.next_deadline()) == (114.1, 110.1)


def test_an_evicted_node_begins_again_in_a_new_incarnation() -> None:
    own_row = registered()
    own_row.next_action(105.1)
    own_row.on_refused(asked_at=105.1, now=105.2)
    assert (own_row.incarnation, own_row.is_trusted(105.2)) == ("incarnation-1", False)
    read(own_row, replace(DEAD, incarnation="incarnation-0"), 105.2)
    assert isinstance(own_row.next_action(105.3), Register)


def test_a_node_nobody_evicted_goes_on_after_an_outage() -> None:
    own_row = registered()
    own_row.next_action(105.1)
    own_row.on_failed(asked_at=105.1, now=107.1)
    assert not own_row.is_trusted(110.0)
    assert own_row.next_action(130.0) == Beat("incarnation-0", 130.0, 132.0)
    own_row.on_granted(asked_at=130.0, now=130.1)
    assert own_row.is_trusted(138.0)


def test_a_registration_without_an_answer_is_found_and_trusted_from_the_first_beat() -> None:
    own_row = new_own_row()
    read(own_row, None, 100.0)
    own_row.next_action(100.1)
    own_row.on_failed(asked_at=100.1, now=102.1)
    read(own_row, NodeRow("me", "incarnation-0", 1, 0, NodeState.UP, "10.0.0.1", 5672), 102.3)
    assert not own_row.is_trusted(102.4)
    assert own_row.next_action(102.4) == Beat("incarnation-0", 102.4, 104.4)
    own_row.on_granted(asked_at=102.4, now=102.5)
    assert (own_row.fence, own_row.is_trusted(111.0)) == (1, True)


def test_a_registration_that_was_done_late_and_evicted_is_not_repeated_in_its_incarnation() -> None:
    own_row = new_own_row()
    read(own_row, None, 100.0)
    own_row.next_action(100.1)
    own_row.on_failed(asked_at=100.1, now=102.1)
    evicted = NodeRow("me", "incarnation-0", 2, 0, NodeState.DEAD, "10.0.0.1", 5672)
    read(own_row, evicted, 115.0)
    assert own_row.next_action(115.1) == Register(evicted, "incarnation-1", 115.1, 117.1)


def test_a_refused_registration_reads_again() -> None:
    own_row = new_own_row()
    read(own_row, DEAD, 100.0)
    own_row.next_action(100.1)
    own_row.on_refused(asked_at=100.1, now=100.2)
    assert own_row.next_action(100.2) == ReadOwnRow(100.2, 102.2)


def test_a_grant_that_answers_a_read_is_ignored() -> None:
    own_row = new_own_row()
    own_row.next_action(100.0)
    own_row.on_granted(asked_at=100.0, now=100.1)
    assert not own_row.is_trusted(100.1)


def test_answers_to_questions_that_were_given_up_change_nothing() -> None:
    own_row = new_own_row()
    read(own_row, DEAD, 100.0)
    own_row.next_action(100.1)
    assert own_row.next_action(102.1) is None
    own_row.on_granted(asked_at=100.1, now=102.15)
    own_row.on_refused(asked_at=100.1, now=102.15)
    own_row.on_failed(asked_at=100.1, now=102.15)
    own_row.on_row(DEAD, asked_at=100.1, now=102.15)
    assert (own_row.is_trusted(102.15), own_row.next_deadline()) == (False, 102.1 + 0.1)


def test_a_registered_node_that_stops_leaves() -> None:
    own_row = registered()
    assert own_row.stop() == Leave("incarnation-0")
    assert (own_row.is_trusted(101.0), own_row.next_action(200.0), own_row.next_deadline()) == (
        False,
        None,
        inf,
    )


def test_a_node_that_was_never_registered_has_nothing_to_leave() -> None:
    assert new_own_row().stop() is None


def test_a_beat_comes_early_rather_than_behind_a_question_that_may_last_until_it_is_due() -> None:
    own_row = registered()
    own_row.hasten(until=105.0, now=103.0)
    assert own_row.next_action(103.0) is None
    own_row.hasten(until=105.2, now=103.2)
    assert own_row.next_action(103.2) == Beat("incarnation-0", 103.2, 105.2)


def test_a_beat_that_is_to_be_repeated_is_not_hastened() -> None:
    own_row = registered()
    own_row.next_action(105.1)
    own_row.on_failed(asked_at=105.1, now=105.2)
    own_row.hasten(until=107.2, now=105.2)
    assert own_row.next_action(105.2) is None
    assert own_row.next_deadline() == pytest.approx(105.3)


def test_a_node_without_a_row_has_no_beat_to_hasten() -> None:
    own_row = new_own_row()
    read(own_row, ALIVE, 100.0)
    own_row.hasten(until=103.0, now=101.0)
    assert own_row.next_action(101.0) is None
