"""This node's own row: taken, kept, lost and given back."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import pytest

from broker.coordination.membership.own_row import DuplicateNodeId, ReadOwnRow, Registration
from broker.ports.cluster_rows import Beat, Leave, NodeRow, NodeState, Register

DEAD = NodeRow("me", "old", 4, 9, NodeState.DEAD, "10.0.0.9", 5672)
ALIVE = replace(DEAD, state=NodeState.UP)


def new_registration() -> Registration:
    incarnations = (f"incarnation-{number}" for number in range(100))
    return Registration("me", 5.0, incarnations.__next__, lambda: 1.0)


def read(registration: Registration, row: NodeRow | None, asked_at: float) -> None:
    """Let the registration read `row`, answered 0.1 s after the question."""
    assert registration.next_action(asked_at) == ReadOwnRow(asked_at, asked_at + 2.0)
    registration.on_row(row, asked_at=asked_at, now=asked_at + 0.1)


def registered() -> Registration:
    """Return a registration that was granted at 100.2, asked for at 100.1."""
    registration = new_registration()
    read(registration, DEAD, 100.0)
    registration.next_action(100.1)
    registration.on_granted(asked_at=100.1, now=100.2)
    return registration


def test_the_first_start_of_a_node_makes_its_row() -> None:
    registration = new_registration()
    read(registration, None, 100.0)
    assert registration.next_action(100.1) == Register(None, "incarnation-0", 100.1, 102.1)
    assert not registration.is_trusted(100.1)
    registration.on_granted(asked_at=100.1, now=100.2)
    assert (registration.fence, registration.is_trusted(109.0), registration.is_trusted(109.1)) == (1, True, False)


@pytest.mark.parametrize("state", [NodeState.DEAD, NodeState.STOPPED])
def test_a_row_that_is_not_up_is_taken_at_once(state: NodeState) -> None:
    registration = new_registration()
    row = replace(DEAD, state=state)
    read(registration, row, 100.0)
    assert registration.next_action(100.1) == Register(row, "incarnation-0", 100.1, 102.1)
    registration.on_granted(asked_at=100.1, now=100.2)
    assert registration.fence == 5


def test_a_row_that_is_up_is_taken_after_ten_seconds_of_silence() -> None:
    registration = new_registration()
    read(registration, ALIVE, 100.0)
    read(registration, ALIVE, 110.0)
    assert registration.next_deadline() == 110.1
    read(registration, ALIVE, 110.1)
    assert registration.next_action(110.2) == Register(ALIVE, "incarnation-0", 110.2, 112.2)


def test_an_id_that_another_living_node_has_is_refused() -> None:
    registration = new_registration()
    read(registration, ALIVE, 100.0)
    read(registration, replace(ALIVE, beat=10), 105.0)
    registration.next_action(110.0)
    with pytest.raises(
        DuplicateNodeId, match=r"node id 'me' is in use by a living node at 10.0.0.9:5672, incarn.* old"
    ):
        registration.on_row(replace(ALIVE, beat=11), asked_at=110.0, now=110.1)


def test_late_beats_of_the_process_before_are_waited_out() -> None:
    registration = new_registration()
    read(registration, ALIVE, 100.0)
    read(registration, replace(ALIVE, beat=10), 103.0)
    read(registration, replace(ALIVE, beat=11), 106.0)
    read(registration, replace(ALIVE, beat=11), 116.1)
    assert registration.next_action(116.2) == Register(replace(ALIVE, beat=11), "incarnation-0", 116.2, 118.2)


def test_silence_during_an_outage_does_not_count() -> None:
    registration = new_registration()
    read(registration, ALIVE, 100.0)
    registration.next_action(105.0)
    registration.on_failed(asked_at=105.0, now=105.1)
    read(registration, ALIVE, 111.0)
    assert registration.next_deadline() == 113.25


def test_beats_extend_trust_from_the_question() -> None:
    registration = registered()
    assert registration.next_action(105.0) is None
    assert registration.next_action(105.1) == Beat("incarnation-0", 105.1, 107.1)
    assert registration.next_action(105.2) is None
    registration.on_granted(asked_at=105.1, now=107.0)
    assert (registration.trusted_until, registration.next_deadline()) == (114.1, 110.1)


def test_an_evicted_node_begins_again_in_a_new_incarnation() -> None:
    registration = registered()
    registration.next_action(105.1)
    registration.on_refused(asked_at=105.1, now=105.2)
    assert (registration.incarnation, registration.is_trusted(105.2)) == ("incarnation-1", False)
    read(registration, replace(DEAD, incarnation="incarnation-0"), 105.2)
    assert isinstance(registration.next_action(105.3), Register)


def test_a_node_nobody_evicted_goes_on_after_an_outage() -> None:
    registration = registered()
    registration.next_action(105.1)
    registration.on_failed(asked_at=105.1, now=107.1)
    assert not registration.is_trusted(110.0)
    assert registration.next_action(130.0) == Beat("incarnation-0", 130.0, 132.0)
    registration.on_granted(asked_at=130.0, now=130.1)
    assert registration.is_trusted(138.0)


def test_a_registration_without_an_answer_is_found_and_trusted_from_the_first_beat() -> None:
    registration = new_registration()
    read(registration, None, 100.0)
    registration.next_action(100.1)
    registration.on_failed(asked_at=100.1, now=102.1)
    read(registration, NodeRow("me", "incarnation-0", 1, 0, NodeState.UP, "10.0.0.1", 5672), 102.3)
    assert not registration.is_trusted(102.4)
    assert registration.next_action(102.4) == Beat("incarnation-0", 102.4, 104.4)
    registration.on_granted(asked_at=102.4, now=102.5)
    assert (registration.fence, registration.is_trusted(111.0)) == (1, True)


def test_a_registration_that_was_done_late_and_evicted_is_not_repeated_in_its_incarnation() -> None:
    registration = new_registration()
    read(registration, None, 100.0)
    registration.next_action(100.1)
    registration.on_failed(asked_at=100.1, now=102.1)
    evicted = NodeRow("me", "incarnation-0", 2, 0, NodeState.DEAD, "10.0.0.1", 5672)
    read(registration, evicted, 115.0)
    assert registration.next_action(115.1) == Register(evicted, "incarnation-1", 115.1, 117.1)


def test_a_refused_registration_reads_again() -> None:
    registration = new_registration()
    read(registration, DEAD, 100.0)
    registration.next_action(100.1)
    registration.on_refused(asked_at=100.1, now=100.2)
    assert registration.next_action(100.2) == ReadOwnRow(100.2, 102.2)


def test_a_grant_that_answers_a_read_is_ignored() -> None:
    registration = new_registration()
    registration.next_action(100.0)
    registration.on_granted(asked_at=100.0, now=100.1)
    assert not registration.is_trusted(100.1)


def test_answers_to_questions_that_were_given_up_change_nothing() -> None:
    registration = new_registration()
    read(registration, DEAD, 100.0)
    registration.next_action(100.1)
    assert registration.next_action(102.1) is None
    registration.on_granted(asked_at=100.1, now=102.15)
    registration.on_refused(asked_at=100.1, now=102.15)
    registration.on_failed(asked_at=100.1, now=102.15)
    registration.on_row(DEAD, asked_at=100.1, now=102.15)
    assert (registration.is_trusted(102.15), registration.next_deadline()) == (False, 102.1 + 0.1)


def test_a_registered_node_that_stops_leaves() -> None:
    registration = registered()
    assert registration.stop() == Leave("incarnation-0")
    assert (registration.is_trusted(101.0), registration.next_action(200.0), registration.next_deadline()) == (
        False,
        None,
        inf,
    )


def test_a_node_that_was_never_registered_has_nothing_to_leave() -> None:
    assert new_registration().stop() is None


def test_a_beat_comes_early_rather_than_behind_a_question_that_may_last_until_it_is_due() -> None:
    registration = registered()
    registration.hasten(until=105.0, now=103.0)
    assert registration.next_action(103.0) is None
    registration.hasten(until=105.2, now=103.2)
    assert registration.next_action(103.2) == Beat("incarnation-0", 103.2, 105.2)


def test_a_beat_that_is_to_be_repeated_is_not_hastened() -> None:
    registration = registered()
    registration.next_action(105.1)
    registration.on_failed(asked_at=105.1, now=105.2)
    registration.hasten(until=107.2, now=105.2)
    assert registration.next_action(105.2) is None
    assert registration.next_deadline() == pytest.approx(105.3)


def test_a_node_without_a_row_has_no_beat_to_hasten() -> None:
    registration = new_registration()
    read(registration, ALIVE, 100.0)
    registration.hasten(until=103.0, now=101.0)
    assert registration.next_action(101.0) is None
