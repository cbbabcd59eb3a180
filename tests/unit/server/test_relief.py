"""Whom to close when blocked clients keep an alarm up: ADR 36."""

from __future__ import annotations

from broker.server.relief import Relief

A_LOT = {"a": 500, "b": 300, "c": 250, "d": 0}


def relief() -> Relief[str]:
    return Relief(600, timeout=30.0)


def test_nobody_is_closed_at_once() -> None:
    it = relief()
    assert it.choose(100.0, A_LOT) == []
    assert it.choose(129.5, A_LOT) == []


def test_those_who_hold_most_are_closed_until_the_rest_is_little_enough() -> None:
    it = relief()
    it.choose(100.0, A_LOT)
    assert it.choose(130.0, A_LOT) == ["a"]
    assert it.choose(130.5, {"b": 300, "c": 250, "d": 0}) == []


def test_nobody_is_closed_while_little_is_unfinished() -> None:
    it = relief()
    for now in range(100, 200):
        assert it.choose(float(now), {"a": 600}) == []


def test_time_begins_anew_when_it_was_less_or_the_alarm_was_over() -> None:
    it = relief()
    it.choose(100.0, A_LOT)
    it.choose(120.0, {"a": 100})
    assert it.choose(130.0, A_LOT) == []
    it.on_alarm_over()
    assert it.choose(159.0, A_LOT) == []
    assert it.choose(180.0, A_LOT) == []
    assert it.choose(189.0, A_LOT) == ["a"]
