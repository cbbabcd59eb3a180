"""Users, permissions, policies, limits and virtual hosts over HTTP, with RabbitMQ's answers."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import pytest

from tests.support.http_api import HttpNode, basic

ALL = {"configure": ".*", "write": ".*", "read": ".*"}


@pytest.fixture
def node() -> HttpNode:
    return HttpNode()


def bad(reason: Any) -> tuple[int, str, Any]:
    return 400, "bad_request", reason


# Virtual hosts


def test_a_virtual_host_is_made_changed_and_deleted(node: HttpNode) -> None:
    assert node.status("PUT", "/vhosts/v1", b"") == 201
    assert node.status("PUT", "/vhosts/v1", {"description": "d", "tags": "a,b", "default_queue_type": "quorum"}) == 204
    row = node.get("/vhosts/v1")
    assert (row["description"], row["tags"], row["default_queue_type"]) == ("d", ["a", "b"], "quorum")
    assert row["metadata"] == {"description": "d", "tags": ["a", "b"], "default_queue_type": "quorum"}
    assert row["cluster_state"] == {"NODE:1": "running"}
    assert node.status("POST", "/vhosts/v1/start/NODE:1") == 204
    assert node.status("POST", "/vhosts/v1/start/nope") == 404
    assert node.status("DELETE", "/vhosts/v1") == 204
    assert node.status("DELETE", "/vhosts/v1") == 404
    assert node.refusal("PUT", "/vhosts/v1", {"tracing": True}) == bad("tracing is not served by this broker")


def test_a_protected_virtual_host_is_not_deleted_until_that_is_lifted(node: HttpNode) -> None:
    """As RabbitMQ 4 answers: 412, and the protection among the metadata."""
    node.status("PUT", "/vhosts/v1", {"description": "d"})
    assert node.get("/vhosts/v1")["protected_from_deletion"] is False
    assert node.status("POST", "/vhosts/v1/deletion/protection") == 204
    assert node.get("/vhosts/v1")["metadata"]["protected_from_deletion"] is True
    assert node.refusal("DELETE", "/vhosts/v1") == (
        412,
        "precondition_failed",
        "Refusing to delete virtual host 'v1' because it is protected from deletion",
    )
    (exported,) = [each for each in node.get("/definitions")["vhosts"] if each["name"] == "v1"]
    assert exported["protected_from_deletion"] is True
    assert node.status("PUT", "/vhosts/v1", {"description": "e"}) == 204
    assert node.status("DELETE", "/vhosts/v1") == 412
    assert node.status("DELETE", "/vhosts/v1/deletion/protection") == 204
    assert node.status("DELETE", "/vhosts/v1") == 204
    assert node.status("POST", "/vhosts/v1/deletion/protection") == 404
    assert node.status("POST", "/definitions", {"vhosts": [exported]}) == 204
    assert node.status("DELETE", "/vhosts/v1") == 412


def test_a_list_of_virtual_hosts_without_figures_has_what_is_set(node: HttpNode) -> None:
    (row, *_) = node.get("/vhosts?disable_stats=true&columns=name,messages")
    assert row == {"name": "/"}


def test_limits_of_a_virtual_host_are_set_listed_and_cleared(node: HttpNode) -> None:
    assert node.get("/vhost-limits") == []
    assert node.status("PUT", "/vhost-limits/%2F/max-queues", {"value": 50}) == 204
    assert node.get("/vhost-limits") == [{"vhost": "/", "value": {"max-queues": 50}}]
    assert node.get("/vhost-limits/%2F") == [{"vhost": "/", "value": {"max-queues": 50}}]
    assert node.get("/parameters/vhost-limits") == [
        {"vhost": "/", "component": "vhost-limits", "name": "limits", "value": {"max-queues": 50}}
    ]
    assert node.status("PUT", "/vhost-limits/%2F/nope", {"value": 5}) == 400
    assert node.refusal("PUT", "/vhost-limits/%2F/max-queues", {}) == bad("[{key_missing,value}]")
    assert node.status("DELETE", "/vhost-limits/%2F/max-queues") == 204
    assert node.get("/vhost-limits") == []


# Users


def test_a_user_is_made_with_a_password_and_logs_in(node: HttpNode) -> None:
    assert node.status("PUT", "/users/zz", {"password": "p", "tags": "management,x"}) == 201
    headers = {"authorization": basic("zz", "p")}
    assert node.get("/whoami", user=None, headers=headers) == {"name": "zz", "tags": ["management", "x"]}
    assert node.status("PUT", "/users/zz", {"tags": ["monitoring"]}) == 204
    assert node.status("GET", "/whoami", user=None, headers=headers) == 401, "without a password there is none"
    row = node.get("/users/zz")
    assert (row["name"], row["password_hash"], row["tags"], row["limits"]) == ("zz", "", ["monitoring"], {})
    assert node.status("DELETE", "/users/zz") == 204
    assert node.status("DELETE", "/users/zz") == 404


def test_a_user_is_made_with_a_hash_of_rabbitmqs(node: HttpNode) -> None:
    digest = base64.b64encode(b"salt" + hashlib.sha256(b"saltpw").digest()).decode()
    given = {"password_hash": digest, "hashing_algorithm": "rabbit_password_hashing_sha256", "tags": "monitoring"}
    assert node.status("PUT", "/users/zz", given) == 201
    assert node.status("GET", "/whoami", user=None, headers={"authorization": basic("zz", "pw")}) == 200
    row = node.get("/users/zz")
    assert (row["password_hash"], row["hashing_algorithm"]) == (digest, "rabbit_password_hashing_sha256")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"password": "p"}, bad("tags_not_present")),
        ({"password_hash": "notb64!", "tags": ""}, bad(["not_base64", "notb64!"])),
        ({"password": "p", "tags": 5}, bad("the 'tags' are a list of texts, or one text with commas")),
        ({"password": "p", "tags": "", "limits": {"nope": 1}}, None),
        ({"password_hash": "AAAA", "tags": "", "hashing_algorithm": "nope"}, None),
    ],
)
def test_what_is_no_user_is_refused(node: HttpNode, body: Any, expected: Any) -> None:
    answer = node.refusal("PUT", "/users/zz", body)
    assert answer == expected if expected is not None else answer[0] == 400
    assert node.status("GET", "/users/zz") == 404


def test_several_users_are_deleted_at_once_or_none(node: HttpNode) -> None:
    for name in ("u1", "u2"):
        node.status("PUT", f"/users/{name}", {"password": "p", "tags": ""})
    assert [row["name"] for row in node.get("/users/without-permissions")] == ["u1", "u2", "watcher"]
    assert node.refusal("POST", "/users/bulk-delete", {"users": ["u1", "nov"]}) == bad(["no_such_user", "nov"])
    assert node.status("GET", "/users/u1") == 200
    assert node.status("POST", "/users/bulk-delete", {"users": ["u1", "u2"]}) == 204
    assert node.status("GET", "/users/u1") == node.status("GET", "/users/u2") == 404


def test_limits_of_a_user_are_set_listed_and_cleared(node: HttpNode) -> None:
    assert node.status("PUT", "/user-limits/user/max-channels", {"value": "5"}) == 204
    assert node.get("/user-limits") == [{"user": "user", "value": {"max-channels": 5}}]
    assert node.get("/user-limits/user", user="user") == [{"user": "user", "value": {"max-channels": 5}}]
    assert node.status("GET", "/user-limits/guest", user="user") == 401
    assert node.status("PUT", "/user-limits/user/nope", {"value": 5}) == 400
    assert node.status("DELETE", "/user-limits/user/max-channels") == 204
    assert node.get("/user-limits/user") == []
    assert node.status("GET", "/user-limits/nov") == 404


# Permissions


def test_permissions_are_set_shown_and_cleared(node: HttpNode) -> None:
    assert node.status("PUT", "/permissions/%2F/watcher", ALL) == 201
    assert node.status("PUT", "/permissions/%2F/watcher", ALL) == 204
    expected = {"user": "watcher", "vhost": "/", **ALL}
    assert node.get("/permissions/%2F/watcher") == expected
    assert node.get("/users/watcher/permissions") == [expected]
    assert expected in node.get("/vhosts/%2F/permissions")
    assert expected in node.get("/permissions")
    assert node.status("DELETE", "/permissions/%2F/watcher") == 204
    assert node.status("DELETE", "/permissions/%2F/watcher") == 404
    assert node.status("GET", "/permissions/%2F/watcher") == 404


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("%2F/user", {"configure": ".*", "write": ".*"}, bad("[{key_missing,read}]")),
        ("nov/user", ALL, bad("vhost_or_user_not_found")),
        ("%2F/nov", ALL, bad("vhost_or_user_not_found")),
        ("%2F/user", {**ALL, "read": "("}, None),
        ("%2F/user", {**ALL, "read": "a" * 1001}, None),
    ],
)
def test_what_are_no_permissions_is_refused(node: HttpNode, path: str, body: Any, expected: Any) -> None:
    answer = node.refusal("PUT", f"/permissions/{path}", body)
    assert answer == expected if expected is not None else answer[0] == 400


def test_topic_permissions_are_set_shown_and_cleared(node: HttpNode) -> None:
    given = {"exchange": "amq.topic", "write": "^a", "read": ".*"}
    assert node.status("PUT", "/topic-permissions/%2F/user", given) == 201
    expected = {"user": "user", "vhost": "/", **given}
    for path in ("/topic-permissions", "/topic-permissions/%2F/user", "/users/user/topic-permissions"):
        assert node.get(path) == [expected]
    assert node.get("/vhosts/%2F/topic-permissions") == [expected]
    assert node.status("DELETE", "/topic-permissions/%2F/user/amq.topic") == 204
    assert node.status("DELETE", "/topic-permissions/%2F/user") == 404


# Policies and parameters


@pytest.mark.parametrize("path", ["/policies", "/operator-policies"])
def test_a_policy_is_set_shown_and_deleted(node: HttpNode, path: str) -> None:
    given = {"pattern": "^a", "definition": {"max-length": 5}, "priority": 1, "apply-to": "queues"}
    assert node.status("PUT", f"{path}/%2F/p", given) == 201
    assert node.status("PUT", f"{path}/%2F/p", {**given, "priority": "2"}) == 204
    expected = {"vhost": "/", "name": "p", **given, "priority": 2}
    assert node.get(f"{path}/%2F/p") == expected
    assert node.get(path) == node.get(f"{path}/%2F") == [expected]
    assert node.status("DELETE", f"{path}/%2F/p") == 204
    assert node.status("DELETE", f"{path}/%2F/p") == 404


@pytest.mark.parametrize(
    "body",
    [
        {"definition": {"max-length": 5}},
        {"pattern": "^a"},
        {"pattern": "(", "definition": {"max-length": 5}},
        {"pattern": "^a", "definition": {"max-length": "x"}},
        {"pattern": "^a", "definition": {"max-length": 5}, "apply-to": "nope"},
        {"pattern": "^a", "definition": {"max-length": 5}, "priority": "x"},
        {"pattern": "^a", "definition": []},
    ],
)
def test_what_is_no_policy_is_refused(node: HttpNode, body: Any) -> None:
    assert node.status("PUT", "/policies/%2F/p", body) == 400
    assert node.get("/policies") == []


def test_who_sets_policies_needs_the_tag_and_permissions(node: HttpNode) -> None:
    given = {"pattern": "^a", "definition": {"max-length": 5}}
    assert node.status("PUT", "/policies/%2F/p", given, user="maker") == 201
    assert node.status("PUT", "/policies/carbon/p", given, user="maker") == 401
    assert node.status("PUT", "/operator-policies/%2F/p", given, user="maker") == 401
    assert [row["name"] for row in node.get("/policies", user="maker")] == ["p"]
    assert node.get("/policies", user="user") == []


def test_a_policy_is_told_with_the_queue_that_it_concerns(node: HttpNode) -> None:
    node.status("PUT", "/queues/%2F/a", {})
    node.status("PUT", "/policies/%2F/p", {"pattern": "^a", "definition": {"max-length": 5}})
    row = node.get("/queues/%2F/a")
    assert (row["policy"], row["effective_policy_definition"]) == ("p", {"max-length": 5})


def test_parameters_of_plug_ins_are_refused_and_not_taken_without_effect(node: HttpNode) -> None:
    status, error, reason = node.refusal("PUT", "/parameters/shovel/%2F/x", {"value": {"src-uri": "amqp://"}})
    assert (status, error) == (400, "bad_request")
    assert "component shovel not found" in reason
    assert "not supported" in reason
    assert node.get("/parameters") == node.get("/parameters/shovel") == node.get("/shovels") == []


def test_an_operator_policy_is_a_parameter_too(node: HttpNode) -> None:
    value = {"pattern": "^a", "definition": {"max-length": 5}}
    path = "/parameters/operator_policy/%2F/p"
    assert node.status("PUT", path, {"value": value}) == 201
    assert node.get("/operator-policies/%2F/p")["pattern"] == "^a"
    assert node.get(path)["component"] == "operator_policy"
    assert node.status("DELETE", path) == 204
    assert node.status("GET", path) == 404


def test_parameters_of_the_cluster_are_kept_as_they_are(node: HttpNode) -> None:
    assert node.status("PUT", "/global-parameters/foo", {"value": {"a": 1}}) == 201
    assert node.status("PUT", "/global-parameters/foo", {"value": {"a": 1}}) == 204
    assert node.refusal("PUT", "/global-parameters/foo", {}) == bad("[{key_missing,value}]")
    assert node.get("/global-parameters/foo") == {"name": "foo", "value": {"a": 1}}
    assert node.status("DELETE", "/global-parameters/foo") == 204
    assert node.status("GET", "/global-parameters/foo") == 404


def test_the_cluster_has_a_name(node: HttpNode) -> None:
    assert node.get("/cluster-name") == {"name": "NODE:1"}
    assert node.status("PUT", "/cluster-name", {"name": "east"}) == 204
    assert node.get("/cluster-name") == {"name": "east"}
    assert node.get("/overview")["cluster_name"] == "east"
    assert node.status("PUT", "/cluster-name", {"name": "x"}, user="watcher") == 401


def test_who_has_changed_something_is_in_the_log(node: HttpNode, caplog: pytest.LogCaptureFixture) -> None:
    import structlog

    with structlog.testing.capture_logs() as lines:
        node.status("PUT", "/users/zz", {"password": "secret-canary", "tags": "management"})
    (line,) = [line for line in lines if line.get("audit") == "user.created"]
    assert line["user"] == "zz"
    assert "secret-canary" not in str(lines)
