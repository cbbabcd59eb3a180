"""What Flower, KEDA, NServiceBus and Terraform (by rabbit-hole) ask a real broker for, first of all and while a queue
is used, as their sources have it: each answer has the fields that they read, with the types that they decode.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import Any
from urllib.parse import quote, urlsplit
from uuid import uuid4

import pika
import pytest

NUMBER = (int, float)
RATE = float
TEXT = str
TEXT_OR_NONE = (str, type(None))
Fields = Mapping[str, Any]
"""Types by the dotted paths of fields; of a list all items are looked at (`*`)."""


@dataclass
class Api:
    """The HTTP API of a broker, and a queue under traffic there."""

    url: str
    queue: str

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Return status and body of the answer; `{q}` in a path is the queue."""
        parts = urlsplit(self.url)
        login = base64.b64encode(f"{parts.username}:{parts.password}".encode()).decode()
        connection = HTTPConnection(str(parts.hostname), parts.port, timeout=20)
        octets = None if body is None else json.dumps(body)
        connection.request(method, f"/api/{path.format(q=self.queue)}", octets, {"Authorization": f"Basic {login}"})
        with connection.getresponse() as answer:
            text = answer.read()
            connection.close()
            return answer.status, json.loads(text) if text else None

    def get(self, path: str) -> Any:
        status, found = self.ask("GET", path)
        assert status == 200, (path, status, found)
        return found


@pytest.fixture(scope="module")
def api(session_broker: Any) -> Iterator[Api]:
    """A queue with a consumer, of whose twenty messages five are acknowledged and five held."""
    configuration = session_broker.configuration
    url = f"http://guest:guest@{session_broker.host}:{configuration.http_port + session_broker.number}"
    name = f"q.{uuid4().hex[:12]}"
    connection = pika.BlockingConnection(pika.URLParameters(f"{session_broker.url}?heartbeat=0"))
    channel = connection.channel()
    channel.confirm_delivery()
    channel.queue_declare(name, durable=True, arguments={"x-queue-type": "quorum", "x-max-length": 1000})
    for number in range(20):
        channel.basic_publish("", name, b"%d" % number, pika.BasicProperties(delivery_mode=2))
    channel.basic_qos(prefetch_count=5)
    taken: list[int] = []
    channel.basic_consume(name, lambda _, deliver, *rest: taken.append(deliver.delivery_tag))
    while len(taken) < 5:
        connection.process_data_events(time_limit=1)
    channel.basic_ack(taken[-1], multiple=True)
    while len(taken) < 10:
        connection.process_data_events(time_limit=1)
    yield Api(url, name)
    channel.queue_delete(name)
    connection.close()


def at(value: Any, path: str) -> list[Any]:
    """Return what stands at a path."""
    found = [value]
    for name in path.split("."):
        found = [item for each in found for item in each] if name == "*" else [each[name] for each in found]
    return found


def require(value: Any, fields: Fields) -> None:
    for path, kind in fields.items():
        for found in at(value, path):
            is_right = isinstance(found, kind) and (not isinstance(found, bool) or kind is bool)
            assert is_right, f"{path} is {found!r}"


