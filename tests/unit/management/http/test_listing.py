"""Lists: pages, names, columns, order, and how much of a turn they take."""

from __future__ import annotations

import pytest

from broker.codec.methods import QueueDeclare
from broker.turn_budget import TURN
from tests.support.http_api import HttpNode

NAMES = ["Abc", "a", "b", "c"]


@pytest.fixture
def node() -> HttpNode:
    node = HttpNode()
    client = node.harness.peer()
    for name in NAMES:
        client.send(1, QueueDeclare(queue=name, durable=name == "b"))
    return node


def names_of(node: HttpNode, query: str) -> list[str]:
    answer = node.get(f"/queues?{query}")
    return [row["name"] for row in (answer["items"] if isinstance(answer, dict) else answer)]


def test_a_list_is_in_the_order_of_names(node: HttpNode) -> None:
    assert names_of(node, "") == NAMES
    assert names_of(node, "sort=") == NAMES
    assert names_of(node, "sort_reverse=true") == NAMES[::-1]


def test_a_list_is_sorted_by_any_column_numbers_before_texts(node: HttpNode) -> None:
    client = node.harness.peer()
    client.publish("b", b"1", b"2")
    client.publish("a", b"1")
    assert names_of(node, "sort=messages&sort_reverse=true") == ["b", "a", "Abc", "c"]
    assert names_of(node, "sort=name") == NAMES
    assert names_of(node, "sort=messages_details.rate") == NAMES
    assert names_of(node, "sort=durable") == ["Abc", "a", "c", "b"]


def test_with_a_page_the_list_becomes_an_object(node: HttpNode) -> None:
    answer = node.get("/queues?page=2&page_size=3&columns=name")
    assert answer == {
        "filtered_count": 4,
        "item_count": 1,
        "items": [{"name": "c"}],
        "page": 2,
        "page_count": 2,
        "page_size": 3,
        "total_count": 4,
    }


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("page=1&name=A", ["Abc", "a"]),
        ("page=1&name=%5EA&use_regex=true", ["Abc", "a"]),
        ("page=1&name=(A|c)%24&use_regex=true", ["Abc", "a", "c"]),
        ("page=1&name=.", []),
        ("page=1&name=", NAMES),
        ("name=A", NAMES),
        ("page=1&use_regex=true&pagination=false&name=%5Eb%24&page_size=100", ["b"]),
    ],
)
def test_names_are_filtered_in_pages_whatever_their_case(node: HttpNode, query: str, names: list[str]) -> None:
    assert names_of(node, query) == names


def test_a_pattern_that_would_backtrack_takes_no_longer_than_others(node: HttpNode) -> None:
    client = node.harness.peer()
    client.send(1, QueueDeclare(queue="a" * 200))
    assert names_of(node, "page=1&name=(a%2B)%2B%24x&use_regex=true") == []


@pytest.mark.parametrize(
    ("query", "error", "reason"),
    [
        ("page=9", "page_out_of_range", "Page out of range, page: 9 page size: 100, len: 4"),
        (
            "page=1&page_size=0",
            "invalid_pagination_parameters",
            "Invalid pagination parameters: page number 1, page size 0",
        ),
        (
            "page=1&page_size=501",
            "invalid_pagination_parameters",
            "Invalid pagination parameters: page number 1, page size 501",
        ),
        ("page=x", "bad_request", "Pagination parameters are invalid"),
        ("page=1&page_size=-3", "bad_request", "Pagination parameters are invalid"),
        ("page=%D9%A1", "bad_request", "Pagination parameters are invalid"),
        ("page=1&name=(&use_regex=true", "bad_request", "Pagination parameters are invalid"),
        ("page=1&name=(%3F%3Da)&use_regex=true", "bad_request", "Pagination parameters are invalid"),
        ("page=1&name=" + "a" * 257, "bad_request", "the name has more than 256 characters"),
        ("columns=" + ",".join(["a"] * 201), "bad_request", "more than 200 columns are named"),
    ],
)
def test_what_cannot_be_listed_is_refused(node: HttpNode, query: str, error: str, reason: str) -> None:
    assert node.refusal("GET", f"/queues?{query}") == (400, error, reason)


def test_columns_are_cut_out_of_rows_also_below_others(node: HttpNode) -> None:
    answer = node.get("/queues?columns=name,message_stats.publish,arguments,nope.x,name.x")
    assert answer[1] == {"name": "a", "message_stats": {"publish": 0}, "arguments": {}}


def test_without_stats_a_row_says_what_a_queue_is(node: HttpNode) -> None:
    row = node.get("/queues?disable_stats=true")[0]
    assert set(row) == {
        "arguments",
        "auto_delete",
        "durable",
        "exclusive",
        "name",
        "node",
        "state",
        "type",
        "vhost",
    }
    row = node.get("/queues?disable_stats=true&enable_queue_totals=true")[0]
    assert row["messages"] == row["messages_ready"] == row["messages_unacknowledged"] == 0


@pytest.mark.parametrize("query", ["", "?sort=messages", "?page=1&name=q"])
def test_a_long_list_is_made_in_many_turns_of_the_loop(query: str) -> None:
    node = HttpNode(max_queues=2000)
    client = node.harness.peer()
    for number in range(300):
        client.send(1, QueueDeclare(queue=f"q{number}"))
    node.harness.turns.taken.clear()
    node.get(f"/queues{query}")
    turns = node.harness.turns.taken
    assert len(turns) >= 2 if "page" not in query else turns is not None
    assert max(turns, default=0) < 2 * TURN
