"""A connection that lives on another node: shown, with its channels, and closed, from this one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import pytest

from broker.codec.methods import BasicConsume, ConnectionClose, QueueDeclare
from broker.errors import CoordinationError
from broker.management.figures.merging import Elsewhere
from broker.management.figures.pages import page
from broker.management.http.elsewhere import SILENT
from broker.management.http.node_view import Member
from broker.management.operated import Operated
from broker.management.operations import Operations
from tests.support.http_api import HttpNode
from tests.support.peer import Peer


async def _nothing(vhost: str, subscription_id: str) -> bool:
    return False


async def _at_once() -> None:
    pass


class There:
    """Another node, reached without a network; `is_silent` when it does not answer."""

    def __init__(self, node: HttpNode) -> None:
        self._node = node
        self.is_silent = False
        self.does_nothing = False
        self.kinds: list[str] = []

    async def read(self, kind: str, node_id: str | None = None) -> Elsewhere:
        self.kinds.append(kind)
        try:
            if self.is_silent:
                raise CoordinationError("no answer")
            rows = json.loads((await page(self._node.node.view, kind, 0, _at_once)).rows)
        except CoordinationError:
            return Elsewhere(silent=("NODE:2",))
        return Elsewhere({"NODE:2": rows} if rows else {})

    async def operate(self, operation: str, given: Mapping[str, Any], node_id: str | None = None) -> Operated:
        if self.is_silent or self.does_nothing:
            return Operated(silent=("NODE:2",))
        operations = Operations(self._node.node.view, _nothing)
        return Operated({"NODE:2": json.loads(await operations.carry_out(operation, json.dumps(given).encode()))})


class Pair:
    """A node that is asked, and another one with a client."""

    def __init__(self) -> None:
        self.here, there = HttpNode(), HttpNode()
        there.node.view.name = "NODE:2"
        self.node = there
        self.there = self.here.node.view.others = self.here.node.view.operated = There(there)
        self.client: Peer = there.harness.peer()
        self.client.send(1, QueueDeclare(queue="q"))
        self.client.send(1, BasicConsume(queue="q", consumer_tag="far"))
        self.client.received()
        (connection,) = there.node.connections
        name = connection.handshake.peer.connection_name
        self.path = f"/connections/{quote(name, safe='')}"
        self.channel = f"/channels/{quote(name + ' (1)', safe='')}"

    def told(self) -> list[str]:
        """Return why the client is closed."""
        self.node.harness.run()
        return [method.reply_text for _, method in self.client.received() if isinstance(method, ConnectionClose)]


@pytest.fixture
def pair() -> Pair:
    return Pair()


def test_it_is_shown_with_its_channels_and_consumers(pair: Pair) -> None:
    here = pair.here
    assert (here.get(pair.path)["node"], here.get(f"{pair.path}?data_rates_age=60&data_rates_incr=5")["node"]) == (
        "NODE:2",
        "NODE:2",
    )
    assert [row["number"] for row in here.get(f"{pair.path}/channels")] == [1]
    channel = here.get(pair.channel)
    assert [row["consumer_tag"] for row in channel["consumer_details"]] == ["far"]
    assert '"data_rates": {"age": 60, "increment": 5}' in pair.there.kinds[1]


def test_a_queue_has_the_consumers_of_all_nodes(pair: Pair) -> None:
    near = pair.here.harness.peer()
    near.send(1, QueueDeclare(queue="q"))
    near.send(1, BasicConsume(queue="q", consumer_tag="near"))
    queue = pair.here.get("/queues/%2F/q")
    assert [row["consumer_tag"] for row in queue["consumer_details"]] == ["near", "far"]
    assert len(queue["deliveries"]) == 2


def test_it_is_closed_and_its_client_told_the_reason(pair: Pair) -> None:
    assert pair.here.status("DELETE", pair.path, headers={"x-reason": "maintenance"}) == 204
    assert pair.told() == ["CONNECTION_FORCED - maintenance"]
    assert pair.here.status("DELETE", pair.path) == 404


def test_all_connections_of_a_user_are_closed_on_all_nodes(pair: Pair) -> None:
    near = pair.here.harness.peer()
    assert pair.here.status("DELETE", "/connections/username/guest") == 204
    assert len(pair.told()) == 1
    pair.here.harness.run()
    assert [type(method) for _, method in near.received()] == [ConnectionClose]


def test_whose_it_is_counts_as_on_its_own_node(pair: Pair) -> None:
    for path in (pair.path, f"{pair.path}/channels", pair.channel):
        assert pair.here.status("GET", path, user="user") == 401
        assert pair.here.status("GET", path, user="watcher") == 200
    for user in ("user", "watcher"):
        assert pair.here.status("DELETE", pair.path, user=user) == 401
    assert pair.told() == []


def test_what_is_nowhere_is_not_there(pair: Pair) -> None:
    for path in ("/connections/none", "/connections/none/channels", "/channels/none"):
        assert pair.here.status("GET", path) == 404
    assert pair.here.status("DELETE", "/connections/none") == 404
    assert pair.here.detail("GET", "/connections/none") == "there is no connection 'none'"


def test_a_node_that_does_not_answer_is_named_with_what_to_do(pair: Pair) -> None:
    pair.there.is_silent = True
    for method, path in (("GET", pair.path), ("DELETE", pair.path), ("GET", pair.channel)):
        status, error, reason = pair.here.refusal(method, path)
        assert (status, error) == (503, "service_unavailable")
        assert reason.startswith("node NODE:2 does not answer, and c")
        assert reason.endswith("may be there: try again later")
        assert pair.here.ask(method, f"/api{path}").headers[SILENT] == "NODE:2"
    status, _, reason = pair.here.refusal("DELETE", "/connections/username/guest")
    assert (status, reason) == (
        503,
        "node NODE:2 does not answer, and user 'guest' may be connected there; elsewhere no connection is left:"
        " try again later",
    )
    pair.there.is_silent, pair.there.does_nothing = False, True
    status, _, reason = pair.here.refusal("DELETE", pair.path)
    assert (status, reason.startswith("node NODE:2 does not answer, and connection '")) == (503, True)


def test_logins_are_counted_on_every_node(pair: Pair) -> None:
    pair.here.around.known = [Member("NODE:1", "", 0, True, True), Member("NODE:2", "", 0, False, False)]
    pair.node.node.broker.logins["http"].failed = 7
    path = "/auth/attempts/NODE:2"
    assert max(row["auth_attempts_failed"] for row in pair.here.get(path)) == 7
    assert pair.here.status("DELETE", path) == 204
    assert max(row["auth_attempts_failed"] for row in pair.here.get(path)) == 0
    assert pair.here.get("/nodes/NODE:2/memory")["memory"]["total"]["rss"] == 1000
    assert pair.here.get("/nodes/NODE:2?memory=true")["memory"]["total"]["rss"] == 1000
    pair.there.is_silent = True
    for method, silent in (("GET", path), ("DELETE", path), ("GET", "/nodes/NODE:2/memory")):
        reason = "node NODE:2 does not answer: try again later"
        assert pair.here.refusal(method, silent) == (503, "service_unavailable", reason)