QUEUE = {
    "name": TEXT,
    "messages": int,
    "messages_ready": int,
    "messages_unacknowledged": int,
    "message_stats.publish_details.rate": RATE,
    "message_stats.deliver_get_details.rate": RATE,
}
REQUESTS: list[tuple[str, str, Fields]] = [
    (
        "Flower",
        "queues/%2F",
        {f"*.{name}": int for name in ("messages", "messages_unacknowledged", "messages_ready", "consumers")}
        | {"*.name": TEXT},
    ),
    ("KEDA, one queue", "queues/%2F/{q}", QUEUE),
    (
        "KEDA, a regular expression",
        "queues/%2F?page=1&use_regex=true&pagination=false&name=%5E{q}%24&page_size=100",
        {f"items.*.{name}": kind for name, kind in QUEUE.items()} | {"page_count": int},
    ),
    (
        "NServiceBus, the broker",
        "overview",
        {"rabbitmq_version": TEXT, "product_name": TEXT, "product_version": TEXT, "disable_stats": bool},
    ),
    ("NServiceBus, feature flags", "feature-flags", {"*.name": TEXT, "*.state": TEXT}),
    (
        "NServiceBus, a queue",
        "queues/%2F/{q}",
        {
            "type": TEXT,
            "arguments": dict,
            "policy": TEXT_OR_NONE,
            "operator_policy": TEXT_OR_NONE,
            "effective_policy_definition": dict,
            "delivery_limit": (int, str),
        },
    ),
    (
        "NServiceBus, bindings",
        "queues/%2F/{q}/bindings",
        {"*.source": TEXT, "*.routing_key": TEXT, "*.arguments": dict},
    ),
    (
        "rabbit-hole, the broker",
        "overview",
        {
            "management_version": TEXT,
            "rates_mode": TEXT,
            "rabbitmq_version": TEXT,
            "cluster_name": TEXT,
            "erlang_version": TEXT,
            "erlang_full_version": TEXT,
            "node": TEXT,
            "statistics_db_event_queue": int,
            "exchange_types.*.name": TEXT,
            "exchange_types.*.description": TEXT,
            "exchange_types.*.enabled": bool,
            "message_stats.publish": int,
            "message_stats.publish_details.rate": RATE,
            **{f"queue_totals.{name}": int for name in ("messages", "messages_ready", "messages_unacknowledged")},
            "queue_totals.messages_details.rate": RATE,
            **{
                f"object_totals.{name}": int for name in ("consumers", "queues", "exchanges", "connections", "channels")
            },
            "listeners.*.node": TEXT,
            "listeners.*.protocol": TEXT,
            "listeners.*.ip_address": TEXT,
            "listeners.*.port": int,
            "contexts.*.node": TEXT,
            "contexts.*.description": TEXT,
            "contexts.*.path": TEXT,
            "contexts.*.port": (int, str),
        },
    ),
    (
        "rabbit-hole, nodes",
        "nodes",
        {
            **{f"*.{name}": TEXT for name in ("name", "type", "os_pid", "rates_mode")},
            **{f"*.{name}": bool for name in ("running", "mem_alarm", "disk_free_alarm")},
            **{
                f"*.{name}": int
                for name in ("fd_used", "fd_total", "sockets_used", "sockets_total", "mem_used", "mem_limit", "uptime")
            },
            **{
                f"*.{name}": int
                for name in ("disk_free", "disk_free_limit", "proc_used", "proc_total", "processors", "run_queue")
            },
            "*.partitions": list,
            "*.applications": list,
            "*.exchange_types.*.name": TEXT,
            "*.contexts.*.port": (int, str),
        },
    ),
    (
        "rabbit-hole, queues",
        "queues/%2F",
        {
            **{f"*.{name}": TEXT for name in ("name", "vhost", "type", "node")},
            **{f"*.{name}": bool for name in ("durable", "auto_delete", "exclusive")},
            **{f"*.{name}": int for name in ("memory", "messages", "messages_ready", "message_bytes", "consumers")},
            "*.arguments": dict,
            "*.consumer_utilisation": NUMBER,
            "*.exclusive_consumer_tag": TEXT_OR_NONE,
            "*.messages_details.rate": RATE,
        },
    ),
    (
        "rabbit-hole, virtual hosts",
        "vhosts",
        {"*.name": TEXT, "*.tracing": bool, "*.tags": list, "*.description": TEXT},
    ),
    ("rabbit-hole, users", "users", {"*.name": TEXT, "*.tags.*": TEXT, "*.password_hash": TEXT}),
    (
        "rabbit-hole, connections",
        "connections",
        {
            **{f"*.{name}": TEXT for name in ("name", "node", "state", "protocol", "user", "vhost", "peer_host")},
            **{f"*.{name}": int for name in ("peer_port", "channels", "channel_max", "frame_max", "timeout", "port")},
            **{f"*.{name}": int for name in ("recv_oct", "send_oct", "recv_cnt", "send_cnt", "send_pend")},
            "*.ssl": bool,
            "*.client_properties": dict,
        },
    ),
    (
        "rabbit-hole, channels",
        "channels",
        {
            **{f"*.{name}": TEXT for name in ("name", "node", "user", "vhost", "connection_details.name")},
            **{f"*.{name}": int for name in ("number", "prefetch_count", "consumer_count", "messages_unconfirmed")},
            **{f"*.{name}": bool for name in ("transactional", "confirm")},
        },
    ),
    ("rabbit-hole, aliveness", "aliveness-test/%2F", {"status": TEXT}),
    ("rabbit-hole, health", "health/checks/alarms", {"status": TEXT}),
    ("rabbit-hole, the cluster's name", "cluster-name", {"name": TEXT}),
]


@pytest.mark.parametrize(("path", "fields"), [each[1:] for each in REQUESTS], ids=[each[0] for each in REQUESTS])
def test_each_client_finds_what_it_reads(api: Api, path: str, fields: Fields) -> None:
    found = api.get(path)
    assert found, "an empty answer shows nothing"
    require(found, fields)


def test_the_figures_are_those_of_the_queue(api: Api) -> None:
    """KEDA scales by them, Flower shows them."""
    found = api.get("queues/%2F/{q}")
    listed = next(each for each in api.get("queues/%2F") if each["name"] == api.queue)
    for queue in (found, listed):
        names = ("messages", "messages_ready", "messages_unacknowledged", "consumers")
        assert [queue[name] for name in names] == [15, 10, 5, 1]
    assert (found["message_stats"]["publish"], found["message_stats"]["deliver_get"]) == (20, 10)
    page = api.get("queues/%2F?page=1&use_regex=true&pagination=false&name=%5E{q}%24&page_size=100")
    assert (page["page_count"], [each["messages"] for each in page["items"]]) == (1, [15])
    assert api.ask("GET", "queues/%2F/no.such.queue")[0] == 404


