"""The role of one node, from its own clock and the store's answers."""

from __future__ import annotations

from math import inf

import pytest

from broker.coordination.membership.election import Election, ReadLease, Role
from broker.ports.cluster_rows import Claim, Lease, Renew, Resign

RELEASED = Lease(4, 9, "old", None)
HELD = Lease(4, 9, "old", "other")


def new_election(heartbeat_interval: float = 5.0, creation_wait: float = 3.0) -> Election:
    terms = (f"term-{number}" for number in range(100))
    return Election(heartbeat_interval, creation_wait, terms.__next__, lambda: 1.0)


def read(election: Election, lease: Lease, asked_at: float) -> None:
    """Let the election read `lease`, answered 0.1 s after the request."""
    assert election.next_action(asked_at) == ReadLease(asked_at, asked_at + 2.0)
    election.on_lease(lease, asked_at=asked_at, now=asked_at + 0.1)


def claiming(lease: Lease = RELEASED) -> Election:
    """Return an election that asked for the lease at 100.1, as `term-0`."""
    election = new_election()
    if lease.holder is None:
        read(election, lease, 100.0)
    else:
        read(election, lease, 89.0)
        read(election, lease, 99.1)
        election.on_hint(100.1)
    assert election.next_action(100.1) == Claim(lease, "term-0", 100.1, 102.1)
    return election


def elected() -> Election:
    """Return an election that was granted epoch 5 of a released lease, asked for at 100.1."""
    election = claiming()
    election.on_granted(asked_at=100.1, now=100.2)
    return election


@pytest.mark.parametrize("lease", [RELEASED, Lease(0, 0, "", None)], ids=["released", "never held"])
def test_a_lease_nobody_holds_is_claimed_at_once(lease: Lease) -> None:
    election = new_election()
    read(election, lease, 100.0)
    assert election.next_deadline() == 100.1
    assert election.next_action(100.1) == Claim(lease, "term-0", 100.1, 102.1)


def test_a_lease_is_claimed_when_it_has_not_changed_for_ten_seconds() -> None:
    election = new_election()
    read(election, HELD, 100.0)
    read(election, HELD, 109.0)
    assert election.next_deadline() == 110.1
    read(election, HELD, 110.1)
    assert election.next_action(110.2) == Claim(HELD, "term-0", 110.2, 112.2)


def test_a_lease_that_changes_is_left_to_its_holder() -> None:
    election = new_election()
    read(election, HELD, 100.0)
    read(election, Lease(4, 10, "old", "other"), 109.0)
    read(election, Lease(4, 10, "old", "other"), 111.25)
    assert election.next_deadline() == 113.5


def test_the_observation_begins_with_the_answer() -> None:
    election = new_election()
    assert isinstance(election.next_action(100.0), ReadLease)
    election.on_lease(HELD, asked_at=100.0, now=101.9)
    assert isinstance(election.next_action(111.8), ReadLease)
    election.on_lease(HELD, asked_at=111.8, now=111.85)
    assert election.next_deadline() == 111.9


def test_the_observation_begins_anew_after_an_outage() -> None:
    election = new_election()
    read(election, HELD, 100.0)
    election.next_action(105.0)
    election.on_failed(asked_at=105.0, now=105.1)
    read(election, HELD, 111.0)
    assert election.next_deadline() == 113.25


def test_the_observation_begins_anew_after_an_answer_that_took_too_long() -> None:
    election = new_election()
    read(election, HELD, 100.0)
    election.next_action(105.0)
    election.on_lease(HELD, asked_at=105.0, now=107.0)
    assert election.next_action(107.0) is None
    read(election, HELD, 111.0)
    assert election.next_deadline() == 113.25


def test_power_waits_after_a_lease_was_taken_from_somebody() -> None:
    election = claiming(HELD)
    election.on_granted(asked_at=100.1, now=100.2)
    assert (election.epoch, election.term, election.next_deadline()) == (5, "term-0", 103.1)
    assert election.role(103.0) is Role.ELECTED
    assert election.next_action(103.1) is None
    assert election.role(103.1) is Role.COORDINATOR
    assert election.next_deadline() == 105.1


