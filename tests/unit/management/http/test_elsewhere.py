"""What the other nodes have, in answers of this one."""

from __future__ import annotations

import json
from typing import Any

import pytest

from broker.codec.methods import BasicConsume, QueueDeclare
from broker.management.figures.merging import Elsewhere
from broker.management.http import queues
from broker.management.http.elsewhere import SILENT
from broker.management.http.node_view import ManagedNode, Member
from broker.management.http.queues import queue_row
from broker.queue.queue import Queue
from tests.support.http_api import HttpNode


class Others:
    """The other nodes: what they answer, by kind, and who is silent."""

    def __init__(self, rows: dict[str, list[dict[str, Any]]], *silent: str) -> None:
        self._rows = rows
        self._silent = silent

    async def read(self, kind: str, node_id: str | None = None) -> Elsewhere:
        return Elsewhere({"NODE:2": self._rows.get(kind.partition(" ")[0], [])}, self._silent)


CONNECTION = {"name": "192.0.2.1:5 -> 192.0.2.2:5672", "user": "admin", "vhost": "/", "node": "NODE:2"}
CHANNEL = {**CONNECTION, "name": "192.0.2.1:5 -> 192.0.2.2:5672 (1)"}
CONSUMER = {"consumer_tag": "far", "queue": {"name": "q", "vhost": "/"}}
QUEUE = {
    "name": "q",
    "vhost": "/",
    "node": "NODE:2",
    "messages": 5,
    "messages_ready": 4,
    "messages_unacknowledged": 1,
    "consumers": 1,
    "message_stats": {"publish": 5, "publish_details": {"rate": 1.0}},
}
OVERVIEW = {
    "message_stats": {"publish": 5},
    "object_totals": {"connections": 1, "channels": 1, "consumers": 1, "queues": 1},
}
ROWS = {
    "connections": [CONNECTION],
    "channels": [CHANNEL],
    "consumers": [CONSUMER],
    "queues": [QUEUE],
    "overview": [OVERVIEW],
    "nodes": [{"name": "NODE:2", "mem_used": 5, "uptime": 7}],
    "vhosts": [{"name": "/", "messages": 5, "messages_ready": 4}],
    "exchanges": [{"name": "", "vhost": "/", "message_stats": {"publish_in": 5, "publish_out": 5}}],
}


@pytest.fixture
def node() -> HttpNode:
    node = HttpNode()
    peer = node.harness.peer()
    peer.send(1, QueueDeclare(queue="q"))
    peer.send(1, BasicConsume(queue="q", consumer_tag="near"))
    peer.publish("q", b"1")
    node.node.view.others = Others(ROWS)
    return node


def names(node: HttpNode, path: str) -> list[str]:
    return [row["name"] for row in node.get(path)]


def test_queues_have_what_all_nodes_have_of_them(node: HttpNode) -> None:
    for queue in (node.get("/queues")[0], node.get("/queues/%2F/q")):
        assert (queue["messages"], queue["messages_unacknowledged"], queue["consumers"]) == (6, 2, 2)
        assert (queue["message_stats"]["publish"], queue["node"]) == (6, "NODE:2")


def test_connections_channels_and_consumers_are_those_of_all_nodes(node: HttpNode) -> None:
    assert len(names(node, "/connections")) == 2
    assert names(node, "/connections/username/admin") == [CONNECTION["name"]]
    assert len(names(node, "/channels")) == 2
    assert names(node, "/vhosts/%2F/channels")[-1] == CHANNEL["name"]
    assert [row["consumer_tag"] for row in node.get("/consumers/%2F")] == ["near", "far"]
    assert [row["consumer_tag"] for row in node.get("/consumers/carbon")] == []


def test_exchanges_have_what_was_published_to_them_on_all_nodes(node: HttpNode) -> None:
    (default,) = (row for row in node.get("/exchanges/%2F") if row["name"] == "")
    assert default["message_stats"]["publish_in"] == 6


