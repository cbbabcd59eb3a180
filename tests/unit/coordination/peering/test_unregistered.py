"""A member that is not in the database is told of once, and looked for again and again."""

from __future__ import annotations

from broker.coordination.peering.unregistered import Unregistered
from broker.ports.cluster_rows import Incarnation

A, B = Incarnation("a", "1"), Incarnation("b", "1")


def test_a_member_is_told_of_once_however_often_something_changes() -> None:
    """It was told of at every change within an eighth of the silence."""
    unregistered = Unregistered(8.0)
    told = [unregistered.on_look([A, B], [B], now / 10)[1] for now in range(300)]
    assert [each for each in told if each] == [[A]]
    assert told[80] == [A]


def test_it_is_told_of_again_when_it_was_there_or_away_between() -> None:
    unregistered = Unregistered(8.0)
    unregistered.on_look([A], [], 0.0)
    assert unregistered.on_look([A], [], 8.0)[1] == [A]
    unregistered.on_look([A], [A], 9.0)
    unregistered.on_look([A], [], 10.0)
    assert unregistered.on_look([A], [], 18.0)[1] == [A]
    unregistered.on_look([], [], 19.0)
    assert unregistered.on_look([A], [], 27.0)[1] == []


def test_the_database_is_asked_eight_times_in_a_silence() -> None:
    unregistered = Unregistered(8.0)
    assert [unregistered.on_look([A], [], now / 2)[0] for now in range(5)] == [True, False, True, False, True]
    assert not unregistered.on_look([A], [A], 9.0)[0]


def test_what_could_not_be_told_is_told_at_the_next_look() -> None:
    unregistered = Unregistered(8.0)
    unregistered.on_look([A], [], 0.0)
    assert unregistered.on_look([A], [], 8.0)[1] == [A]
    unregistered.tell_again(A)
    unregistered.tell_again(B)
    assert unregistered.on_look([A], [], 8.1)[1] == [A]
