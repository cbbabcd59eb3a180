"""What is made, changed and deleted over HTTP, with the answers that RabbitMQ 3.10 gave to the same requests."""

from __future__ import annotations

import json
from typing import Any

import pytest

from broker.codec.methods import QueueDeclare
from tests.support.http_api import HttpNode

KEY_MISSING = "[{{key_missing,{}}}]"


@pytest.fixture
def node() -> HttpNode:
    return HttpNode()


def bad(reason: Any) -> tuple[int, str, Any]:
    return 400, "bad_request", reason


# Queues, exchanges, bindings


def test_a_queue_is_made_once_and_is_the_same_afterwards(node: HttpNode) -> None:
    given = {"durable": "true", "auto_delete": False, "arguments": {"x-message-ttl": 1000}}
    assert node.status("PUT", "/queues/%2F/q1", given) == 201
    assert node.status("PUT", "/queues/%2F/q1", given) == 204
    row = node.get("/queues/%2F/q1")
    assert (row["durable"], row["auto_delete"], row["arguments"]) == (True, False, {"x-message-ttl": 1000})
    assert node.refusal("PUT", "/queues/%2F/q1", {**given, "durable": False}) == bad(
        "inequivalent arg 'durable' for queue 'q1' in vhost '/': received 'false' but current is 'true'"
    )
    assert node.status("DELETE", "/queues/%2F/q1") == 204
    assert node.refusal("DELETE", "/queues/%2F/q1") == (404, "Object Not Found", "Not Found")


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("/queues/%2F/q", {"durable": "maybe"}, bad(["not_boolean", "maybe"])),
        ("/queues/%2F/q", {"arguments": "nope"}, bad("'arguments' is a JSON object")),
        ("/queues/%2F/q", b"[]", bad("not_json")),
        ("/queues/%2F/q", b"{", bad("not_json")),
        ("/queues/%2F/amq.foo", {}, (401, "not_authorised", "Access refused.")),
        ("/queues/%2F/q", {"node": "nope@x"}, bad("Node nope@x could not be contacted")),
        ("/queues/nov/q", {}, (404, "not_found", "vhost_not_found")),
        ("/exchanges/%2F/x", {"internal": "nope"}, bad(["not_boolean", "nope"])),
        ("/exchanges/%2F/x", {"type": "nope"}, bad("unknown exchange type 'nope'")),
        ("/exchanges/%2F/amq.foo", {"type": "direct"}, (401, "not_authorised", "Access refused.")),
        ("/exchanges/%2F/amq.default", {"type": "direct"}, (401, "not_authorised", "Access refused.")),
        ("/exchanges/nov/x", {"type": "direct"}, (404, "not_found", "vhost_not_found")),
        (f"/queues/%2F/{'q' * 256}", {}, None),
    ],
)
def test_what_cannot_be_declared_is_refused_in_rabbitmqs_words(
    node: HttpNode, path: str, body: Any, expected: tuple[int, str, Any] | None
) -> None:
    answer = node.refusal("PUT", path, body)
    assert answer == expected if expected is not None else answer[0] == 400
    assert len(node.get("/queues")) == 0


def test_without_a_body_a_queue_is_transient_as_with_rabbitmq(node: HttpNode) -> None:
    assert node.status("PUT", "/queues/%2F/q", b"") == 201
    assert node.get("/queues/%2F/q")["durable"] is False


@pytest.mark.parametrize("arguments", [{"x-expires": 60000, "a": "b", "c": [1, {"d": True}]}, {"x-max-length": 5}])
def test_arguments_come_back_exactly_as_they_were_put(node: HttpNode, arguments: dict[str, Any]) -> None:
    """Terraform's plans never end otherwise."""
    node.status("PUT", "/queues/%2F/q", {"durable": True, "arguments": arguments})
    assert node.get("/queues/%2F/q")["arguments"] == arguments


