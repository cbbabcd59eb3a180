"""What is told once, and in which words."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from broker.coordination.membership.events import MembershipEvents
from broker.coordination.membership.members import MemberJoined, MemberLeft
from broker.ports.cluster_rows import NodeRow, NodeState
from broker.ports.peer_calls import Fence
from tests.support.agents import Recorder

B = NodeRow("b", "b-2", 2, 0, NodeState.UP, "10.0.0.2", 7611)


class Told(Recorder):
    """A listener out of time."""

    def _note(self, kind: str, detail: object) -> None:
        self.told.append((0.0, kind, detail))


@pytest.fixture
def told() -> Told:
    return Told()


def test_trust_is_told_when_it_changes(told: Told) -> None:
    events = MembershipEvents("a", told)
    with capture_logs() as logs:
        for is_trusted in (False, True, True, False, False, True):
            events.trust(is_trusted, is_over=False)
    assert told.what("trust") == [("trust", True), ("trust", False), ("trust", True)]
    assert logs == [
        {"event": "Node's trust has run out: deliveries pause", "node": "a", "log_level": "warning"},
    ]


def test_trust_that_ends_with_the_incarnation_is_no_news_for_the_log(told: Told) -> None:
    events = MembershipEvents("a", told)
    with capture_logs() as logs:
        events.trust(True, is_over=False)
        events.trust(False, is_over=True)
    assert (told.what("trust"), logs) == ([("trust", True), ("trust", False)], [])


def test_power_of_another_term_is_the_end_of_one_and_the_begin_of_another(told: Told) -> None:
    events = MembershipEvents("a", told)
    with capture_logs() as logs:
        for power in (None, Fence(7, "t"), Fence(7, "t"), Fence(8, "u"), None):
            events.power(power)
    assert told.what("elected", "stepped down") == [
        ("elected", 7),
        ("stepped down", None),
        ("elected", 8),
        ("stepped down", None),
    ]
    assert [(line["event"], line["epoch"]) for line in logs] == [
        ("This node is now the coordinator", 7),
        ("This node is not the coordinator any more", 7),
        ("This node is now the coordinator", 8),
        ("This node is not the coordinator any more", 8),
    ]


def test_the_coordinator_that_changed_is_named(told: Told) -> None:
    with capture_logs() as logs:
        MembershipEvents("a", told).coordinator("b", 7)
    assert logs == [
        {"event": "Coordinator changed", "coordinator": "b", "epoch": 7, "node": "a", "log_level": "info"},
    ]


def test_members_are_told_at_the_first_look_and_after_every_change(told: Told) -> None:
    events = MembershipEvents("a", told)
    with capture_logs() as logs:
        events.members([], {})
        events.members([], {})
        events.members([MemberLeft("b", "b-1"), MemberJoined("b", "b-2")], {"b": B})
        events.members([], {"b": B})
    assert told.what("members") == [("members", []), ("members", ["b"])]
    assert [(line["event"], line["member"], line["incarnation"]) for line in logs] == [
        ("Member left", "b", "b-1"),
        ("Member joined", "b", "b-2"),
    ]
