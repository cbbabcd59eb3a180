"""This broker's own resources refuse what they do not know; RabbitMQ's take it as RabbitMQ does."""

from __future__ import annotations

import json
import re

import pytest

from broker.management.http.api import ROUTES
from broker.management.http.routing import ApiRoute
from tests.support.http_api import HttpNode

OWN = [route for route in ROUTES if route.is_own]
CHANGES = [route for route in OWN if route.method != "GET"]


@pytest.fixture(scope="module")
def node() -> HttpNode:
    node = HttpNode()
    assert node.status("PUT", "/queues/%2F/q", {"durable": True}) == 201
    stream = {"durable": True, "arguments": {"x-queue-type": "stream"}}
    assert node.status("PUT", "/queues/%2F/stream", stream) == 201
    node.harness.peer().publish("q", b"1", b"2")
    return node


def named(route: ApiRoute) -> str:
    return f"{route.method} {route.path}"


def path_of(route: ApiRoute) -> str:
    vhost = "carbon" if "/dead-letters/" in route.path else "%2F"
    queue = "stream" if "/streams/" in route.path else "q"
    return re.sub(r"{[a-z]+}", queue, route.path.replace("{vhost}", vhost))


@pytest.mark.parametrize("route", OWN, ids=named)
def test_a_query_says_nothing_that_is_not_known(route: ApiRoute, node: HttpNode) -> None:
    status, error, reason = node.refusal(route.method, f"{path_of(route)}?message-id=x")
    assert (status, error) == (400, "bad_request")
    known = f"it may say {', '.join(route.query)}" if route.query else "it says nothing here"
    assert reason == f"the query has no 'message-id': {known}"


@pytest.mark.parametrize("route", CHANGES, ids=named)
def test_a_body_says_nothing_that_is_not_known(route: ApiRoute, node: HttpNode) -> None:
    given = {"name": "q", "tags": "", "password": "p", "action": "delete", "resource": "r", "dryrun": True}
    given = {name: value for name, value in given.items() if name in (*route.keys, "dryrun")}
    status, error, reason = node.refusal(route.method, path_of(route), given)
    assert (status, error) == (400, "bad_request")
    known = f"it may say {', '.join(route.keys)}" if route.keys else "it says nothing here"
    assert reason == f"the body has no 'dryrun': {known}"


def test_rabbitmqs_own_resources_take_what_they_do_not_know(node: HttpNode) -> None:
    assert node.status("GET", "/queues?message-id=x") == 200
    assert node.status("PUT", "/queues/%2F/q", {"durable": True, "dryrun": True}) == 204


@pytest.mark.parametrize(
    "given", [{"dryrun": True}, {"limt": 1}, {"to": "q"}, {"dry_run": "yes"}, {"dry_run": 1}, {"dry_run": {}}]
)
def test_a_redrive_that_is_not_understood_moves_nothing(given: dict[str, object], node: HttpNode) -> None:
    node.status("PUT", "/queues/%2F/other", {"durable": True})
    assert node.refusal("POST", "/broker/queues/%2F/q/redrive", {"target": "other"} | given)[0] == 400
    node.harness.commit()
    assert node.harness.vhost.queues["q"].ready_count == 2


def test_texts_are_truth_as_in_rabbitmqs_resources(node: HttpNode) -> None:
    node.status("PUT", "/queues/%2F/other", {"durable": True})
    answer = node.ask("POST", "/api/broker/queues/%2F/q/redrive", {"target": "other", "dry_run": "true"})
    assert json.loads(answer.body) == {"would_move": 2}
    assert len(node.get("/broker/messages/%2F/q?payload=false")["items"]) == 2
    assert node.refusal("GET", "/broker/messages/%2F/q?payload=1")[0] == 400
    preview = {"name": "p", "delete": "true"}
    assert node.ask("POST", "/api/broker/policies/%2F/preview", preview).status == 200


@pytest.mark.parametrize("given", [{"x-message-ttl": 500_000}, {}, {"arguments": {}}, {"arguments": None}])
def test_an_alteration_that_changes_nothing_is_no_success(given: dict[str, object], node: HttpNode) -> None:
    assert node.refusal("POST", "/broker/queues/%2F/q/alter", given)[0] == 400