def test_power_does_not_wait_after_a_lease_was_released() -> None:
    assert elected().role(100.2) is Role.COORDINATOR


def test_a_slow_database_reply_does_not_stretch_the_lease() -> None:
    election = claiming()
    election.on_granted(asked_at=100.1, now=102.0)
    assert election.role(109.0) is Role.COORDINATOR
    assert election.role(109.1) is Role.CANDIDATE


def test_the_lease_is_renewed_every_interval_and_trusted_from_the_question() -> None:
    election = elected()
    assert election.next_action(105.0) is None
    assert election.next_action(105.1) == Renew(5, "term-0", 105.1, 107.1)
    assert election.next_action(105.2) is None
    election.on_granted(asked_at=105.1, now=106.9)
    assert (election.trusted_until, election.next_deadline()) == (114.1, 110.1)


def test_a_refused_renewal_ends_the_role_at_once() -> None:
    election = elected()
    election.next_action(105.1)
    election.on_refused(asked_at=105.1, now=105.2)
    assert (election.epoch, election.role(105.2)) == (None, Role.CANDIDATE)
    assert election.next_action(105.2) == ReadLease(105.2, 107.2)


def test_a_renewal_is_tried_again_while_trust_lasts() -> None:
    election = elected()
    election.next_action(105.1)
    election.on_failed(asked_at=105.1, now=107.1)
    assert election.role(107.1) is Role.COORDINATOR
    assert election.next_action(107.2) == Renew(5, "term-0", 107.2, election.trusted_until)
    election.on_granted(asked_at=107.2, now=107.3)
    assert election.trusted_until == 116.2


def test_the_role_ends_with_trust() -> None:
    election = elected()
    election.next_action(105.1)
    assert election.next_action(107.1) is None
    assert isinstance(election.next_action(107.2), Renew)
    assert election.next_deadline() == election.trusted_until
    assert election.next_action(election.trusted_until) is None
    assert election.epoch is None


def test_a_renewal_answered_after_trust_has_ended_gives_nothing() -> None:
    election = elected()
    election.next_action(109.0)
    election.on_granted(asked_at=109.0, now=109.1)
    assert election.role(109.1) is Role.CANDIDATE
    assert election.next_action(109.1) is None
    assert election.epoch is None


def test_an_own_lease_is_claimed_again_at_once_when_trust_was_lost() -> None:
    election = elected()
    assert election.next_action(130.0) == ReadLease(130.0, 132.0)
    own = Lease(5, 0, "term-0", "me")
    election.on_lease(own, asked_at=130.0, now=130.1)
    assert election.next_action(130.1) == Claim(own, "term-1", 130.1, 132.1)
    election.on_granted(asked_at=130.1, now=130.2)
    assert (election.epoch, election.role(130.2)) == (6, Role.ELECTED)


def test_a_claim_without_an_answer_that_was_granted_is_found_by_reading() -> None:
    election = claiming()
    election.on_failed(asked_at=100.1, now=102.1)
    read(election, Lease(5, 0, "term-0", "me"), 102.2)
    assert (election.epoch, election.trusted_until) == (5, 109.1)


def test_a_claim_that_was_granted_too_late_to_be_trusted_is_made_again() -> None:
    election = claiming()
    election.on_failed(asked_at=100.1, now=102.1)
    read(election, Lease(5, 0, "term-0", "me"), 109.5)
    assert election.epoch is None
    assert election.next_action(109.6) == Claim(Lease(5, 0, "term-0", "me"), "term-1", 109.6, 111.6)


def test_a_refused_claim_makes_a_candidate_that_looks_again() -> None:
    election = claiming()
    election.on_refused(asked_at=100.1, now=100.2)
    assert election.role(100.2) is Role.CANDIDATE
    assert election.next_action(100.2) == ReadLease(100.2, 102.2)


