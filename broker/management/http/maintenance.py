"""Maintenance of a node: its clients are taken away before it is stopped, and may come again (ADR 74)."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any, Final

from broker.management.http.access import Needs
from broker.management.http.call import BadRequest, Call
from broker.management.http.node_view import ManagedNode
from broker.management.http.routing import ApiRoute

USUAL_SECONDS: Final = 10.0
"""Over which the connections are closed, unless something else is said."""
LONGEST_SECONDS: Final = 3600.0


async def get_drain(node: ManagedNode, call: Call) -> Mapping[str, Any]:
    return node.facts.drain.progress()


async def begin_drain(node: ManagedNode, call: Call) -> Mapping[str, Any]:
    given = await call.json_object()
    seconds = given.get("seconds", USUAL_SECONDS)
    is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool) and isfinite(seconds)
    if not is_number or not 0 <= seconds <= LONGEST_SECONDS:
        raise BadRequest(f"'seconds' is a number from 0 to {LONGEST_SECONDS:g}")
    node.facts.drain.begin(seconds)
    return node.facts.drain.progress()


async def end_drain(node: ManagedNode, call: Call) -> Mapping[str, Any]:
    await node.facts.drain.end()
    return node.facts.drain.progress()


_PATH: Final = "/broker/drain"

ROUTES = (
    ApiRoute("GET", _PATH, Needs.MONITORING, get_drain, "Show whether this node is drained, and how far"),
    ApiRoute(
        "PUT",
        _PATH,
        Needs.ADMINISTRATOR,
        begin_drain,
        "Take no more clients, and close connections at a pace",
        keys=("seconds",),
    ),
    ApiRoute("DELETE", _PATH, Needs.ADMINISTRATOR, end_drain, "Take clients again"),
)