@pytest.mark.parametrize("name", ["a/b", "50%", "a#b", "two words", "grün", "..", "a+b", "~", "<script>"])
def test_any_name_can_be_used_in_a_path(node: HttpNode, name: str) -> None:
    from urllib.parse import quote

    path = f"/queues/%2F/{quote(name, safe='')}"
    assert node.status("PUT", path, {}) == 201
    assert node.get(path)["name"] == name
    assert node.status("POST", f"/bindings/%2F/e/amq.topic/q/{quote(name, safe='')}", {"routing_key": "k"}) == 201
    assert node.status("DELETE", path) == 204


def test_an_exchange_is_made_changed_not_and_deleted(node: HttpNode) -> None:
    assert node.status("PUT", "/exchanges/%2F/x1", {"type": "direct"}) == 201
    assert node.status("PUT", "/exchanges/%2F/x1", {"type": "direct"}) == 204
    assert node.refusal("PUT", "/exchanges/%2F/x1", {"type": "fanout"}) == bad(
        "inequivalent arg 'type' for exchange 'x1' in vhost '/': received 'fanout' but current is 'direct'"
    )
    node.status("PUT", "/queues/%2F/q", {})
    node.status("POST", "/bindings/%2F/e/x1/q/q", {"routing_key": "k"})
    assert node.refusal("DELETE", "/exchanges/%2F/x1?if-unused=true") == bad("exchange 'x1' in vhost '/' in use")
    assert node.status("DELETE", "/exchanges/%2F/x1") == 204
    assert node.status("DELETE", "/exchanges/%2F/x1") == 404
    for name in ("amq.direct", "amq.default"):
        assert node.refusal("DELETE", f"/exchanges/%2F/{name}") == (401, "not_authorised", "Access refused.")


def test_a_queue_in_use_or_not_empty_is_kept_if_that_is_asked_for(node: HttpNode) -> None:
    node.status("PUT", "/queues/%2F/q", {})
    node.harness.peer().publish("q", b"1")
    assert node.refusal("DELETE", "/queues/%2F/q?if-empty=true") == bad("queue 'q' in vhost '/' not empty")
    assert node.status("DELETE", "/queues/%2F/q/contents") == 204
    assert node.status("DELETE", "/queues/%2F/q?if-empty=true&if-unused=true") == 204
    assert node.status("DELETE", "/queues/%2F/q/contents") == 404


def test_bindings_have_keys_by_which_they_are_found_and_deleted(node: HttpNode) -> None:
    node.status("PUT", "/exchanges/%2F/x1", {"type": "topic"})
    node.status("PUT", "/queues/%2F/a", {})
    base = "/bindings/%2F/e/x1/q/a"
    answers = [
        node.ask("POST", f"/api{base}", body)
        for body in ({"routing_key": "rk.a b/~"}, b"", {"routing_key": "k", "arguments": {"x": 1}})
    ]
    assert [answer.status for answer in answers] == [201, 201, 201]
    assert [answer.headers["Location"] for answer in answers[:2]] == ["a/rk.a%2Bb%252F%257E", "a/~"]
    rows = {row["routing_key"]: row for row in node.get(base)}
    assert {key: row["properties_key"] for key, row in rows.items()} | {"k": ""} == {
        "rk.a b/~": "rk.a+b%2F%7E",
        "": "~",
        "k": "",
    }
    assert rows["k"]["arguments"] == {"x": 1}
    for path in ("rk.a+b%252F%257E", "rk.a%20b%2F%7E", "~", answers[2].headers["Location"].partition("/")[2]):
        assert node.status("GET", f"{base}/{path}") == 200, path
    assert node.status("DELETE", f"{base}/nope") == 404
    for row in rows.values():
        from urllib.parse import quote

        assert node.status("DELETE", f"{base}/{quote(row['properties_key'], safe='')}") == 204
    assert node.get(base) == []
    assert node.status("PUT", f"{base}/x", {}) == 405


def test_what_cannot_be_bound_is_refused(node: HttpNode) -> None:
    node.status("PUT", "/queues/%2F/a", {})
    assert node.refusal("POST", "/bindings/%2F/e/amq.topic/q/nope", {}) == (
        404,
        "not_found",
        "no queue 'nope' in vhost '/'",
    )
    assert node.refusal("POST", "/bindings/%2F/e/nope/q/a", {}) == (404, "not_found", "no exchange 'nope' in vhost '/'")
    assert node.refusal("POST", "/bindings/%2F/e/amq.default/q/a", {}) == (401, "not_authorised", "Access refused.")
    assert node.status("POST", "/bindings/%2F/e/amq.topic/e/amq.fanout", {"routing_key": "k"}) == 201