def test_nservicebus_lifts_the_limit_of_deliveries_by_a_policy(api: Api) -> None:
    version = [int(part) for part in api.get("overview")["rabbitmq_version"].split(".")[:2]]
    assert version >= [3, 10]
    states = {each["name"]: each["state"] for each in api.get("feature-flags")}
    assert (states["quorum_queue"], states["stream_queue"]) == ("enabled", "enabled")
    name = f"nsb.{api.queue}.delivery-limit"
    policy = {
        "pattern": f"^{api.queue}$",
        "definition": {"delivery-limit": -1},
        "priority": 100,
        "apply-to": "quorum_queues",
        "name": name,
        "vhost": "/",
    }
    assert api.ask("PUT", f"policies/%2F/{name}", policy)[0] == 201
    try:
        assert policy in api.get("policies/%2F")
        queue = api.get("queues/%2F/{q}")
        assert (queue["policy"], queue["effective_policy_definition"]) == (name, {"delivery-limit": -1})
    finally:
        assert api.ask("DELETE", f"policies/%2F/{name}")[0] == 204


V = "tf.{q}"
RESOURCES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    (
        f"vhosts/{V}",
        {"description": "made by a plan", "tags": "a,b"},
        {"description": "made by a plan", "tags": ["a", "b"]},
    ),
    (f"users/{V}", {"password": "s3cret", "tags": "monitoring,policymaker"}, {"tags": ["monitoring", "policymaker"]}),
    (f"permissions/{V}/{V}", {"configure": "^c", "write": "^w", "read": ".*"}, {}),
    (f"topic-permissions/{V}/{V}", {"exchange": "amq.topic", "write": "^w", "read": "^r"}, {}),
    (
        f"exchanges/{V}/e",
        {"type": "topic", "durable": True, "auto_delete": False, "arguments": {"alternate-exchange": "amq.fanout"}},
        {},
    ),
    (
        f"queues/{V}/q",
        {
            "durable": True,
            "auto_delete": False,
            "arguments": {"x-message-ttl": 5000, "x-max-length": 10, "mark": "5", "part": 0.5},
        },
        {},
    ),
    (
        f"policies/{V}/p",
        {
            "pattern": "^q",
            "definition": {"max-length": 7, "overflow": "reject-publish"},
            "priority": 3,
            "apply-to": "queues",
        },
        {},
    ),
    (
        f"operator-policies/{V}/o",
        {"pattern": "^q", "definition": {"max-length": 9}, "priority": 0, "apply-to": "queues"},
        {},
    ),
]
"""Path, what is put, and what of that is told otherwise."""


def test_terraform_finds_what_it_has_put_exactly_and_404_when_it_is_gone(api: Api) -> None:
    for path, body, told in RESOURCES:
        assert api.ask("PUT", path, body)[0] in (201, 204), path
        expected = {name: value for name, value in body.items() if name != "password"} | told
        for _ in range(2):  # a plan that was applied changes nothing
            found = api.get(path)
            found = found[0] if isinstance(found, list) else found
            assert {name: found[name] for name in expected} == expected, path
            assert repr({name: found[name] for name in expected}) == repr(expected), "whole numbers stay whole"
            assert api.ask("PUT", path, body)[0] == 204 or path.startswith("users"), path
    between = f"bindings/{V}/e/e/q/q"
    assert api.ask("POST", between, {"routing_key": "a.#", "arguments": {"n": 5, "t": "x"}})[0] == 201
    (binding,) = api.get(between)
    assert (binding["routing_key"], binding["arguments"]) == ("a.#", {"n": 5, "t": "x"})
    key = quote(binding["properties_key"], safe="")
    assert api.get(f"{between}/{key}")["properties_key"] == binding["properties_key"]
    assert api.ask("DELETE", f"{between}/{key}")[0] == 204
    assert api.get(between) == []
    assert api.ask("PUT", f"vhost-limits/{V}/max-queues", {"value": 5})[0] == 204
    assert api.get(f"vhost-limits/{V}") == [{"vhost": V.format(q=api.queue), "value": {"max-queues": 5}}]
    for component in ("shovel", "federation-upstream"):
        assert api.ask("PUT", f"parameters/{component}/{V}/x", {"value": {}})[0] == 400
    for path, _, _ in reversed(RESOURCES):
        assert api.ask("DELETE", path)[0] == 204, path
        assert api.ask("GET", path)[0] == 404, path
