"""What programs read that were written for RabbitMQ: every field, of an empty broker and under traffic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from broker.codec.field_table import FieldTable
from broker.codec.methods import (
    BasicAck,
    BasicConsume,
    BasicGet,
    BasicPublish,
    BasicQos,
    ConfirmSelect,
    ExchangeDeclare,
    QueueBind,
    QueueDeclare,
)
from broker.management.figures.merging import Elsewhere
from broker.management.http.api import Api
from broker.management.http.node_view import Member
from tests.support.http_api import HttpNode
from tests.support.shapes import differences


def empty() -> HttpNode:
    return HttpNode()


def busy() -> HttpNode:
    """A broker that has seen everything: publishes of all kinds, consumers, gets, acks, a policy."""
    node = HttpNode()
    node.status("PUT", "/policies/%2F/pol1", {"pattern": "^q2$", "definition": {"max-length": 1000}})
    client = node.harness.peer()
    client.send(1, ExchangeDeclare(exchange="ex.topic", type="topic", durable=True))
    client.send(1, QueueDeclare(queue="q1", durable=True))
    client.send(1, QueueDeclare(queue="q2", durable=True, arguments=FieldTable.of({"x-message-ttl": 60000})))
    client.send(1, QueueDeclare(queue="mine", exclusive=True))
    client.send(1, QueueBind(queue="q1", exchange="ex.topic", routing_key="a.#"))
    client.send(1, ConfirmSelect())
    client.send(1, BasicQos(prefetch_count=5))
    client.send(1, BasicConsume(queue="q1", consumer_tag="ctag1"))
    client.publish("a.b", b"1", b"2", exchange="ex.topic")
    client.publish("q2", b"1", b"22", b"333")
    client.send(1, BasicPublish(0, "", "nowhere", True), None, b"x")
    client.send(1, BasicAck(1))
    client.send(1, BasicGet(queue="q2", no_ack=True))
    node.harness.commit()
    return node


@pytest.fixture(scope="module", params=[empty, busy], ids=["empty", "under traffic"])
def node(request: pytest.FixtureRequest) -> HttpNode:
    made: HttpNode = request.param()
    return made


KINDS = {
    "overview": "/overview",
    "node": "/nodes/NODE:1",
    "vhost": "/vhosts/%2F",
    "exchange": "/exchanges/%2F/amq.topic",
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_always_there_has_every_field_that_rabbitmq_has(node: HttpNode, kind: str) -> None:
    assert differences(kind, node.get(KINDS[kind])) == {}


LISTS = {
    "queue": "/queues",
    "connection": "/connections",
    "channel": "/channels",
    "consumer": "/consumers",
    "node": "/nodes",
    "exchange": "/exchanges",
    "vhost": "/vhosts",
    "user": "/users",
    "permission": "/permissions",
    "policy": "/policies",
    "binding": "/bindings",
}


@pytest.mark.parametrize("kind", LISTS)
def test_every_row_of_a_list_has_every_field_that_rabbitmq_has(node: HttpNode, kind: str) -> None:
    rows = node.get(LISTS[kind])
    assert all(differences(kind, row) == {} for row in rows), [differences(kind, row) for row in rows]
    paged = node.get(f"{LISTS[kind]}?page=1&page_size=500")
    assert paged["items"] == rows
    assert paged["total_count"] == len(rows)


# What strict readers need: a missing field, or a float for an int, ends them.

NEEDED: Mapping[str, Mapping[str, Any]] = {
    "/overview": {
        "cluster_name": str,
        "node": str,
        "erlang_full_version": str,
        "erlang_version": str,
        "rabbitmq_version": str,
        "product_name": str,
        "product_version": str,
        "statistics_db_event_queue": int,
        "churn_rates": dict,
        "queue_totals": dict,
        "object_totals": dict,
        "message_stats": dict,
        "listeners": list,
    },
    "/nodes": {
        "name": str,
        "uptime": int,
        "run_queue": int,
        "processors": int,
        "os_pid": str,
        "fd_total": int,
        "proc_total": int,
        "mem_limit": int,
        "mem_alarm": bool,
        "disk_free_limit": int,
        "disk_free_alarm": bool,
        "rates_mode": str,
        "enabled_plugins": list,
        "being_drained": bool,
        "partitions": list,
    },
    "/queues": {
        "name": str,
        "vhost": str,
        "type": str,
        "durable": bool,
        "auto_delete": bool,
        "exclusive": bool,
        "arguments": dict,
        "messages": int,
        "messages_ready": int,
        "messages_unacknowledged": int,
        "consumers": int,
    },
    "/connections": {
        "name": str,
        "node": str,
        "protocol": str,
        "user": str,
        "connected_at": int,
        "client_properties": dict,
    },
    "/channels": {
        "number": int,
        "name": str,
        "connection_details": dict,
        "vhost": str,
        "state": str,
        "consumer_count": int,
        "confirm": bool,
        "prefetch_count": int,
        "messages_unacknowledged": int,
        "messages_unconfirmed": int,
    },
    "/consumers": {
        "consumer_tag": str,
        "active": bool,
        "ack_required": bool,
        "prefetch_count": int,
        "exclusive": bool,
        "arguments": dict,
        "consumer_timeout": int,
        "queue": dict,
        "channel_details": dict,
    },
    "/users": {"name": str, "tags": list, "password_hash": str},
    "/policies": {"vhost": str, "name": str, "pattern": str, "apply-to": str, "priority": int, "definition": dict},
    "/bindings": {
        "vhost": str,
        "source": str,
        "destination": str,
        "destination_type": str,
        "routing_key": str,
        "arguments": dict,
        "properties_key": str,
    },
}


@pytest.mark.parametrize("path", NEEDED)
def test_what_strict_readers_need_is_there_and_of_the_right_type(node: HttpNode, path: str) -> None:
    found = node.get(path)
    for row in found if isinstance(found, list) else [found]:
        wrong = {name: row.get(name) for name, kind in NEEDED[path].items() if type(row.get(name)) is not kind}
        assert wrong == {}


def test_rates_are_floats_and_counts_are_whole_numbers(node: HttpNode) -> None:
    """Programs in Go decode neither as the other."""

    def look(value: Any, path: str) -> None:
        if isinstance(value, dict):
            for name, each in value.items():
                look(each, f"{path}.{name}")
            if "rate" in value:
                assert type(value["rate"]) is float, path
        elif isinstance(value, float):
            assert path.rpartition(".")[2] in ("rate", "avg", "avg_rate") or "avg_time" in path or "consumer_" in path

    for path in ("/overview", "/nodes", "/queues", "/exchanges", "/connections", "/channels", "/vhosts"):
        found = node.get(path)
        for row in found if isinstance(found, list) else [found]:
            look(row, path)


# Requests as programs send them


def test_flower_asks_for_the_queues_of_a_virtual_host() -> None:
    rows = {row["name"]: row for row in busy().get("/queues/%2F")}
    q2 = rows["q2"]
    assert (q2["messages"], q2["messages_ready"], q2["messages_unacknowledged"], q2["consumers"]) == (2, 2, 0, 0)


def test_keda_asks_for_a_queue_or_for_all_that_match() -> None:
    node = busy()
    row = node.get("/queues/%2F/q2")
    assert row["message_stats"]["publish_details"]["rate"] >= 0.0
    assert row["message_stats"]["deliver_get_details"]["rate"] >= 0.0
    found = node.get("/queues?page=1&use_regex=true&pagination=false&name=%5Eq&page_size=100")
    assert [item["name"] for item in found["items"]] == ["q1", "q2"]
    assert found["page_count"] == 1


def test_terraform_reads_what_it_has_put() -> None:
    node = HttpNode()
    node.status("PUT", "/vhosts/tf", {})
    assert node.get("/vhosts/tf")["name"] == "tf"
    node.status("PUT", "/permissions/tf/guest", {"configure": ".*", "write": ".*", "read": ".*"})
    node.status("PUT", "/exchanges/tf/x", {"type": "fanout", "durable": False, "auto_delete": True})
    row = node.get("/exchanges/tf/x")
    assert (row["type"], row["durable"], row["auto_delete"], row["arguments"]) == ("fanout", False, True, {})
    node.status("PUT", "/queues/tf/q", {"durable": True, "arguments": {"x-message-ttl": 5000}})
    location = node.ask("POST", "/api/bindings/tf/e/x/q/q", {"routing_key": "#"}).headers["Location"]
    found = node.get("/bindings/tf/e/x/q/q")
    assert [each["properties_key"] for each in found] == ["%23"]
    assert location == "q/%2523"


def test_nservicebus_asks_for_version_features_policies_and_bindings() -> None:
    node = busy()
    overview = node.get("/overview")
    assert tuple(map(int, overview["rabbitmq_version"].split("."))) >= (3, 10)
    assert overview["disable_stats"] is False
    assert {"quorum_queue"} <= {each["name"] for each in node.get("/feature-flags") if each["state"] == "enabled"}
    assert node.get("/policies/%2F")[0]["name"] == "pol1"
    row = node.get("/queues/%2F/q2")
    assert (row["policy"], row["operator_policy"]) == ("pol1", None)
    assert row["effective_policy_definition"] == {"max-length": 1000}
    node.status("PUT", "/queues/%2F/quorum", {"durable": True, "arguments": {"x-queue-type": "quorum"}})
    row = node.get("/queues/%2F/quorum")
    assert (row["type"], row["delivery_limit"]) == ("quorum", 20)


@pytest.mark.parametrize("path", ["/connections/", "/users/", "/vhosts/", "/permissions/", "/exchanges/%2F/"])
def test_programs_in_java_write_a_slash_at_the_end(path: str) -> None:
    assert isinstance(HttpNode().get(path), list)


def test_rabbitmq_exporter_asks_for_unsorted_lists_and_accepts_bert() -> None:
    node = busy()
    headers = {"accept": "application/bert, application/json;q=0.1"}
    for path in ("overview", "nodes", "queues", "exchanges", "connections", "shovels", "federation-links"):
        answer = node.ask("GET", f"/api/{path}?sort=", headers=headers)
        assert (answer.status, answer.content_type) == (200, "application/json")


# Single things


def test_a_queue_tells_of_its_consumers_and_of_whom_it_belongs_to() -> None:
    node = busy()
    row = node.get("/queues/%2F/q1")
    (consumer,) = row["consumer_details"]
    assert (consumer["consumer_tag"], consumer["queue"]) == ("ctag1", {"name": "q1", "vhost": "/"})
    assert len(row["deliveries"]) == 1
    owner = node.get("/queues/%2F/mine")["owner_pid_details"]
    assert owner["name"] == node.get("/connections")[0]["name"]


def test_a_channel_tells_of_its_consumers() -> None:
    from urllib.parse import quote

    node = busy()
    (row,) = node.get("/channels")
    shown = node.get(f"/channels/{quote(row['name'], safe='')}")
    assert [each["consumer_tag"] for each in shown["consumer_details"]] == ["ctag1"]
    assert node.status("GET", "/channels/nov") == 404
    connection = quote(node.get("/connections")[0]["name"], safe="")
    assert node.get(f"/connections/{connection}/channels")[0]["number"] == 1
    assert node.get(f"/connections/{connection}")["user"] == "guest"


def test_users_see_their_own_connections_and_monitors_all() -> None:
    node = busy()
    assert node.get("/connections", user="user") == node.get("/channels", user="user") == []
    assert len(node.get("/connections", user="watcher")) == 1
    assert node.get("/overview", user="user")["object_totals"]["connections"] == 0
    assert node.get("/overview", user="user")["listeners"] == []


def test_bindings_are_listed_from_everywhere() -> None:
    node = busy()
    bound = {"source": "ex.topic", "destination": "q1", "routing_key": "a.#"}

    def has(path: str) -> bool:
        return any(bound.items() <= row.items() for row in node.get(path))

    for path in ("/bindings", "/bindings/%2F", "/queues/%2F/q1/bindings", "/exchanges/%2F/ex.topic/bindings/source"):
        assert has(path), path
    assert not has("/exchanges/%2F/ex.topic/bindings/destination")
    default = [row["routing_key"] for row in node.get("/exchanges/%2F/amq.default/bindings/source")]
    assert default == ["mine", "q1", "q2"]
    assert node.get("/bindings/%2F/e/amq.default/q/q1")[0]["properties_key"] == "q1"


# Health checks


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("alarms", {"status": "ok"}),
        ("local-alarms", {"status": "ok"}),
        ("virtual-hosts", {"status": "ok"}),
        ("store", {"status": "ok", "store": "memory", "unsafe": []}),
        ("node-is-quorum-critical", {"status": "ok", "reason": "single node cluster"}),
        ("node-is-mirror-sync-critical", {"status": "ok", "reason": "single node cluster"}),
        ("port-listener/5672", {"status": "ok", "port": 5672}),
        ("protocol-listener/amqp", {"status": "ok", "protocol": "amqp"}),
        ("protocol-listener/amqp091", {"status": "ok", "protocol": "amqp091"}),
        ("certificate-expiration/1/months", {"status": "ok"}),
    ],
)
def test_what_is_well_is_checked_as_well(path: str, expected: dict[str, Any]) -> None:
    assert HttpNode().get(f"/health/checks/{path}") == expected


def test_what_is_not_well_is_answered_with_503_and_why() -> None:
    node = HttpNode()
    node.around.reason = "low on memory"
    node.around.store_facts = replace(node.around.store_facts, is_up=False, reason="store unavailable: no answer")
    for check in ("alarms", "local-alarms", "store"):
        assert node.status("GET", f"/health/checks/{check}") == 503
    assert node.get("/healthchecks/node") == {"status": "failed", "reason": "low on memory"}
    for path, missing in (("port-listener/1", 1), ("protocol-listener/mqtt", "mqtt")):
        answer = node.ask("GET", f"/api/health/checks/{path}")
        assert answer.status == 503
        assert f'"missing":{missing!r}'.replace("'", '"').encode() in answer.body


def test_a_node_without_which_too_few_are_left_should_not_be_stopped() -> None:
    node = HttpNode()
    node.around.minimum_cluster_size = 2
    node.around.known = [Member(f"NODE:{number}", "", 0, number == 1, number == 1) for number in (1, 2)]
    answer = node.ask("GET", "/api/health/checks/node-is-quorum-critical")
    assert answer.status == 503
    assert b"without this node there is no more than 1 living member, and minimumClusterSize is 2" in answer.body
    node.around.known.append(Member("NODE:3", "", 0, False, False))
    assert node.get("/health/checks/node-is-quorum-critical") == {"status": "ok"}
    node.around.known = node.around.known[:1]
    node.node.broker.refusal = "this node sees 1 living member of its cluster"
    assert node.get("/health/checks/node-is-quorum-critical") == {
        "status": "ok",
        "reason": "this node sees 1 living member of its cluster",
    }


class Others:
    """The other nodes of a cluster."""

    def __init__(self, *rows: dict[str, Any]) -> None:
        self._rows = rows

    async def read(self, kind: str) -> Elsewhere:
        return Elsewhere({"NODE:2": [*self._rows]} if kind == "nodes" else {})


def test_an_alarm_of_another_node_is_one_of_the_cluster_and_not_of_this_node() -> None:
    node = HttpNode()
    view = replace(node.node.view, others=Others({"name": "NODE:2", "mem_alarm": True, "disk_free_alarm": False}))
    node.api = Api(replace(node.node, view=view), node.login)
    answer = node.ask("GET", "/api/health/checks/alarms")
    assert (answer.status, b'"node":"NODE:2","resource":"memory"' in answer.body) == (503, True)
    assert node.status("GET", "/health/checks/local-alarms") == 200


def test_a_certificate_that_ends_soon_is_told() -> None:
    node = HttpNode()
    node.around.ends = {"amqps": node.harness.clock.wall_ms() / 1000 + 10 * 86_400}
    assert node.status("GET", "/health/checks/certificate-expiration/1/weeks") == 200
    assert node.status("GET", "/health/checks/certificate-expiration/1/months") == 503
    assert node.refusal("GET", "/health/checks/certificate-expiration/1/foo") == (
        400,
        "bad_request",
        "Time unit not recognised. Supported units: days, weeks, months, years.",
    )


@pytest.mark.parametrize("query", ["lengths_age=60&lengths_incr=5", "msg_rates_age=600&msg_rates_incr=5"])
def test_samples_are_told_where_they_are_asked_for(query: str) -> None:
    row = busy().get(f"/queues/%2F/q2?{query}")
    details = row["messages_details"] if "lengths" in query else row["message_stats"]["publish_details"]
    assert set(details) == {"rate", "samples", "avg", "avg_rate"}


@pytest.mark.parametrize(
    "query",
    [
        "lengths_age=x&lengths_incr=1",
        "lengths_age=1000000&lengths_incr=1",
        "lengths_age=60&lengths_incr=0",
        "lengths_age=86401&lengths_incr=100",
        "lengths_age=86400&lengths_incr=1",
    ],
)
def test_more_samples_than_there_can_be_are_refused(query: str) -> None:
    assert busy().status("GET", f"/queues?{query}") == 400
