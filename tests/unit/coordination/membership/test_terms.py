"""A node does not start beside living ones with other terms, and one that was killed keeps nobody away for long."""

from __future__ import annotations

from dataclasses import replace

import pytest

from broker.coordination.membership.terms import TermsCheck, TermsDiffer
from broker.ports.cluster_rows import NodeRow, NodeState

OTHER = NodeRow("b", "b-1", 1, 7, NodeState.UP, "h", 1, "old")


def test_a_node_with_other_terms_that_beats_keeps_this_one_away_with_both_values() -> None:
    check = TermsCheck("a", "new", 5.0)
    assert not check.on_nodes([OTHER], 100.0)
    assert not check.on_nodes([OTHER], 101.0)
    with pytest.raises(TermsDiffer, match="node 'b' has 'old', this one 'new'; stop all nodes, change all"):
        check.on_nodes([replace(OTHER, beat=8)], 102.0)


def test_a_row_that_stands_still_for_two_beats_is_of_a_node_that_was_killed() -> None:
    check = TermsCheck("a", "new", 5.0)
    assert [check.on_nodes([OTHER], at) for at in (100.0, 109.9, 110.0)] == [False, False, True]


@pytest.mark.parametrize(
    "row",
    [
        replace(OTHER, terms="new"),
        replace(OTHER, terms=""),
        replace(OTHER, state=NodeState.STOPPED),
        replace(OTHER, state=NodeState.DEAD),
        replace(OTHER, node_id="a"),
    ],
)
def test_rows_that_agree_or_do_not_live_or_say_nothing_keep_nobody_away(row: NodeRow) -> None:
    assert TermsCheck("a", "new", 5.0).on_nodes([row], 100.0)


def test_who_has_no_terms_compares_none() -> None:
    assert TermsCheck("a", "", 5.0).on_nodes([OTHER], 100.0)


def test_the_rows_with_other_terms_are_to_be_asked_once() -> None:
    check = TermsCheck("a", "new", 5.0)
    check.on_nodes([OTHER, replace(OTHER, node_id="c", terms="new")], 100.0)
    assert check.take_unasked() == [OTHER]
    assert check.take_unasked() == []


def test_who_registered_at_the_same_time_under_a_lesser_id_stays() -> None:
    with pytest.raises(TermsDiffer, match="node 'b' has 'old', this one 'new'"):
        TermsCheck("c", "new", 5.0).on_registered([OTHER], 100.0)
    check = TermsCheck("a", "new", 5.0)
    assert not check.on_registered([OTHER], 100.0)
    assert check.on_registered([replace(OTHER, state=NodeState.STOPPED)], 101.0)


def test_who_has_the_lesser_id_ends_for_one_that_goes_on() -> None:
    check = TermsCheck("a", "new", 5.0)
    assert [check.on_registered([replace(OTHER, beat=beat)], 100.0 + 5 * beat) for beat in (0, 1)] == [False, False]
    with pytest.raises(TermsDiffer, match="node 'b' has 'old', this one 'new'"):
        check.on_registered([replace(OTHER, beat=2)], 110.0)


def test_a_row_that_stood_still_is_of_interest_again_when_it_beats() -> None:
    check = TermsCheck("c", "new", 5.0)
    assert [check.on_nodes([OTHER], at) for at in (100.0, 110.0)] == [False, True]
    assert check.on_registered([OTHER], 111.0)
    with pytest.raises(TermsDiffer):
        check.on_registered([replace(OTHER, beat=8)], 112.0)
