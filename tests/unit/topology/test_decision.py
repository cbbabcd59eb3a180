from __future__ import annotations

import pytest

from broker.topology.decision import Decision, Footprint

A, B = ("/", "queue", "a"), ("/", "queue", "b")


def decision(reads: str = "", writes: str = "") -> Decision[None]:
    named = {"a": A, "b": B}
    return Decision((), lambda: None, reads=[named[each] for each in reads], writes=[named[each] for each in writes])


@pytest.mark.parametrize(
    ("first", "second", "collide"),
    [
        (decision(reads="a"), decision(reads="a"), False),
        (decision(reads="a"), decision(writes="a"), True),
        (decision(writes="a"), decision(reads="a"), True),
        (decision(writes="a"), decision(writes="a"), True),
        (decision(reads="a", writes="b"), decision(reads="a"), False),
        (decision(writes="a"), decision(reads="b", writes="b"), False),
    ],
)
def test_decisions_collide_when_one_changes_what_the_other_depends_on(
    first: Decision[None], second: Decision[None], collide: bool
) -> None:
    footprint = Footprint()
    assert not footprint.collides(second)
    footprint.add(first)
    assert footprint.collides(second) is collide


def test_a_decision_that_names_no_steps_has_none() -> None:
    made = decision()
    made.begin()
    made.end(True)
    assert made.result() is None
