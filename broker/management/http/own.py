"""This broker's own resources, below `/api/broker`: nodes, store, slots, timeline, log, subscriptions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

from broker.management.figures.pages import MAX_LINES, kind_of_logs, slot_rows
from broker.management.http.access import Needs, vhost_of, visible_here
from broker.management.http.browsing import number
from broker.management.http.call import (
    NO_CONTENT,
    BadRequest,
    Call,
    HttpAnswer,
    HttpRefusal,
    NotThere,
    as_json,
    empty,
)
from broker.management.http.elsewhere import named_silent, partly
from broker.management.http.forms import required
from broker.management.http.listing import QUERY, Row, listed
from broker.management.http.node_view import ManagedNode
from broker.management.http.routing import ApiRoute

_MOST_ENTRIES: Final = 1000
_STEPS: Final = 5
_LONGEST_TEXT: Final = 200
_LEVELS: Final = ("debug", "info", "warning", "error")
_HEALTHY: Final = {True: "Healthy", False: "Unhealthy"}
"""The words that WSO2's administrators know."""


def store_row(node: ManagedNode) -> dict[str, Any]:
    """Return how the store is."""
    store = node.facts.store()
    return {
        "health": _HEALTHY[store.is_up],
        "since_seconds": round(store.since, 3),
        "reason": store.reason,
        "latency_ms": round(1000 * store.latency, 3),
        "description": store.description,
        "unsafe": list(store.unsafe),
    }


async def list_nodes(node: ManagedNode, call: Call) -> Any:
    """Return the Node List, in the words of WSO2's console, and how the store is."""
    members = node.facts.members()
    return {
        "clustering": node.facts.clustering,
        "message_store": store_row(node),
        "refuses_clients": node.broker.refusal,
        "nodes": [
            {
                "node_id": member.node_id,
                "ip_address": member.host,
                "port": member.port,
                "is_coordinator": member.is_coordinator,
                "is_self": member.is_self,
                "last_heartbeat_seconds": None if member.beat_age is None else round(member.beat_age, 3),
            }
            for member in members
        ],
    }


async def get_store(node: ManagedNode, call: Call) -> Any:
    return store_row(node)


async def list_timeline(node: ManagedNode, call: Call) -> Any:
    entries = await node.facts.timeline(number(call.query, "limit", 100, _MOST_ENTRIES))
    return [asdict(entry) for entry in entries]


async def list_slots(node: ManagedNode, call: Call) -> Any:
    """Return the slots that nodes serve."""
    rows: list[Row] = []
    vhosts = {vhost.name for vhost in await visible_here(node, call)}
    for vhost in sorted(vhosts):
        for row in slot_rows(node.view, vhost):
            await node.in_turn(_STEPS)
            rows.append(row)
    elsewhere = await node.view.others.read("slots")
    rows += [row for row in elsewhere.all_rows if row.get("vhost") in vhosts]
    return partly(await listed(node, call, rows, lambda row: row, name_of=lambda row: str(row.get("queue"))), elsewhere)


async def read_logs(node: ManagedNode, call: Call) -> Any:
    """Return the last lines of the log of a node, the newest first."""
    query = call.query
    level, text, of = query.get("level") or "info", query.get("text", "")[:_LONGEST_TEXT], query.get("node")
    if level not in _LEVELS:
        raise BadRequest(f"there is no level '{level[:20]}': there are {', '.join(_LEVELS)}")
    limit = number(query, "limit", 100, MAX_LINES)
    before = number(query, "before", 0, (1 << 63) - 1) or None
    if of in (None, "", node.node_id):
        return {"node": node.node_id, "items": node.view.logs(level, before, limit, text)}
    if of not in {member.node_id for member in node.facts.members()}:
        raise NotThere
    elsewhere = await node.view.others.read(kind_of_logs(level, before, limit, text), of)
    if of in elsewhere.silent:
        raise HttpRefusal(503, "service_unavailable", f"node {of} does not answer")
    return {"node": of, "items": elsewhere.rows.get(of, [])}


# Subscriptions


async def _command(node: ManagedNode, name: str, arguments: Mapping[str, Any]) -> Any:
    command = node.commands.get(name)
    if command is None:
        raise NotThere
    return await command(arguments)


async def list_subscriptions(node: ManagedNode, call: Call) -> Any:
    vhost_of(node, call)
    arguments: dict[str, Any] = {"vhost": call.names["vhost"], "limit": number(call.query, "limit", 100, 1000)}
    arguments |= {name: call.query[name] for name in _CHOICE if call.query.get(name)}
    found = await _command(node, "list_subscriptions", arguments)
    return named_silent(HttpAnswer(body=as_json(found["subscriptions"])), found["silent"])


async def close_subscription(node: ManagedNode, call: Call) -> Any:
    vhost_of(node, call)
    await _command(node, "close_subscription", {"vhost": call.names["vhost"], "id": call.names["subscription"]})
    return empty(NO_CONTENT)


async def delete_subscription(node: ManagedNode, call: Call) -> Any:
    vhost_of(node, call)
    given = await call.json_object()
    return await _command(node, "delete_subscription", {"vhost": call.names["vhost"], "name": required(given, "name")})


_CHOICE: Final = ("kind", "queue", "after")
_LOGS: Final = ("level", "text", "node", "before", "limit")
_SUBSCRIPTIONS: Final = "/broker/subscriptions/{vhost}"

ROUTES = (
    ApiRoute("GET", "/broker/nodes", Needs.MONITORING, list_nodes, "Show the nodes, the coordinator and the store"),
    ApiRoute("GET", "/broker/store", Needs.MONITORING, get_store, "Show how the store is"),
    ApiRoute(
        "GET", "/broker/timeline", Needs.MONITORING, list_timeline, "Show what has happened to the members", ("limit",)
    ),
    ApiRoute("GET", "/broker/logs", Needs.ADMINISTRATOR, read_logs, "Show the last lines of the log of a node", _LOGS),
    ApiRoute("GET", "/broker/slots", Needs.MONITORING, list_slots, "List the slots that nodes serve", QUERY),
    ApiRoute("GET", "/broker/slots/{vhost}", Needs.VISIBLE, list_slots, "List the slots of a virtual host", QUERY),
    ApiRoute(
        "GET",
        _SUBSCRIPTIONS,
        Needs.VISIBLE,
        list_subscriptions,
        "Show subscriptions of queues and topics",
        ("limit", *_CHOICE),
    ),
    ApiRoute(
        "POST",
        f"{_SUBSCRIPTIONS}/delete",
        Needs.ADMINISTRATOR,
        delete_subscription,
        "Delete a durable one",
        keys=("name",),
    ),
    ApiRoute(
        "DELETE", f"{_SUBSCRIPTIONS}/{{subscription}}", Needs.ADMINISTRATOR, close_subscription, "Close a subscription"
    ),
)