def test_answers_to_questions_that_were_given_up_change_nothing() -> None:
    election = claiming()
    assert election.next_action(102.1) is None
    election.on_granted(asked_at=100.1, now=102.15)
    election.on_refused(asked_at=100.1, now=102.15)
    election.on_failed(asked_at=100.1, now=102.15)
    election.on_lease(RELEASED, asked_at=100.1, now=102.15)
    assert (election.epoch, election.next_deadline()) == (None, 102.1 + 0.1)


def test_a_grant_that_answers_a_read_is_ignored() -> None:
    election = new_election()
    election.next_action(100.0)
    election.on_granted(asked_at=100.0, now=100.1)
    assert election.role(100.1) is Role.CANDIDATE


def test_a_fenced_write_ends_the_role_at_once() -> None:
    election = elected()
    election.next_action(105.1)
    election.on_fenced("term-0", 105.2)
    assert election.role(105.2) is Role.CANDIDATE
    assert election.next_action(105.2) == ReadLease(105.2, 107.2)


def test_a_fenced_write_of_an_earlier_term_says_nothing() -> None:
    election = elected()
    election.on_fenced("term-of-before", 102.0)
    assert election.role(102.0) is Role.COORDINATOR


def test_a_candidate_looks_at_once_when_a_peer_says_so() -> None:
    election = new_election()
    read(election, HELD, 100.0)
    election.on_hint(100.5)
    assert election.next_action(100.5) == ReadLease(100.5, 102.5)


def test_a_coordinator_does_not_follow_hints() -> None:
    election = elected()
    election.on_hint(101.0)
    assert election.next_action(101.0) is None


def test_a_coordinator_that_stops_resigns() -> None:
    election = elected()
    assert election.stop() == Resign(5, "term-0")
    assert (election.role(101.0), election.next_action(200.0), election.next_deadline()) == (Role.CANDIDATE, None, inf)


def test_a_candidate_that_stops_has_nothing_to_resign() -> None:
    election = new_election()
    election.next_action(100.0)
    assert election.stop() is None
    election.on_lease(RELEASED, asked_at=100.0, now=100.1)
    assert election.next_action(100.1) is None


def test_short_heartbeats_shorten_everything() -> None:
    election = new_election(heartbeat_interval=0.5, creation_wait=0.3)
    assert election.next_action(100.0) == ReadLease(100.0, 100.2)
    election.on_lease(RELEASED, asked_at=100.0, now=100.01)
    election.next_action(100.01)
    election.on_granted(asked_at=100.01, now=100.02)
    assert election.trusted_until == 100.01 + 0.9


def test_the_lease_that_was_read_is_shown_until_this_nodes_own_claim() -> None:
    election = new_election()
    assert election.lease is None
    election.next_action(100.0)
    election.on_lease(Lease(6, 0, "t", None), asked_at=100.0, now=100.1)
    assert election.lease == Lease(6, 0, "t", None)
    election.next_action(100.1)
    election.on_granted(asked_at=100.1, now=100.2)
    assert election.lease is None


def test_a_coordinator_that_is_fenced_between_two_beats_looks_at_once() -> None:
    election = elected()
    election.on_fenced("term-0", 102.0)
    assert election.next_action(102.0) == ReadLease(102.0, 104.0)


def test_a_lease_that_was_read_too_late_is_not_claimed() -> None:
    election = new_election()
    election.next_action(100.0)
    election.on_lease(RELEASED, asked_at=100.0, now=102.0)
    election.next_action(102.0)
    assert isinstance(election.next_action(election.next_deadline()), ReadLease)


def test_a_claim_that_was_granted_unheard_gives_no_power_when_its_trust_has_run_out() -> None:
    election = claiming()
    assert election.next_action(108.0) is None
    assert election.next_action(108.2) == ReadLease(108.2, 110.2)
    election.on_lease(Lease(5, 0, "term-0", "me"), asked_at=108.2, now=109.1)
    assert election.role(109.1) is Role.CANDIDATE
    assert isinstance(election.next_action(109.1), Claim)


def test_a_grant_that_comes_after_the_stop_gives_no_power() -> None:
    election = claiming()
    assert election.stop() is None
    election.on_granted(asked_at=100.1, now=100.2)
    assert (election.epoch, election.role(100.2)) == (None, Role.CANDIDATE)
