"""This broker's own resources: nodes, store, timeline, slots, messages as they lie, dead letters, subscriptions."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import pytest
import structlog

from broker.broker import Limits
from broker.codec.field_table import FieldTable
from broker.codec.methods import BasicConsume, BasicGet, BasicReject, QueueDeclare
from broker.codec.properties import BasicProperties
from broker.management.http.node_view import Member, TimelineEntry
from broker.queue.settings import QueueLimits
from tests.support.harness import Client
from tests.support.http_api import HttpNode


@pytest.fixture
def node() -> HttpNode:
    return HttpNode()


def test_a_node_that_takes_no_clients_says_so_to_operators_and_passes_no_messages_for_them(node: HttpNode) -> None:
    node.harness.broker.refuse_clients("too few members")
    assert node.get("/broker/nodes")["refuses_clients"] == "too few members"
    assert node.get("/nodes/NODE:1")["being_drained"] is True
    for path in ("/health/checks/is-in-service", "/queues/%2F/q"):
        method = "GET" if "checks" in path else "PUT"
        answer = node.ask(method, f"/api{path}", None if method == "GET" else {})
        assert (answer.status, json.loads(answer.body)["reason"]) == (503, "too few members")
    assert node.get("/healthchecks/node") == {"status": "failed", "reason": "too few members"}
    node.harness.broker.take_clients()
    assert node.get("/health/checks/is-in-service") == {"status": "ok"}


def test_the_node_list_has_one_coordinator_and_says_how_the_store_is(node: HttpNode) -> None:
    assert node.get("/broker/nodes") == {
        "clustering": False,
        "message_store": {
            "health": "Healthy",
            "since_seconds": 0.0,
            "reason": "",
            "latency_ms": 0.0,
            "description": "memory",
            "unsafe": [],
        },
        "refuses_clients": "",
        "nodes": [
            {
                "node_id": "NODE:1",
                "ip_address": "",
                "port": 0,
                "is_coordinator": True,
                "is_self": True,
                "last_heartbeat_seconds": None,
            }
        ],
    }
    node.around.known = [
        Member("NODE:1", "10.0.0.1", 7611, True, True),
        Member("NODE:2", "10.0.0.2", 7611, False, False, 1.25),
    ]
    node.around.store_facts = replace(node.around.store_facts, is_up=False, reason="no answer")
    told = node.get("/broker/nodes", user="watcher")
    assert [each["is_coordinator"] for each in told["nodes"]] == [True, False]
    assert told["nodes"][1]["last_heartbeat_seconds"] == 1.25
    assert told["message_store"]["health"] == "Unhealthy"
    assert node.get("/broker/store")["reason"] == "no answer"
    rows = node.get("/nodes")
    assert [(row["name"], row["running"]) for row in rows] == [("NODE:1", True), ("NODE:2", True)]


def test_the_timeline_says_what_has_happened_to_whom(node: HttpNode) -> None:
    node.around.entries = [
        TimelineEntry(2000, "coordinator_changed", "NODE:2", "NODE:2"),
        TimelineEntry(1000, "member_added", "NODE:2", "NODE:2"),
    ]
    assert node.get("/broker/timeline?limit=1") == [
        {"happened_ms": 2000, "kind": "coordinator_changed", "member_id": "NODE:2", "node_id": "NODE:2"}
    ]
    assert node.status("GET", "/broker/timeline?limit=100000") == 400


def test_slots_are_those_of_messages_that_are_in_the_store_alone() -> None:
    node = HttpNode(queue_limits=QueueLimits(window_size=4, memory=1000))
    client = node.harness.peer()
    client.send(1, QueueDeclare(queue="q", durable=True))
    client.publish("q", *[b"x" * 500] * 12, properties=BasicProperties(delivery_mode=2))
    node.harness.commit()
    rows = node.get("/broker/slots")
    assert rows
    assert {row["queue"] for row in rows} == {"q"}
    assert 0 < sum(row["messages"] for row in rows) < 12
    assert all(row["start"] <= row["end"] for row in rows)
    assert node.get("/broker/slots/%2F") == rows
    assert node.get("/broker/slots/carbon") == []


# Messages as they lie


def filled(node: HttpNode, bodies: list[bytes], **options: Any) -> Client:
    client = node.harness.peer()
    client.send(1, QueueDeclare(queue="q", durable=True, arguments=FieldTable.of(options)))
    for number, body in enumerate(bodies):
        properties = BasicProperties(
            delivery_mode=1 + number % 2, content_type="text/plain", headers=FieldTable.of({"n": number})
        )
        client.publish("q", body, properties=properties)
    node.harness.commit()
    return client


def test_messages_are_shown_in_order_and_stay_as_they_are(node: HttpNode) -> None:
    filled(node, [b"one", b"\xff\xfe", b"three"])
    before = node.get("/queues/%2F/q")["messages_ready"]
    told = node.get("/broker/messages/%2F/q?payload=true")
    assert [item["payload"] for item in told["items"]] == ["one", base64.b64encode(b"\xff\xfe").decode(), "three"]
    assert [item["persistent"] for item in told["items"]] == [False, True, False]
    assert told["items"][0]["properties"] == {"content_type": "text/plain", "delivery_mode": 1, "headers": {"n": 0}}
    assert told["next"] is None
    assert "payload" not in node.get("/broker/messages/%2F/q")["items"][0]
    row = node.get("/queues/%2F/q")
    assert (row["messages_ready"], row["messages_unacknowledged"]) == (before, 0)
    client = node.harness.peer()
    client.send(1, BasicGet(queue="q", no_ack=True))
    (method,) = [method for _, method in client.received()]
    assert method.redelivered is False  # type: ignore[attr-defined]


def test_pages_go_on_where_the_last_one_ended(node: HttpNode) -> None:
    filled(node, [b"%d" % number for number in range(10)])
    seen: list[str] = []
    after: int | None = 0
    pages = 0
    while after is not None:
        told = node.get(f"/broker/messages/%2F/q?payload=true&limit=4&after={after}")
        seen += [item["payload"] for item in told["items"]]
        after = told["next"]
        pages += 1
    assert seen == [str(number) for number in range(10)]
    assert pages in (3, 4)


def test_pages_lead_through_memory_store_and_slots_alike() -> None:
    node = HttpNode(queue_limits=QueueLimits(window_size=4, memory=1000))
    filled(node, [b"%d" % number * 50 for number in range(9)])
    seen: list[int] = []
    after: int | None = 0
    while after is not None:
        told = node.get(f"/broker/messages/%2F/q?limit=2&after={after}")
        seen += [item["properties"]["headers"]["n"] for item in told["items"]]
        after = told["next"]
    assert seen == list(range(9))


def test_a_queue_with_priorities_is_shown_in_the_order_in_which_it_was_filled(node: HttpNode) -> None:
    client = node.harness.peer()
    client.send(1, QueueDeclare(queue="q", durable=True, arguments=FieldTable.of({"x-max-priority": 3})))
    for number in range(8):
        client.publish("q", b"%d" % number, properties=BasicProperties(priority=number % 4))
    seen: list[str] = []
    after: int | None = 0
    while after is not None:
        told = node.get(f"/broker/messages/%2F/q?payload=true&limit=3&after={after}")
        seen += [item["payload"] for item in told["items"]]
        after = told["next"]
    assert seen == [str(number) for number in range(8)]


def test_what_a_consumer_holds_is_not_shown(node: HttpNode) -> None:
    client = filled(node, [b"1", b"2"])
    client.send(1, BasicGet(queue="q"))
    assert len(node.get("/broker/messages/%2F/q")["items"]) == 1


def test_a_long_payload_is_cut(node: HttpNode) -> None:
    filled(node, [b"x" * 100])
    (item,) = node.get("/broker/messages/%2F/q?payload=true&truncate=10")["items"]
    assert (item["payload"], item["payload_bytes"]) == ("x" * 10, 100)


def test_whoever_reads_payloads_needs_the_permission_and_is_in_the_log(node: HttpNode) -> None:
    filled(node, [b"1"])
    assert node.status("GET", "/broker/messages/%2F/q?payload=true", user="user") == 401
    assert node.status("GET", "/broker/messages/%2F/q", user="watcher") == 401
    with structlog.testing.capture_logs() as lines:
        node.get("/broker/messages/%2F/q?payload=true")
    (line,) = [line for line in lines if line.get("audit") == "messages.browsed"]
    assert (line["user"], line["queue"], line["messages"]) == ("guest", "q", 1)


@pytest.mark.parametrize("query", ["limit=501", "after=x", "after=-1", "after=" + "9" * 30, "truncate=99999999"])
def test_what_cannot_be_shown_is_refused(node: HttpNode, query: str) -> None:
    filled(node, [])
    assert node.status("GET", f"/broker/messages/%2F/q?payload=true&{query}") == 400
    assert node.status("GET", "/broker/messages/%2F/nope") == 404


# Dead letters


def dead(node: HttpNode, count: int) -> list[int]:
    """Let messages die in the virtual host of WSO2's clients; return their ids."""
    client = node.harness.peer(vhost="carbon")
    client.send(1, QueueDeclare(queue="orders", durable=True))
    client.publish("orders", *[b"x"] * count, properties=BasicProperties(delivery_mode=2))
    node.harness.commit()
    for _ in range(count):
        client.send(1, BasicGet(queue="orders"))
        (tag,) = [m.delivery_tag for _, m in client.received() if hasattr(m, "delivery_tag")]
        client.send(1, BasicReject(tag, False))
        node.harness.commit()
    return [letter["id"] for letter in node.get("/broker/dead-letters/carbon")]


