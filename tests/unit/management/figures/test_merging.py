"""Figures of several nodes as those of one cluster."""

from __future__ import annotations

import json
from typing import Any

import pytest

from broker.codec.methods import BasicConsume, QueueDeclare
from broker.errors import CoordinationError
from broker.management.figures.exchanges import exchange_figures
from broker.management.figures.merging import (
    Elsewhere,
    add_vhost,
    with_exchanges,
    with_overviews,
    with_queues,
)
from broker.management.figures.overview import overview_figures, vhost_figures
from broker.management.figures.pages import KINDS, MAX_ROWS, page
from broker.management.figures.queues import queue_figures
from broker.management.figures.view import NodeView
from tests.support.harness import Client, Harness
from tests.support.shapes import differences
from tests.support.stage import drive


class Node:
    """One node, whose clients use the queues a and b."""

    def __init__(self, name: str, max_queues: int = 100) -> None:
        self.harness = Harness(max_queues=max_queues)
        self.view = NodeView(self.harness.broker, name, now_ms=self.harness.clock.wall_ms)
        self.peer: Client = self.harness.peer()
        for queue in ("a", "b"):
            self.peer.send(1, QueueDeclare(queue=queue))
        self.turns = 0

    async def next_turn(self) -> None:
        self.turns += 1

    def rows(self, kind: str) -> list[dict[str, Any]]:
        """Return a list as another node gets it."""
        found: list[dict[str, Any]] = []
        start = 0
        while True:
            told = drive(page(self.view, kind, start, self.next_turn))
            found += json.loads(told.rows)
            if not told.next:
                return found
            start = told.next

    def queues(self) -> list[dict[str, Any]]:
        return [queue_figures(self.view, queue) for queue in self.view.queues()]


@pytest.fixture
def here() -> Node:
    return Node("NODE:1")


@pytest.fixture
def there() -> Node:
    return Node("NODE:2")


def test_a_queue_has_what_all_nodes_have_of_it(here: Node, there: Node) -> None:
    here.peer.publish("a", b"1")
    there.peer.publish("a", b"22", b"333")
    there.peer.send(1, BasicConsume(queue="b", consumer_tag="c", exclusive=True))
    elsewhere = Elsewhere({"NODE:2": there.rows("queues")})
    a, b = with_queues(here.queues(), elsewhere)
    assert (a["messages"], a["messages_ready"], a["message_bytes"], a["node"]) == (3, 3, 6, "NODE:2")
    assert (b["consumers"], b["exclusive_consumer_tag"], b["consumer_utilisation"]) == (1, "c", 1.0)
    assert differences("queue", a) == {}


def test_publishes_and_churn_of_all_nodes_are_added_up(here: Node, there: Node) -> None:
    here.peer.publish("a", b"1")
    there.peer.publish("a", b"2", b"3")
    told = with_overviews(overview_figures(here.view), Elsewhere({"NODE:2": there.rows("overview")}))
    assert differences("overview", told) == {}
    assert told["message_stats"]["publish"] == 3
    assert told["churn_rates"]["connection_created"] == 2
    assert (told["object_totals"]["connections"], told["object_totals"]["queues"]) == (2, 2)
    exchanges = [exchange_figures(here.view, *each) for each in here.view.exchanges()]
    merged = {
        (row["vhost"], row["name"]): row
        for row in with_exchanges(exchanges, Elsewhere({"NODE:2": there.rows("exchanges")}))
    }
    assert merged["/", ""]["message_stats"]["publish_in"] == 3
    slash = {"name": "/", **vhost_figures(here.view, here.view.vhosts["/"])}
    for row in Elsewhere({"NODE:2": there.rows("vhosts")}).named("/"):
        add_vhost(slash, row)
    assert (slash["messages"], slash["message_stats"]["publish"]) == (3, 3)


def test_nobody_elsewhere_changes_nothing(here: Node) -> None:
    here.peer.publish("a", b"1")
    assert with_queues(here.queues(), Elsewhere()) == here.queues()


def test_a_queue_that_is_gone_here_is_not_told(here: Node, there: Node) -> None:
    there.peer.send(1, QueueDeclare(queue="c"))
    there.peer.publish("c", b"1")
    told = with_queues(here.queues(), Elsewhere({"NODE:2": there.rows("queues")}))
    assert [row["name"] for row in told] == ["a", "b"]


def test_only_queues_with_something_to_tell_are_sent(there: Node) -> None:
    there.peer.publish("a", b"1")
    assert [row["name"] for row in there.rows("queues")] == ["a"]


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_can_be_asked_for(kind: str, there: Node) -> None:
    there.peer.send(1, BasicConsume(queue="b", consumer_tag="c"))
    there.peer.publish("a", b"1")
    there.view.channels()
    rows = there.rows(kind)
    assert rows or kind == "slots", "all of a short queue lies in memory"
    assert all(row for row in rows)


def test_long_lists_come_in_pages_and_turns() -> None:
    node = Node("NODE:2", max_queues=1000)
    for number in range(MAX_ROWS + 50):
        node.peer.send(1, QueueDeclare(queue=f"q{number}"))
        node.peer.publish(f"q{number}", b"1")
    first = drive(page(node.view, "queues", 0, node.next_turn))
    assert (first.next, len(json.loads(first.rows))) == (MAX_ROWS, MAX_ROWS)
    assert node.turns >= 5
    assert len(node.rows("queues")) == MAX_ROWS + 50


@pytest.mark.parametrize(("kind", "start"), [("passwords", 0), ("queues", -1)])
def test_what_there_is_no_list_of_is_refused(kind: str, start: int, there: Node) -> None:
    with pytest.raises(CoordinationError, match="no figures"):
        drive(page(there.view, kind, start, there.next_turn))
