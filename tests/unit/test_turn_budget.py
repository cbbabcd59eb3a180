from __future__ import annotations

from broker.turn_budget import TurnBudget


def test_a_turn_is_over_when_its_steps_are_done() -> None:
    work = TurnBudget(10)
    work.done += 9
    assert not work.is_over
    work.done += 1
    assert work.is_over
    work.begin_turn()
    assert not work.is_over