def test_dead_letters_are_listed_restored_rerouted_and_deleted(node: HttpNode) -> None:
    first, second, third = dead(node, 3)
    letters = node.get("/broker/dead-letters/carbon?queue=orders&limit=2")
    assert [letter["queue"] for letter in letters] == ["orders", "orders"]
    base = "/api/broker/dead-letters/carbon"
    moved = json.loads(node.ask("POST", f"{base}/restore", {"ids": [first]}).body)
    node.harness.commit()
    assert moved == {"done": 1, "left": 0, "reasons": [], "elsewhere": [], "silent": []}
    node.harness.peer(vhost="carbon").send(1, QueueDeclare(queue="other", durable=True))
    moved = json.loads(node.ask("POST", f"{base}/reroute", {"ids": [second], "target": "other"}).body)
    assert moved["done"] == 1
    assert json.loads(node.ask("POST", f"{base}/delete", {"all": True}).body)["done"] == 1
    node.harness.commit()
    assert node.get("/broker/dead-letters/carbon") == []
    rows = {row["name"]: row["messages"] for row in node.get("/queues/carbon")}
    assert (rows["orders"], rows["other"]) == (1, 1)
    assert third not in (first, second)


def test_dead_letters_need_a_channel_a_choice_and_permissions(node: HttpNode) -> None:
    assert node.status("GET", "/broker/dead-letters/%2F") == 404
    assert node.status("GET", "/broker/dead-letters/carbon", user="user") == 401
    assert node.status("POST", "/broker/dead-letters/carbon/delete", {}) == 400
    assert node.refusal("POST", "/broker/dead-letters/carbon/reroute", {"all": True}) == (
        400,
        "bad_request",
        "[{key_missing,target}]",
    )