# Messages


def publish(node: HttpNode, payload: str = "hello", **more: Any) -> Any:
    body = {"properties": {}, "routing_key": "q", "payload": payload, "payload_encoding": "string", **more}
    return json.loads(node.ask("POST", "/api/exchanges/%2F/amq.default/publish", body).body)


def get(node: HttpNode, mode: str = "ack_requeue_false", **more: Any) -> Any:
    body = {"count": 10, "ackmode": mode, "encoding": "auto", **more}
    return json.loads(node.ask("POST", "/api/queues/%2F/q/get", body).body)


PROPERTIES = {
    "delivery_mode": 2,
    "headers": {"a": 1, "b": "x", "c": True, "d": [1, 2], "e": {"f": 1.5}},
    "content_type": "text/plain",
    "priority": 3,
    "timestamp": 12,
    "message_id": "m",
    "expiration": "100000",
    "correlation_id": "c",
    "reply_to": "r",
    "type": "t",
    "app_id": "a",
}


def test_a_message_is_published_and_got_as_it_was(node: HttpNode) -> None:
    node.status("PUT", "/queues/%2F/q", {})
    assert publish(node) == {"routed": True}
    assert publish(node, "aGVsbG8=", payload_encoding="base64", properties=PROPERTIES) == {"routed": True}
    assert publish(node, routing_key="nope") == {"routed": False}
    first, second = get(node, "ack_requeue_true")
    assert first == {
        "payload_bytes": 5,
        "redelivered": False,
        "exchange": "",
        "routing_key": "q",
        "message_count": 1,
        "properties": [],
        "payload": "hello",
        "payload_encoding": "string",
    }
    assert (second["properties"], second["payload"]) == (PROPERTIES, "hello")
    assert [each["redelivered"] for each in get(node)] == [True, True]
    assert get(node) == []


@pytest.mark.parametrize(
    ("mode", "stay"),
    [("ack_requeue_true", 1), ("reject_requeue_true", 1), ("ack_requeue_false", 0), ("reject_requeue_false", 0)],
)
def test_what_is_got_stays_or_goes_as_the_mode_says(node: HttpNode, mode: str, stay: int) -> None:
    arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dlq"}
    node.status("PUT", "/queues/%2F/q", {"arguments": arguments})
    node.status("PUT", "/queues/%2F/dlq", {})
    publish(node)
    assert len(get(node, mode)) == 1
    assert node.get("/queues/%2F/q")["messages"] == stay
    assert node.get("/queues/%2F/dlq")["messages"] == (mode == "reject_requeue_false")


def test_a_persistent_message_is_answered_for_when_it_is_stored(node: HttpNode) -> None:
    node.status("PUT", "/queues/%2F/q", {"durable": True})
    body = {
        "properties": {"delivery_mode": 2},
        "routing_key": "q",
        "payload": "x",
        "payload_encoding": "string",
    }
    from tests.support.http_api import basic, new_call

    answers: list[int] = []

    async def ask() -> None:
        octets = json.dumps(body).encode()
        headers = {"authorization": basic("guest", "guest")}
        call = new_call("POST", "/api/exchanges/%2F/amq.default/publish", octets, headers)
        answers.append((await node.api.handle(call)).status)

    node.harness.stage.spawn(ask())
    node.harness.run()
    assert answers == []
    node.harness.commit()
    assert answers == [200]


