"""Names that are no text, and numbers that nothing can store, are refused by every route of the API in one line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from broker.codec import methods as amqp
from broker.codec.field_table import FieldTable
from broker.management.http.api import ROUTES
from broker.management.http.routing import ApiRoute
from tests.support.http_api import HttpNode, basic, new_call

THERE = {
    "vhost": "%2F",
    "queue": "q",
    "exchange": "amq.direct",
    "source": "amq.direct",
    "destination": "q",
    "user": "guest",
    "component": "operator_policy",
}
"""What is there under the names of some places in paths: handlers that find it go on to the body."""
GUEST = basic("guest", "guest")
HALF = "\ud800"
OBJECTS = ("arguments", "definition", "properties", "headers", "value", "metadata")
TEXTS = [
    "action",
    "auto_delete",
    "ackmode",
    "by",
    "component",
    "configure",
    "count",
    "default_queue_type",
    "delay",
    "deliver_at",
    "description",
    "destination",
    "durable",
    "encoding",
    "filter",
    "from",
    "ids",
    "internal",
    "limit",
    "message_id",
    "name",
    "node",
    "password",
    "password_hash",
    "pattern",
    "payload",
    "payload_encoding",
    "priority",
    "queue",
    "read",
    "routing_key",
    "state",
    "tags",
    "target",
    "to",
    "type",
    "user",
    "value",
    "vhost",
    "where",
    "write",
]


@pytest.fixture(scope="module")
def untouched() -> HttpNode:
    """A node that refuses all it is asked, so that all may ask the same one."""
    return new_node()


@pytest.fixture
def node() -> HttpNode:
    return new_node()


def new_node() -> HttpNode:
    node = HttpNode()
    peer = node.harness.peer()
    peer.call(1, amqp.QueueDeclare(queue="q", durable=True))
    peer.call(1, amqp.QueueDeclare(queue="s", durable=True, arguments=FieldTable.of({"x-queue-type": "stream"})))
    return node


def paths(route: ApiRoute) -> Iterator[str]:
    """Return the paths of a route in which one name is no text."""
    places = re.findall(r"\{(\w+)\}", route.path)
    for bad in places:
        for octets in ("%FF", "%ED%A0%80", "x%C3"):
            named = {name: THERE.get(name, "x") for name in places} | {bad: octets}
            yield "/api" + route.path.format_map(named)


@pytest.mark.parametrize(
    "route", [route for route in ROUTES if "{" in route.path], ids=lambda route: f"{route.method} {route.path}"
)
def test_a_name_in_a_path_that_is_no_utf_8_is_a_bad_request(untouched: HttpNode, route: ApiRoute) -> None:
    for path in paths(route):
        answer = untouched.ask(route.method, path, {})
        assert answer.status == 400, path
        assert json.loads(answer.body)["reason"].startswith("a name in the path is not UTF-8")


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_a_query_that_is_no_utf_8_is_a_bad_request(untouched: HttpNode, route: ApiRoute) -> None:
    path = "/api" + re.sub(r"\{(\w+)\}", lambda place: THERE.get(place[1], "x"), route.path)
    for query in ("message_id=%FF", "%ED%A0%80=1"):
        _, _, reason = untouched.refusal(route.method, f"{path[4:]}?{query}", {})
        assert reason.startswith("the query is not UTF-8")


def bodies() -> Iterator[tuple[str, Any]]:
    """Yield bodies with something that cannot be stored in one place, and otherwise what many routes ask for."""
    whole = dict.fromkeys(TEXTS, "x") | {"pattern": "", "definition": {"max-length": 1}, "arguments": {}}
    for names in (TEXTS, ["name"], ["pattern"], ["target"]):  # the body is looked through before anything is read of it
        yield "half of a surrogate pair", whole | dict.fromkeys(names, HALF)
    for name in OBJECTS:
        yield "half of a surrogate pair", whole | {name: {"dead-letter-exchange": HALF}}
        yield "half of a surrogate pair", whole | {name: {HALF: 1}}
    yield "half of a surrogate pair", whole | {"ids": ["1", HALF]}
    for number in (1 << 63, -(1 << 63) - 1, 1 << 64, 10**4000):
        yield "a whole number beyond", whole | {"from": number}


BODIES = [(reason, json.dumps(body).encode()) for reason, body in bodies()]
BODIES.append(("not_json: the body is not UTF-8", b'{"name": "\xff"}'))
BODIES.append(("not_json: the body is not UTF-8", b'{"name": "\xed\xa0\x80"}'))


@pytest.mark.parametrize(
    "route", [route for route in ROUTES if route.method != "GET"], ids=lambda route: f"{route.method} {route.path}"
)
def test_a_body_with_what_cannot_be_stored_is_a_bad_request(node: HttpNode, route: ApiRoute) -> None:
    named = {place: THERE.get(place, "x") for place in re.findall(r"\{(\w+)\}", route.path)}
    named |= {"queue": "s"} if "/streams/" in route.path else {}
    for reason, body in BODIES:
        has_read = False

        async def read_body(limit: int, body: bytes = body) -> bytes:
            nonlocal has_read
            has_read = True
            return body

        call = new_call(route.method, "/api" + route.path.format_map(named), b"", {"authorization": GUEST})
        call.read_body = read_body
        answer = node.run(node.api.handle(call))
        if has_read:
            assert answer.status == 400
            assert reason in json.loads(answer.body)["reason"]
        else:
            assert answer.status < 500
            break


def test_long_definitions_with_what_cannot_be_stored_are_a_bad_request(node: HttpNode) -> None:
    for each, reason in (("\\ud800", "half of a surrogate pair"), ("\\ud83d\\ude00", "")):
        body = b'{"users": [' + b" " * 300_000 + b'], "rabbit_version": "' + each.encode() + b'"}'
        answer = node.ask("POST", "/api/definitions?dry_run=true", body)
        assert answer.status == (400 if reason else 200)
        assert reason.encode() in answer.body


def test_a_whole_pair_and_the_largest_numbers_are_taken(node: HttpNode) -> None:
    value = {"a": "\U0001f600", "b": [(1 << 63) - 1, -(1 << 63)]}
    assert node.status("PUT", "/global-parameters/x", {"value": value}) == 201
    assert node.get("/global-parameters/x")["value"] == value


def test_octets_beyond_ascii_that_are_sent_as_they_are_are_a_bad_request(node: HttpNode) -> None:
    assert node.refusal("GET", "/queues/%2F/\udcff")[0] == 400
    assert node.status("GET", "/queues/%2F/é") == 404