def test_a_message_larger_than_an_answer_is_shown_cut() -> None:
    node = HttpNode(limits=Limits(heartbeat=60))
    client = filled(node, [])
    client.send(1, BasicConsume(queue="q"))
    assert node.get("/broker/messages/%2F/q")["items"] == []


# Delayed messages


def delay(node: HttpNode, *delays: int) -> None:
    client = node.harness.peer()
    client.send(1, QueueDeclare(queue="q", durable=True))
    for each in delays:
        properties = BasicProperties(headers=FieldTable.of({"x-delay": each}), message_id=f"m-{each}")
        client.publish("q", b"x", properties=properties)
    node.harness.commit()


def test_delayed_messages_are_counted_listed_cancelled_and_moved(node: HttpNode) -> None:
    delay(node, 1000, 2000, 3000)
    assert {"vhost": "/", "messages": 3} in node.get("/broker/delayed")
    page = node.get("/broker/delayed/%2F?limit=2")
    assert [row["message_id"] for row in page["items"]] == ["m-1000", "m-2000"]
    assert [row["message_id"] for row in node.get(f"/broker/delayed/%2F?after={page['next']}")["items"]] == ["m-3000"]
    assert node.get("/broker/delayed/%2F?message_id=m-2000")["items"] == page["items"][1:]
    base = "/api/broker/delayed/%2F"
    told = json.loads(node.ask("POST", f"{base}/cancel", {"ids": [page["items"][0]["id"], 5]}).body)
    assert [each["outcome"] for each in told["results"]] == ["cancelled", "gone"]
    told = json.loads(node.ask("POST", f"{base}/move", {"message_id": "m-2000", "delay": 0}).body)
    assert (told["done"], told["results"][0]["outcome"]) == (1, "moved")
    node.harness.run()
    node.harness.commit()
    assert {"vhost": "/", "messages": 1} in node.get("/broker/delayed")
    rows = {row["name"]: row["messages"] for row in node.get("/queues/%2F")}
    assert rows == {"q": 1}  # the schedule is no queue of clients


def test_delayed_messages_need_permissions_and_a_choice(node: HttpNode) -> None:
    delay(node, 1000)
    assert node.status("GET", "/broker/delayed/%2F", user="user") == 401
    assert node.status("POST", "/broker/delayed/%2F/cancel", {"ids": [1]}, user="user") == 401
    assert node.status("POST", "/broker/delayed/%2F/cancel", {}) == 400
    assert node.status("POST", "/broker/delayed/%2F/cancel", {"id": 1}) == 400
    assert node.status("POST", "/broker/delayed/%2F/move", {"ids": [1]}) == 400
    assert node.status("GET", "/broker/delayed/%2F?after=x") == 400
    assert node.status("GET", "/broker/delayed/nope") == 404
