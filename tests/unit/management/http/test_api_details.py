"""Refusals keep RabbitMQ's words, and say in our own what they do not."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.http_api import HttpNode

DELAYED = "'amq.delayed' is no queue of clients: what waits in it is at /api/broker/delayed"


@pytest.fixture
def node() -> HttpNode:
    node = HttpNode()
    assert node.status("PUT", "/queues/%2F/orders", {"durable": True}) == 201
    return node


@pytest.mark.parametrize(
    ("method", "path", "body", "detail"),
    [
        ("POST", "/bindings/%2F/e/evnts/q/orders", {}, "there is no exchange 'evnts' in vhost '/'"),
        ("POST", "/bindings/%2F/e/amq.topic/q/odrers", {}, "there is no queue 'odrers' in vhost '/'"),
        ("GET", "/bindings/%2F/e/amq.topic/q/odrers", None, "there is no queue 'odrers' in vhost '/'"),
        ("GET", "/bindings/%2F/e/evnts/q/orders", None, "there is no exchange 'evnts' in vhost '/'"),
        ("DELETE", "/queues/%2F/nosuch", None, "there is no queue 'nosuch' in vhost '/'"),
        ("POST", "/exchanges/nosuch/amq.default/publish", {}, "there is no virtual host 'nosuch'"),
        ("PUT", "/queues/nosuch/q", {}, "there is no virtual host 'nosuch'"),
        ("GET", "/broker/messages/%2F/amq.delayed", None, DELAYED),
        ("GET", "/policies/%2F/nosuch", None, "there is no policy 'nosuch' in vhost '/'"),
        (
            "GET",
            "/broker/redrives/%2F/77",
            None,
            "this node remembers no operation 77: ask the node that has begun it, this is NODE:1",
        ),
        (
            "GET",
            "/broker/dead-letters/carbon/jobs/77",
            None,
            "node NODE:1 remembers no job 77: ask the node that has begun it",
        ),
        ("GET", "/users/nosuch", None, "there is no user 'nosuch'"),
    ],
)
def test_what_is_not_there_is_named(method: str, path: str, body: Any, detail: str, node: HttpNode) -> None:
    assert node.status(method, path, body) == 404
    assert node.detail(method, path, body) == detail


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "/queues/%2F/theirs", {}),
        ("POST", "/broker/queues/%2F/orders/alter", {"arguments": {"x-max-length": 5}}),
        ("POST", "/broker/queues/%2F/orders/redrive", {}),
    ],
)
def test_a_permission_that_is_missing_is_named(method: str, path: str, body: Any, node: HttpNode) -> None:
    assert node.refusal(method, path, body, user="user") == (401, "not_authorised", "Access refused.")
    assert "refused for user 'user'" in node.detail(method, path, body, user="user")


def test_a_name_that_is_missing_is_told_apart_from_a_fault(node: HttpNode) -> None:
    status, _, reason = node.refusal("PUT", "/queues/%2F/", {})
    assert (status, reason) == (405, "this path takes HEAD, GET, OPTIONS, not PUT")