def test_octets_that_are_no_text_come_in_base64_and_long_ones_are_cut(node: HttpNode) -> None:
    node.status("PUT", "/queues/%2F/q", {})
    publish(node, "/////w==", payload_encoding="base64")
    (row,) = get(node, "ack_requeue_true")
    assert (row["payload"], row["payload_encoding"]) == ("/////w==", "base64")
    (row,) = get(node, truncate=2)
    assert (row["payload"], row["payload_bytes"]) == ("//8=", 4)


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"payload_encoding": None}, ["unsupported_encoding", None]),
        ({"payload_encoding": "foo"}, ["unsupported_encoding", "foo"]),
        ({"payload": "!!!", "payload_encoding": "base64"}, ["not_base64", "!!!"]),
        ({"properties": {"priority": "x"}}, ["not_int", "priority"]),
        ({"properties": {"priority": 300}}, None),
        ({"properties": {"content_type": "x" * 300}}, None),
        (
            {"properties": {"user_id": "other"}},
            "406 PRECONDITION_FAILED - user_id property set to 'other' but authenticated user was 'guest'",
        ),
        ({"payload": 5}, "payload_not_string"),
        ({"properties": "x"}, "'properties' is a JSON object"),
    ],
)
def test_what_cannot_be_published_is_refused(node: HttpNode, more: dict[str, Any], reason: Any) -> None:
    node.status("PUT", "/queues/%2F/q", {})
    body = {"properties": {}, "routing_key": "q", "payload": "hello", "payload_encoding": "string", **more}
    status, error, told = node.refusal("POST", "/exchanges/%2F/amq.default/publish", body)
    assert (status, error) == (400, "bad_request")
    assert told == reason if reason is not None else "content header" in told
    assert node.get("/queues/%2F/q")["messages"] == 0


def test_a_message_to_no_exchange_and_a_field_that_is_missing_are_refused_as_rabbitmq_does(node: HttpNode) -> None:
    body = {"properties": {}, "routing_key": "q", "payload": "hello", "payload_encoding": "string"}
    assert node.refusal("POST", "/exchanges/%2F/nope/publish", body) == bad(
        "404 NOT_FOUND - no exchange 'nope' in vhost '/'"
    )
    for name in ("routing_key", "payload", "payload_encoding"):
        less = {key: value for key, value in body.items() if key != name}
        assert node.refusal("POST", "/exchanges/%2F/amq.topic/publish", less) == bad(KEY_MISSING.format(name))


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"ackmode": "nope"}, bad(["unsupported_ackmode", "nope"])),
        ({"count": "x"}, bad(["not_integer", "x"])),
        ({"count": 0}, bad("'count' is from 1 to 1000")),
        ({"encoding": "foo"}, bad("Unsupported encoding. Please use auto or base64.")),
        ({"truncate": -1}, bad("'truncate' is a number of octets")),
    ],
)
def test_what_cannot_be_got_is_refused(node: HttpNode, more: dict[str, Any], expected: Any) -> None:
    node.status("PUT", "/queues/%2F/q", {})
    body = {"count": "1", "ackmode": "ack_requeue_true", "encoding": "auto", **more}
    assert node.refusal("POST", "/queues/%2F/q/get", body) == expected
    for name in ("count", "ackmode", "encoding"):
        less = {key: value for key, value in body.items() if key != name}
        assert node.refusal("POST", "/queues/%2F/q/get", less) == bad(KEY_MISSING.format(name))
    good = {"count": 1, "ackmode": "ack_requeue_true", "encoding": "auto"}
    assert node.refusal("POST", "/queues/%2F/nope/get", good) == (
        404,
        "not_found",
        "NOT_FOUND - no queue 'nope' in vhost '/'",
    )


@pytest.mark.parametrize(("requeue", "left"), [(True, 1), ("true", 1), (False, 0)])
def test_old_clients_say_whether_messages_come_back(node: HttpNode, requeue: object, left: int) -> None:
    node.status("PUT", "/queues/%2F/q", {})
    publish(node)
    body = {"count": 1, "requeue": requeue, "encoding": "auto"}
    [got] = json.loads(node.ask("POST", "/api/queues/%2F/q/get", body).body)
    assert got["payload"] == "hello"
    assert node.get("/queues/%2F/q")["messages"] == left
    assert node.status("POST", "/queues/%2F/q/get", {**body, "requeue": "perhaps"}) == 400


