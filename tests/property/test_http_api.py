"""Requests that nobody has thought of: whatever names and bodies are sent, no route fails, and none ends the node."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

from broker.management.http.api import ROUTES
from broker.management.http.routing import ApiRoute
from tests.support.http_api import HttpNode

NAMES = st.one_of(
    st.sampled_from(
        ["/", "carbon", "q", "guest", "user", "NODE:1", "amq.topic", "amq.default", "", "..", "~", "1", "days"]
    ),
    st.text(max_size=20),
)
KEYS = st.sampled_from(
    [
        "durable", "auto_delete", "internal", "arguments", "type", "node", "queue_type", "routing_key", "payload",
        "payload_encoding", "properties", "headers", "count", "ackmode", "encoding", "truncate", "password", "tags",
        "password_hash", "hashing_algorithm", "limits", "configure", "write", "read", "exchange", "pattern",
        "definition", "priority", "apply-to", "value", "name", "users", "queues", "bindings", "vhosts", "vhost",
        "ids", "all", "target", "queue", "action", "description", "metadata", "default_queue_type",
    ]
)  # fmt: skip
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 70), 1 << 70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | st.sampled_from(["true", "1", "base64", "string", "auto", "ack_requeue_true", "quorum", ".*", "("]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
ASKED = st.sampled_from(
    [
        "page", "page_size", "name", "use_regex", "sort", "columns", "lengths_age", "lengths_incr", "after", "limit",
        "payload", "truncate", "if-unused", "if-empty", "disable_stats", "view", "dry_run",
    ]
)  # fmt: skip
QUERIES = st.dictionaries(
    ASKED, st.text(max_size=8) | st.sampled_from(["true", "1", "500", "name", "(", "a.b", "999999999999"]), max_size=3
)
TESTED = [route for route in ROUTES if route.path not in ("/broker/stream", "/users/{user}", "/users/bulk-delete")]
"""All but a stream without end, and those that would delete the user who asks."""


@pytest.fixture(scope="module")
def node() -> HttpNode:
    node = HttpNode()
    node.status("PUT", "/queues/%2F/q", {"durable": True})
    return node


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), route=st.sampled_from(TESTED), query=QUERIES, body=VALUES)
def test_no_request_is_answered_with_an_internal_error(
    node: HttpNode, data: st.DataObject, route: ApiRoute, query: dict[str, str], body: Any
) -> None:
    parts = [
        quote(data.draw(NAMES), safe="", errors="replace") if part.startswith("{") else part for part in route.parts
    ]
    told = "&".join(f"{name}={quote(value, safe='', errors='replace')}" for name, value in query.items())
    answer = node.ask(route.method, f"/api/{'/'.join(parts)}?{told}", body)
    node.harness.commit()
    assert answer.status < 500 or answer.status == 503, (answer.status, answer.body)
    assert node.status("GET", "/whoami") == 200
