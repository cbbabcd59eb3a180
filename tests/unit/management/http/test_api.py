"""Every route: who may use it, and what becomes of errors."""

from __future__ import annotations

import json
from typing import Any

import pytest

from broker.errors import AccessRefused, AdministrationError, NotFound, PreconditionFailed, StoreUnavailable
from broker.management.http.access import Needs
from broker.management.http.api import ROUTES, Api
from broker.management.http.call import Call
from broker.management.http.node_view import ManagedNode
from broker.management.http.routing import ApiRoute
from tests.support.http_api import HttpNode

NAMES = {"vhost": "%2F", "node": "NODE:1", "within": "1", "unit": "days", "user": "guest", "destination": "amq.topic"}


def path_of(route: ApiRoute) -> str:
    """Return a path that leads to a route, with names of things that are mostly not there."""
    parts = (NAMES.get(part[1:-1], "nosuch") if part.startswith("{") else part for part in route.parts)
    return "/" + "/".join(parts)


@pytest.fixture(scope="module")
def node() -> HttpNode:
    return HttpNode()


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_every_route_asks_who_that_is_and_for_what_it_needs(node: HttpNode, route: ApiRoute) -> None:
    """The table of permissions: each route against users with each tag."""
    path = path_of(route)
    if route.needs is Needs.NOTHING:
        assert route.path in ("/auth", "/openapi.json"), "a route that lets everybody in is named here"
        assert node.status(route.method, path, user=None) == 200
        return
    assert node.status(route.method, path, user=None) == 401
    assert node.refusal(route.method, path, user="nobody") == (401, "not_authorised", "Not management user")
    refused = {
        Needs.LOGIN: (),
        Needs.VISIBLE: (),
        Needs.VHOST: ("watcher",),
        Needs.MONITORING: ("maker", "user"),
        Needs.POLICIES: ("user", "watcher"),
        Needs.POLICYMAKER: ("user", "watcher"),
        Needs.ADMINISTRATOR: ("user", "watcher", "maker"),
        Needs.OWN_USER: ("user", "watcher", "maker"),
    }[route.needs]
    for user in refused:
        assert node.refusal(route.method, path, b"{}", user=user)[:2] == (401, "not_authorised"), user


@pytest.mark.parametrize(
    "route",
    [route for route in ROUTES if "{vhost}" in route.path and route.method == "GET"],
    ids=lambda route: route.path,
)
def test_a_virtual_host_that_the_user_may_not_open_shows_nothing(route: ApiRoute) -> None:
    node = HttpNode()
    path = path_of(route).replace("%2F", "carbon", 1)
    answer = node.refusal("GET", path, user="user")
    assert answer[:2] == (401, "not_authorised")


@pytest.mark.parametrize(
    "path", ["/queues", "/exchanges", "/bindings", "/consumers", "/vhosts", "/policies", "/vhost-limits"]
)
def test_lists_of_all_virtual_hosts_show_those_that_the_user_may_open(path: str) -> None:
    node = HttpNode()
    shown = {row.get("vhost", row.get("name")) for row in node.get(path, user="user")}
    assert "carbon" not in shown
    assert {row.get("vhost", row.get("name")) for row in node.get(path, user="watcher")} >= shown


def test_a_route_that_is_not_there_needs_no_login_to_be_missing() -> None:
    assert HttpNode().refusal("GET", "/nope", user=None) == (404, "Object Not Found", "Not Found")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (AccessRefused("no"), (401, "not_authorised", "ACCESS_REFUSED - no")),
        (NotFound("no queue 'a' in vhost '/'"), (404, "not_found", "no queue 'a' in vhost '/'")),
        (PreconditionFailed("inequivalent arg"), (400, "bad_request", "inequivalent arg")),
        (AdministrationError("there is no user 'x'"), (400, "bad_request", "there is no user 'x'")),
        (StoreUnavailable("10.0.0.1 refused"), (503, "service_unavailable", "the store is away: try again later")),
        (ValueError("secret"), (500, "internal_error", "internal error")),
    ],
)
def test_an_error_becomes_an_answer_that_tells_no_more_than_it_should(
    error: Exception, expected: tuple[int, str, str]
) -> None:
    async def fail(node: ManagedNode, call: Call) -> Any:
        raise error

    node = HttpNode()
    node.api = Api(node.node, node.login, "", [ApiRoute("GET", "/fail", Needs.LOGIN, fail, "")])
    assert node.refusal("GET", "/fail") == expected


def test_every_answer_has_headers_by_which_a_browser_neither_shows_nor_keeps_it() -> None:
    node = HttpNode()
    for path in ("/api/overview", "/api/nope"):
        headers = node.ask("GET", path).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "no-cache"
        assert headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert not {name for name in headers if name.lower().startswith(("access-control", "set-cookie"))}


@pytest.mark.parametrize("origin", ["https://elsewhere.example", "null"])
def test_no_other_origin_is_let_in(origin: str) -> None:
    answer = HttpNode().ask("OPTIONS", "/api/overview", headers={"origin": origin}, user=None)
    assert answer.headers["Allow"] == "HEAD, GET, OPTIONS"
    assert not {name for name in answer.headers if name.lower().startswith("access-control")}


@pytest.mark.parametrize(
    ("headers", "is_let_in"),
    [
        ({}, True),
        ({"origin": "http://broker:15672", "host": "broker:15672"}, True),
        ({"sec-fetch-site": "same-origin", "origin": "https://proxy.example", "host": "inner:15672"}, True),
        ({"sec-fetch-site": "none"}, True),
        ({"origin": "https://elsewhere.example", "host": "broker:15672"}, False),
        ({"origin": "null", "host": "broker:15672"}, False),
        ({"sec-fetch-site": "cross-site"}, False),
        ({"sec-fetch-site": "same-site", "origin": "http://broker:15672", "host": "broker:15672"}, False),
    ],
)
def test_a_page_of_another_site_changes_nothing_even_if_the_browser_knows_the_password(
    headers: dict[str, str], is_let_in: bool
) -> None:
    """Such a page can send a form of plain text, whose body is read as JSON whatever its type."""
    node = HttpNode()
    given = {**headers, "content-type": "text/plain"}
    changes = (("PUT", "/queues/%2F/q"), ("POST", "/bindings/%2F/e/amq.topic/q/q"), ("DELETE", "/queues/%2F/q"))
    for method, path in changes:
        answer = node.ask(method, f"/api{path}", {}, headers=given)
        assert (answer.status < 300) is is_let_in, (method, answer.status)
        assert answer.status == 403 or is_let_in
    assert node.ask("GET", "/api/queues", headers=given).status == 200


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", '"><img src=x>', "a\r\nSet-Cookie: x=1", "{{7*7}}"])
def test_names_come_back_as_json_and_never_in_a_header(name: str) -> None:
    from urllib.parse import quote

    answer = HttpNode().ask("GET", f"/api/queues/%2F/{quote(name, safe='')}")
    assert answer.status == 404
    assert answer.content_type == "application/json"
    assert b"<" not in answer.body
    told = json.loads(answer.body)
    assert told.pop("detail") == f"there is no queue '{name}' in vhost '/'"
    assert told == {"error": "Object Not Found", "reason": "Not Found"}
    assert not any("\n" in value or "\r" in value for value in answer.headers.values())