def test_an_alarm_refuses_a_publish_instead_of_letting_it_wait(node: HttpNode) -> None:
    node.around.reason = "low on memory"
    body = {"properties": {}, "routing_key": "q", "payload": "hello", "payload_encoding": "string"}
    assert node.refusal("POST", "/exchanges/%2F/amq.default/publish", body) == (
        503,
        "service_unavailable",
        "publishers are blocked: low on memory",
    )


def test_a_full_queue_that_rejects_is_told(node: HttpNode) -> None:
    arguments = {"x-max-length": 1, "x-overflow": "reject-publish"}
    node.status("PUT", "/queues/%2F/q", {"arguments": arguments})
    assert publish(node) == {"routed": True}
    assert publish(node) == {"error": "bad_request", "reason": "rejected"}


def test_the_check_of_aliveness_declares_publishes_and_gets(node: HttpNode) -> None:
    assert node.get("/aliveness-test/%2F") == {"status": "ok"}
    assert node.get("/queues/%2F/aliveness-test")["messages"] == 0
    assert node.status("GET", "/aliveness-test/nov") == 404


# What the user may do


def test_permissions_hold_for_everything_that_is_done(node: HttpNode) -> None:
    refused = (401, "not_authorised", "Access refused.")
    node.status("PUT", "/queues/%2F/other", {})
    assert node.status("PUT", "/queues/%2F/mine", {}, user="user") == 201
    assert node.refusal("PUT", "/queues/%2F/yours", {}, user="user") == refused
    assert node.refusal("DELETE", "/queues/%2F/other", user="user") == refused
    assert node.refusal("DELETE", "/queues/%2F/other/contents", user="user") == refused
    assert node.refusal("PUT", "/exchanges/%2F/yours", {}, user="user") == refused
    assert node.refusal("POST", "/bindings/%2F/e/amq.topic/q/mine", {}, user="user") == refused
    got = {"count": 1, "ackmode": "ack_requeue_true", "encoding": "auto"}
    assert node.refusal("POST", "/queues/%2F/other/get", got, user="user")[:2] == (401, "not_authorised")
    sent = {"properties": {}, "routing_key": "q", "payload": "hello", "payload_encoding": "string"}
    assert node.refusal("POST", "/exchanges/%2F/amq.topic/publish", sent, user="user")[0] == 400
    assert node.status("POST", "/exchanges/%2F/amq.default/publish", sent, user="user") == 200


def test_an_administrator_without_permissions_in_a_virtual_host_sees_it_and_touches_nothing(node: HttpNode) -> None:
    node.status("PUT", "/vhosts/v1", {})
    node.status("PUT", "/users/chief", {"password": "chief", "tags": "administrator"})
    assert node.get("/queues/v1", user="chief") == []
    assert node.refusal("PUT", "/queues/v1/q", {}, user="chief") == (401, "not_authorised", "Access refused.")


# Connections


def test_a_connection_is_closed_with_the_reason_of_the_header(node: HttpNode) -> None:
    client = node.harness.peer()
    (row,) = node.get("/connections")
    from urllib.parse import quote

    path = f"/api/connections/{quote(row['name'], safe='')}"
    assert node.ask("DELETE", path, user="user").status == 401
    assert node.ask("DELETE", path, headers={"x-reason": "go %s\x07 away"}).status == 204
    ((_, method),) = client.received()
    assert method.reply_text == "CONNECTION_FORCED - go %s away"  # type: ignore[attr-defined]
    assert node.status("DELETE", "/connections/nov") == 404


def test_the_connections_of_a_user_are_listed_and_closed(node: HttpNode) -> None:
    node.harness.peer()
    assert len(node.get("/connections/username/guest")) == 1
    assert node.get("/connections/username/nov") == []
    assert node.status("DELETE", "/connections/username/guest", user="user") == 401
    assert node.status("DELETE", "/connections/username/guest") == 204
    assert node.get("/connections") == []


def test_a_queue_that_a_client_declares_is_the_same_for_both(node: HttpNode) -> None:
    node.harness.peer().send(1, QueueDeclare(queue="q", durable=True))
    assert node.status("PUT", "/queues/%2F/q", {"durable": True}) == 204
