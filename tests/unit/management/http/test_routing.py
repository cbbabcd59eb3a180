"""Paths, as clients write them, lead to routes."""

from __future__ import annotations

from typing import Any

import pytest

from broker.management.http.access import Needs
from broker.management.http.call import Call, HttpRefusal
from broker.management.http.node_view import ManagedNode
from broker.management.http.routing import ApiRoute, ApiRouter
from tests.support.http_api import new_call


async def serve(node: ManagedNode, call: Call) -> Any:
    return None


def route(method: str, path: str) -> ApiRoute:
    return ApiRoute(method, path, Needs.LOGIN, serve, "")


ROUTER = ApiRouter(
    [
        route("GET", "/queues"),
        route("GET", "/queues/{vhost}"),
        route("GET", "/queues/{vhost}/{queue}"),
        route("PUT", "/queues/{vhost}/{queue}"),
        route("GET", "/queues/detailed"),
        route("DELETE", "/queues/{vhost}/{queue}/contents"),
        route("DELETE", "/connections/{connection}"),
        route("DELETE", "/connections/username/{user}"),
        route("POST", "/definitions"),
    ]
)


@pytest.mark.parametrize(
    ("method", "path", "template", "names"),
    [
        ("GET", "/api/queues", "/queues", {}),
        ("GET", "/api/queues/", "/queues", {}),
        ("GET", "/api/queues/%2F", "/queues/{vhost}", {"vhost": "/"}),
        ("GET", "/api/queues/%2f/", "/queues/{vhost}", {"vhost": "/"}),
        ("GET", "/api/queues/%2F/a%2Fb", "/queues/{vhost}/{queue}", {"vhost": "/", "queue": "a/b"}),
        ("GET", "/api/queues/v/%25%23%20%2B+", "/queues/{vhost}/{queue}", {"vhost": "v", "queue": "%# ++"}),
        ("GET", "/api/queues/v/%C3%A9%FF", "/queues/{vhost}/{queue}", {"vhost": "v", "queue": "é\udcff"}),
        ("GET", "/api/queues/v/..", "/queues/{vhost}/{queue}", {"vhost": "v", "queue": ".."}),
        ("GET", "/api/queues/v/%2E%2E%2Fetc", "/queues/{vhost}/{queue}", {"vhost": "v", "queue": "../etc"}),
        ("GET", "/api/queues/detailed", "/queues/detailed", {}),
        ("GET", "/api/queues/detailed/q", "/queues/{vhost}/{queue}", {"vhost": "detailed", "queue": "q"}),
        ("HEAD", "/api/queues/v/q", "/queues/{vhost}/{queue}", {"vhost": "v", "queue": "q"}),
        ("DELETE", "/api/connections/username", "/connections/{connection}", {"connection": "username"}),
        ("DELETE", "/api/connections/username/u", "/connections/username/{user}", {"user": "u"}),
    ],
)
def test_a_path_is_cut_at_its_slashes_before_its_escapes_are_read(
    method: str, path: str, template: str, names: dict[str, str]
) -> None:
    call = new_call(method, path)
    found = ROUTER.find(call)
    assert found is not None
    assert (found.path, dict(call.names)) == (template, names)


@pytest.mark.parametrize(
    "path", ["/", "/api", "/api/", "/apix/queues", "/api/nope", "/api/queues/a/b/c", "/api" + "/x" * 30, "/other"]
)
def test_a_path_that_leads_nowhere_is_not_found(path: str) -> None:
    with pytest.raises(HttpRefusal, match="Not Found") as refused:
        ROUTER.find(new_call("GET", path))
    assert refused.value.status == 404


def test_a_method_that_a_path_does_not_have_is_refused_with_those_it_has() -> None:
    with pytest.raises(HttpRefusal) as refused:
        ROUTER.find(new_call("POST", "/api/queues/v/q"))
    assert (refused.value.status, refused.value.headers) == (405, {"Allow": "HEAD, GET, PUT, OPTIONS"})


def test_options_tell_what_there_is() -> None:
    call = new_call("OPTIONS", "/api/definitions")
    assert ROUTER.find(call) is None
    assert ROUTER.allowed(call) == "POST, OPTIONS"


def test_a_prefix_stands_before_all_paths() -> None:
    router = ApiRouter([route("GET", "/queues")], "/mq")
    assert router.find(new_call("GET", "/mq/api/queues")) is not None
    with pytest.raises(HttpRefusal, match="Not Found"):
        router.find(new_call("GET", "/api/queues"))


def test_two_routes_with_one_path_or_two_names_for_one_part_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="twice"):
        ApiRouter([route("GET", "/a"), route("GET", "/a")])
    with pytest.raises(ValueError, match="calls this part"):
        ApiRouter([route("GET", "/a/{b}"), route("GET", "/a/{c}/d")])
