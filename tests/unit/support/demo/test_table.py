"""The lines of the demo's table."""

from __future__ import annotations

from broker.ports.cluster_rows import Incarnation, Lease, NodeRow, NodeState, SlotRow
from tests.support.demo.client import Seen
from tests.support.demo.table import HEADER, Shown, Stored, lines

LEASE = Lease(3, 17, "term", "demo-1")
ROWS = [
    NodeRow("demo-1", "aaaaaaaaaa", 1, 9, NodeState.UP, "127.0.0.1", 7611),
    NodeRow("demo-2", "bbbbbbbbbb", 4, 2, NodeState.DEAD, "127.0.0.1", 7612),
]
SLOTS = [SlotRow(1, 0, 10, 20, 5, owner=Incarnation("demo-1", "aaaaaaaaaa")), SlotRow(1, 0, 30, 40, 7)]
STORED = Stored(LEASE, ROWS, SLOTS, 12)
RUNNING = Shown(1, "demo-1", 5672, 4711, None, Seen(10, 9, 8, 1, True), 100.0, 80.4)


def shown(pid: int | None = None, exit_code: int | None = None) -> Shown:
    return Shown(2, "demo-2", 5673, pid, exit_code, Seen(), 0.0, 0.0)


def test_each_node_has_a_line_with_what_it_does_and_owns() -> None:
    table = lines("a title", [RUNNING, shown(exit_code=-9)], STORED)
    assert table == [
        "a title",
        "",
        HEADER,
        "1 demo-1       4711   5672  coordinator  aaaaaaa       1          100           80            1",
        "2 demo-2          -   5673  killed       -             0            0            0            0",
        "",
        "published 10, confirmed 9, delivered 8",
        "epoch 3, slots 1 owned and 1 free, messages in the database 12",
    ]


def test_a_node_that_runs_and_serves_no_client_yet_is_joining() -> None:
    assert "joining" in lines("", [shown(pid=1)], STORED)[3]
    assert "joining" in lines("", [shown(pid=1)], None)[3]


def test_a_node_that_ended_by_itself_shows_its_exit_code() -> None:
    assert "ended 78" in lines("", [shown(exit_code=78)], STORED)[3]


def test_a_node_that_is_up_and_has_no_lease_is_a_member() -> None:
    up = Stored(Lease(4, 1, "term", None), ROWS, [], 0)
    assert "member" in lines("", [RUNNING], up)[3]


def test_a_database_that_does_not_answer_is_said_so() -> None:
    assert lines("", [RUNNING], None)[-1] == "the database does not answer"
