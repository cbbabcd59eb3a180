"""This broker's own resources, below `/api/broker`: nodes, store, slots, timeline, dead letters, subscriptions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

from broker.amqp.purposes import publishing, using
from broker.auth.access import Access, Operation, Permission
from broker.management.http.access import Needs, vhost_of, visible_here
from broker.management.http.acting import access_of
from broker.management.http.browsing import number
from broker.management.http.call import NO_CONTENT, Call, HttpAnswer, NotThere, as_json, empty
from broker.management.http.elsewhere import named_silent
from broker.management.http.forms import required
from broker.management.http.listing import listed
from broker.management.http.node_view import ManagedNode
from broker.management.http.routing import ApiRoute
from broker.ports.names import DEAD_LETTER_CHANNEL
from broker.ports.slot import Slot
from broker.queue.queue import Queue

_MOST_ENTRIES: Final = 1000
_CHOICE: Final[tuple[str, ...]] = ("ids", "all", "queue", "target")
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
    """Return the slots that this node serves."""
    found = [
        (queue, level, slot)
        for vhost in await visible_here(node, call)
        for _, queue in sorted(vhost.queues.items())
        for level in queue.levels
        for slot in level.slots.paged
    ]

    def row(place: tuple[Queue, Queue, Slot]) -> Mapping[str, Any]:
        queue, level, slot = place
        return {
            "vhost": queue.vhost,
            "queue": queue.name,
            "queue_id": level.queue_id,
            "lane": slot.lane,
            "start": slot.start,
            "end": slot.end,
            "messages": slot.count,
            "node": node.node_id,
        }

    return await listed(node, call, found, row, name_of=lambda place: place[0].name)


# Dead letters


async def _dead_letter_access(node: ManagedNode, call: Call) -> Access:
    """Return what the user may do where the channel is; raise unless its messages may be taken."""
    vhost = vhost_of(node, call)
    if vhost.dialect.channel is None:
        raise NotThere
    access = await access_of(node, call, vhost)
    purpose = using(access, Operation.CONSUME, vhost, DEAD_LETTER_CHANNEL)
    access.require(Permission.READ, "queue", DEAD_LETTER_CHANNEL, purpose)
    return access


async def list_dead_letters(node: ManagedNode, call: Call) -> Any:
    await _dead_letter_access(node, call)
    arguments: dict[str, Any] = {
        "vhost": call.names["vhost"],
        "after": number(call.query, "after", 0, (1 << 63) - 1),
        "limit": number(call.query, "limit", 100, _MOST_ENTRIES),
    }
    if call.query.get("queue"):
        arguments["queue"] = call.query["queue"]
    return await node.commands["list_dead_letters"](arguments)


async def _chosen(call: Call) -> dict[str, Any]:
    """Return which dead letters the body means: some by their `ids`, or `all`, also those of one `queue`."""
    given = await call.json_object()
    return {**{name: given[name] for name in _CHOICE if name in given}, "vhost": call.names["vhost"]}


async def restore_dead_letters(node: ManagedNode, call: Call) -> Any:
    access = await _dead_letter_access(node, call)
    access.require(Permission.WRITE, "exchange", "", publishing(access, "", ""))
    return await node.commands["restore_dead_letters"](await _chosen(call))


async def reroute_dead_letters(node: ManagedNode, call: Call) -> Any:
    access, arguments = await _dead_letter_access(node, call), await _chosen(call)
    target = required(arguments, "target")
    access.require(Permission.WRITE, "exchange", "", publishing(access, "", str(target)))
    return await node.commands["reroute_dead_letters"](arguments)


async def delete_dead_letters(node: ManagedNode, call: Call) -> Any:
    await _dead_letter_access(node, call)
    return await node.commands["delete_dead_letters"](await _chosen(call))


# Subscriptions


async def _command(node: ManagedNode, name: str, arguments: Mapping[str, Any]) -> Any:
    command = node.commands.get(name)
    if command is None:
        raise NotThere
    return await command(arguments)


async def list_subscriptions(node: ManagedNode, call: Call) -> Any:
    vhost_of(node, call)
    arguments: dict[str, Any] = {"vhost": call.names["vhost"], "limit": number(call.query, "limit", 100, 1000)}
    arguments |= {name: call.query[name] for name in ("kind", "queue", "after") if call.query.get(name)}
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


_LETTERS: Final = "/broker/dead-letters/{vhost}"
_SUBSCRIPTIONS: Final = "/broker/subscriptions/{vhost}"

ROUTES = (
    ApiRoute("GET", "/broker/nodes", Needs.MONITORING, list_nodes, "Show the nodes, the coordinator and the store"),
    ApiRoute("GET", "/broker/store", Needs.MONITORING, get_store, "Show how the store is"),
    ApiRoute("GET", "/broker/timeline", Needs.MONITORING, list_timeline, "Show what has happened to the members"),
    ApiRoute("GET", "/broker/slots", Needs.MONITORING, list_slots, "List the slots that this node serves"),
    ApiRoute("GET", "/broker/slots/{vhost}", Needs.VISIBLE, list_slots, "List the slots of a virtual host here"),
    ApiRoute("GET", _LETTERS, Needs.VHOST, list_dead_letters, "Show what waits in the dead letter channel"),
    ApiRoute("POST", f"{_LETTERS}/restore", Needs.VHOST, restore_dead_letters, "Put dead letters back"),
    ApiRoute("POST", f"{_LETTERS}/reroute", Needs.VHOST, reroute_dead_letters, "Put dead letters into another queue"),
    ApiRoute("POST", f"{_LETTERS}/delete", Needs.VHOST, delete_dead_letters, "Delete dead letters"),
    ApiRoute("GET", _SUBSCRIPTIONS, Needs.VISIBLE, list_subscriptions, "Show subscriptions of queues and topics"),
    ApiRoute("POST", f"{_SUBSCRIPTIONS}/delete", Needs.ADMINISTRATOR, delete_subscription, "Delete a durable one"),
    ApiRoute(
        "DELETE", f"{_SUBSCRIPTIONS}/{{subscription}}", Needs.ADMINISTRATOR, close_subscription, "Close a subscription"
    ),
)
