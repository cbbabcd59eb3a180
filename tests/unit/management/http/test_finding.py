"""Messages are found over HTTP by what identifies them, wherever they are."""

from __future__ import annotations

import json
from typing import Any

import pytest

from broker.codec import methods as amqp
from broker.codec.field_table import FieldTable
from broker.codec.properties import BasicProperties
from broker.errors import CoordinationError
from broker.management.figures.merging import Elsewhere
from broker.management.http.found_messages import KIND, seen_page
from broker.ports.peer_calls import FiguresPage
from tests.support.http_api import HttpNode
from tests.support.peer import Peer

PATH = "/broker/find/%2F"


@pytest.fixture
def node() -> HttpNode:
    node = HttpNode()
    for name, arguments in (
        ("orders", {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}),
        ("dead", {}),
    ):
        assert node.status("PUT", f"/queues/%2F/{name}", {"durable": True, "arguments": arguments}) == 201
    return node


def publish(node: HttpNode, queue: str, message_id: str, mode: int = 2, **more: Any) -> Peer:
    client = node.harness.peer()
    properties = BasicProperties(message_id=message_id, delivery_mode=mode, **more)
    client.publish(queue, b"body", properties=properties)
    node.harness.commit()
    return client


def found(node: HttpNode, query: str, **options: Any) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = node.get(f"{PATH}?{query}", **options)["items"]
    return items


def test_a_message_is_found_in_its_queue(node: HttpNode) -> None:
    publish(node, "orders", "order-16")
    publish(node, "orders", "order-17", correlation_id="4711")

    (row,) = found(node, "message_id=order-17")

    assert (row["queue"], row["state"], row["deliveries"], row["deaths"]) == ("orders", "ready", 0, [])
    assert row["properties"]["message_id"] == "order-17"
    assert (row["exchange"], row["routing_key"], row["persistent"]) == ("", "orders", True)
    assert found(node, "correlation_id=4711") == found(node, f"id={row['id']}") == [row]
    assert found(node, "message_id=4711") == found(node, "message_id=order-1") == found(node, "id=17") == []


@pytest.mark.parametrize("mode", [1, 2])
def test_who_holds_a_message_is_told(mode: int, node: HttpNode) -> None:
    client = publish(node, "orders", "order-17", mode)
    client.send(1, amqp.BasicConsume(queue="orders", consumer_tag="worker"))

    (row,) = found(node, "message_id=order-17")

    assert (row["state"], row["node"], row["persistent"]) == ("unacked", "NODE:1", mode == 2)
    assert (row["held_by"]["consumer_tag"], row["held_by"]["user"], row["held_by"]["number"]) == ("worker", "guest", 1)


def test_a_message_that_is_not_stored_is_found_in_memory(node: HttpNode) -> None:
    publish(node, "orders", "order-17", 1)

    (row,) = found(node, "message_id=order-17")

    assert (row["queue"], row["state"], row["node"], row["persistent"]) == ("orders", "ready", "NODE:1", False)


def test_deliveries_are_those_that_a_list_of_the_queue_tells(node: HttpNode) -> None:
    client = publish(node, "orders", "order-17")
    for _ in range(2):
        got = client.call(1, amqp.BasicGet(queue="orders"))
        client.send(1, amqp.BasicReject(got.delivery_tag, requeue=True))

    (row,) = found(node, "message_id=order-17")
    (listed,) = node.get("/broker/messages/%2F/orders")["items"]
    client.call(1, amqp.BasicGet(queue="orders"))
    (held,) = found(node, "message_id=order-17")

    assert (row["state"], row["deliveries"], listed["deliveries"]) == ("ready", 1, 1)
    assert (held["state"], held["deliveries"]) == ("unacked", 1)


def test_the_way_of_a_dead_letter_is_told(node: HttpNode) -> None:
    client = publish(node, "orders", "order-17")
    got = client.call(1, amqp.BasicGet(queue="orders"))
    client.send(1, amqp.BasicReject(got.delivery_tag, requeue=False))
    node.harness.commit()

    (row,) = found(node, "message_id=order-17")

    assert row["queue"] == "dead"
    assert [(each["queue"], each["reason"], each["count"]) for each in row["deaths"]] == [("orders", "rejected", 1)]
    assert row["deaths"][0]["time_ms"] > 0


def test_a_delayed_message_tells_when_it_is_due(node: HttpNode) -> None:
    publish(node, "orders", "order-17", headers=FieldTable.of({"x-delay": 60_000}))

    (row,) = found(node, "message_id=order-17")

    assert (row["queue"], row["state"]) == ("amq.delayed", "delayed")
    assert row["due_ms"] - row["came_ms"] in (60_000, 60_001)