def test_virtual_hosts_have_what_is_in_them_on_all_nodes(node: HttpNode) -> None:
    for vhost in (node.get("/vhosts")[0], node.get("/vhosts/%2F")):
        assert (vhost["name"], vhost["messages"], vhost["messages_ready"]) == ("/", 6, 4)


def test_nodes_tell_of_themselves(node: HttpNode) -> None:
    node.around.known = [
        Member("NODE:1", "127.0.0.1", 7611, True, True),
        Member("NODE:2", "127.0.0.1", 7612, False, False),
    ]
    near, far = node.get("/nodes")
    assert (near["mem_used"], far["mem_used"], far["uptime"], far["broker"]["port"]) == (1000, 5, 7, 7612)
    assert node.get("/nodes/NODE:2")["mem_used"] == 5
    node.node.view.others = Others({}, "NODE:2")
    assert node.get("/nodes/NODE:2")["name"] == "NODE:2"


def test_the_overview_adds_the_nodes_up(node: HttpNode) -> None:
    overview = node.get("/overview")
    assert overview["message_stats"]["publish"] == 6
    totals = overview["object_totals"]
    assert (totals["connections"], totals["channels"], totals["consumers"], totals["queues"]) == (2, 2, 2, 1)


@pytest.mark.parametrize(
    "path",
    [
        "/overview",
        "/queues",
        "/connections",
        "/channels",
        "/consumers",
        "/vhosts",
        "/vhosts/%2F",
        "/broker/subscriptions/%2F",
    ],
)
def test_an_answer_without_a_node_says_so(node: HttpNode, path: str) -> None:
    node.node.view.others = Others({}, "NODE:3")
    assert node.ask("GET", f"/api{path}").headers[SILENT] == "NODE:3"


def test_of_a_silent_node_a_queue_has_what_was_heard_before(node: HttpNode) -> None:
    node.node.view.others = Others({}, "NODE:3")
    node.harness.vhost.queue("q").set_remote_counts(7, 3, 0)
    (queue,) = node.get("/queues")
    assert (queue["messages"], queue["consumers"]) == (8, 4)


def test_who_sees_only_own_connections_sees_no_others_of_other_nodes(node: HttpNode) -> None:
    owned = [row["user"] for row in json.loads(node.ask("GET", "/api/connections", user="user").body)]
    assert owned == []


class Asked(Others):
    """Other nodes that remember what they were asked for."""

    def __init__(self) -> None:
        super().__init__(ROWS)
        self.kinds: list[str] = []

    async def read(self, kind: str, node_id: str | None = None) -> Elsewhere:
        self.kinds.append(kind)
        return await super().read(kind, node_id)


@pytest.mark.parametrize(
    ("query", "rows", "kind"),
    [
        ("page=1&page_size=2&sort=messages&sort_reverse=true", 2, 'queues [["/", "q"], ["/", "q0"]]'),
        ("page=2&page_size=5", 5, 'queues [["/", "q12"], ["/", "q13"], ["/", "q14"], ["/", "q15"], ["/", "q16"]]'),
        ("page=1&page_size=2&sort=message_stats.publish", 20, "queues"),
        ("sort=name", 20, "queues"),
    ],
)
def test_of_a_page_of_queues_rows_are_made_and_asked_for_alone(
    node: HttpNode, monkeypatch: pytest.MonkeyPatch, query: str, rows: int, kind: str
) -> None:
    """What a page is sorted by is read from the queues, if it can be."""
    for number in range(19):
        node.harness.peer().send(1, QueueDeclare(queue=f"q{number}"))
    others = node.node.view.others = Asked()
    made: list[str] = []

    def counted(node: ManagedNode, queue: Queue, *more: Any) -> dict[str, Any]:
        made.append(queue.name)
        return queue_row(node, queue, *more)

    monkeypatch.setattr(queues, "queue_row", counted)
    node.get(f"/queues/%2F?{query}")
    assert others.kinds == [kind]
    assert len(set(made)) == rows
