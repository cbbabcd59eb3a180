"""A well-known member that never answers is told of once, and again when the reason is another one."""

from __future__ import annotations

from broker.coordination.peering.unanswered import Unanswered

ADDRESS = ("10.0.0.9", 4100)
REFUSED, LATE = "Connection refused", "no answer within 2.5 s"


def test_it_is_told_after_two_times_of_silence_and_then_not_again() -> None:
    unanswered = Unanswered(10.0, now=100.0)
    assert unanswered.on_failed(ADDRESS, REFUSED, 119.0) is None
    assert unanswered.on_failed(ADDRESS, REFUSED, 120.0) == 20.0
    assert unanswered.on_failed(ADDRESS, REFUSED, 9000.0) is None
    assert unanswered.on_failed(("10.0.0.8", 4100), REFUSED, 121.0) == 21.0


def test_another_reason_is_told_again_but_not_at_each_turn() -> None:
    unanswered = Unanswered(10.0, now=0.0)
    assert unanswered.on_failed(ADDRESS, REFUSED, 20.0) == 20.0
    assert unanswered.on_failed(ADDRESS, LATE, 21.0) is None
    assert unanswered.on_failed(ADDRESS, LATE, 320.0) == 320.0
    assert unanswered.on_failed(ADDRESS, REFUSED, 321.0) is None


def test_who_has_answered_once_leaves_as_a_member_does() -> None:
    unanswered = Unanswered(10.0, now=0.0)
    unanswered.on_answer(ADDRESS)
    assert unanswered.on_failed(ADDRESS, LATE, 500.0) is None
