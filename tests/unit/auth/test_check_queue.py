"""Turns between sources, and who makes room."""

from __future__ import annotations

import pytest

from broker.auth.check_queue import CheckQueue


def filled(limit: int, **lines: int) -> CheckQueue[str]:
    queue: CheckQueue[str] = CheckQueue(limit)
    for source, count in lines.items():
        for number in range(count):
            assert queue.put(source, f"{source}{number}") is None
    return queue


def test_sources_take_turns_whatever_one_of_them_has_put_in() -> None:
    queue = filled(10, a=3, b=1, c=2)
    assert list(queue.drain()) == ["a0", "b0", "c0", "a1", "c1", "a2"]
    assert len(queue) == 0


def test_who_comes_while_others_wait_is_served_after_one_of_each() -> None:
    queue = filled(100, a=50, b=50)
    queue.put("c", "late")
    assert [queue.take() for _ in range(3)] == ["a0", "b0", "late"]


def test_when_it_is_full_the_newest_of_the_longest_line_makes_room() -> None:
    queue = filled(5, a=4, b=1)
    assert queue.put("c", "c0") == "a3"
    assert queue.put("b", "b1") == "a2"
    assert len(queue) == 5
    assert list(queue.drain()) == ["a0", "b0", "c0", "a1", "b1"]


def test_who_has_the_longest_line_displaces_nobody() -> None:
    queue = filled(5, a=3, b=2)
    assert queue.put("a", "a3") == "a3"
    assert queue.put("b", "b2") == "b2"
    assert len(queue) == 5


def test_when_everybody_has_one_the_next_has_no_place() -> None:
    queue = filled(2, a=1, b=1)
    assert queue.put("c", "c0") == "c0"
    assert list(queue.drain()) == ["a0", "b0"]


def test_nothing_can_be_taken_of_an_empty_queue() -> None:
    with pytest.raises(KeyError):
        filled(1).take()