def test_a_message_that_was_settled_is_nowhere(node: HttpNode) -> None:
    client = publish(node, "orders", "order-17")
    client.call(1, amqp.BasicGet(queue="orders", no_ack=True))
    node.harness.commit()

    assert node.get(f"{PATH}?message_id=order-17") == {
        "items": [],
        "looked_at": 0,
        "next": None,
        "memory_is_complete": True,
    }


def test_a_search_says_how_far_it_looked_and_goes_on_there(node: HttpNode) -> None:
    publish(node, "orders", "order-17")
    for number in range(10):
        publish(node, "orders", f"other-{number}")

    first = node.get(f"{PATH}?message_id=order-17&limit=4")
    second = node.get(f"{PATH}?message_id=order-17&limit=100&before={first['next']}")

    assert (first["items"], first["looked_at"]) == ([], 4)
    assert (len(second["items"]), second["looked_at"], second["next"]) == (1, 7, None)


@pytest.mark.parametrize("mode", [2, 1], ids=["stored", "in memory"])
def test_what_is_older_than_asked_for_is_left_out(node: HttpNode, mode: int) -> None:
    publish(node, "orders", "order-17", mode)
    node.harness.clock.advance(10)
    publish(node, "orders", "order-17", mode)
    newer, older = found(node, "message_id=order-17")

    assert found(node, f"message_id=order-17&since={older['came_ms'] + 1}") == [newer]


def test_only_what_the_user_may_read_is_told(node: HttpNode) -> None:
    publish(node, "orders", "order-17")

    assert found(node, "message_id=order-17", user="user") == []
    assert node.status("GET", f"{PATH}?message_id=order-17", user="watcher") == 401


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("", "say which message: one of id, message_id, correlation_id"),
        ("id=1&message_id=a", "say which message: one of id, message_id, correlation_id"),
        ("id=-1", "an id is a number of 63 bits, as lists of messages tell it"),
        ("message_id=", "'message_id' is a text of 1 to 255 octets"),
        (f"message_id={'a' * 256}", "'message_id' is a text of 1 to 255 octets"),
        ("message_id=a&limit=100001", "'limit' is a number from 0 to 100000"),
        ("message_id=a&before=x", "'before' is a number from 0 to 9223372036854775807"),
    ],
)
def test_what_identifies_no_message_is_refused(query: str, reason: str, node: HttpNode) -> None:
    assert node.refusal("GET", f"{PATH}?{query}") == (400, "bad_request", reason)


# Other nodes


class Other:
    """Another node, whose memory is that of a harness."""

    def __init__(self, node: HttpNode) -> None:
        self.node = node
        self.kinds: list[str] = []

    async def read(self, kind: str, node_id: str | None = None) -> Elsewhere:
        self.kinds.append(kind)
        page: FiguresPage = await seen_page(self.node.node.view, kind, self.node.node.shared.next_turn)
        return Elsewhere({"NODE:2": json.loads(page.rows)})


def test_what_another_node_has_in_its_memory_is_found(node: HttpNode) -> None:
    other = HttpNode()
    other.harness.clock.advance(1)
    assert other.status("PUT", "/queues/%2F/orders", {"durable": True}) == 201
    publish(other, "orders", "order-17", 1)
    client = publish(node, "orders", "order-17")
    node.node.view.others = Other(other)

    assert [row["persistent"] for row in found(node, "message_id=order-17")] == [False, True]

    client.send(1, amqp.BasicConsume(queue="orders"))
    assert sorted(row["state"] for row in found(node, "message_id=order-17")) == ["ready", "unacked"]


class Silent:
    """Another node that does not answer."""

    async def read(self, kind: str, node_id: str | None = None) -> Elsewhere:
        return Elsewhere({}, ("NODE:2",))


def test_nodes_that_do_not_answer_are_named(node: HttpNode) -> None:
    node.node.view.others = Silent()

    answer = node.ask("GET", f"/api{PATH}?message_id=a")

    assert answer.headers["X-Silent-Nodes"] == "NODE:2"
    assert json.loads(answer.body)["memory_is_complete"] is False


@pytest.mark.parametrize("told", ["", "{}", '["/", "id", "x", [], true]', '["/", "id", "1", [1], true]', "[1]"])
def test_a_node_that_says_not_what_it_looks_for_is_refused(told: str, node: HttpNode) -> None:
    with pytest.raises(CoordinationError, match="there are no figures of"):
        node.run(seen_page(node.node.view, KIND + told, node.node.shared.next_turn))
