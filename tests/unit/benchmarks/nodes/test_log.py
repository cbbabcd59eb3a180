"""What is found in the lines of a node."""

from __future__ import annotations

import threading

import pytest

from benchmarks.nodes.log import NodeLog

LINES = (
    "no JSON: Member joined\n",
    '{"event": "Member joined", "member": "a"}\n',
    '{"event": "Member left", "reason": "Member joined"}\n',
    '{"event": "Member joined", "member": "b"}\n',
)


def read(lines: tuple[str, ...] = LINES) -> NodeLog:
    log = NodeLog()
    assert tuple(log.read(lines)) == lines
    return log


def test_events_are_found_by_name_and_fields() -> None:
    log = read()
    assert [event["member"] for event in log.events("Member joined")] == ["a", "b"]
    assert log.events("Member joined", member="b") == [{"event": "Member joined", "member": "b"}]


def test_what_came_before_a_mark_is_left_out() -> None:
    log = read(LINES[:2])
    mark = log.mark()
    list(log.read(LINES[2:]))
    assert [event["member"] for event in log.events("Member joined", since=mark)] == ["b"]
    assert log.since(mark) == (LINES[2] + LINES[3]).strip()


def test_a_wait_ends_when_the_event_comes() -> None:
    log = read(LINES[:3])
    late = threading.Thread(target=lambda: list(log.read(LINES[3:])))
    late.start()
    assert log.wait_for("Member joined", member="b")["member"] == "b"
    late.join()


def test_a_wait_for_what_does_not_come_shows_the_last_lines() -> None:
    with pytest.raises(TimeoutError, match=r"no 'Member died' .* within 0 s\n.*no JSON"):
        read().wait_for("Member died", 0)
