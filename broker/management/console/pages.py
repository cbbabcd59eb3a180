"""What the pages of the console show: each asks the HTTP API for what its template needs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from broker.management.console import administration
from broker.management.console.charts import of_depths, of_rates
from broker.management.console.lanes import WIDTH, lanes
from broker.management.console.lists import PAGE_SIZE, cut, if_allowed, listed, open_choices, sublist, vhost_choices
from broker.management.console.rendering import segment
from broker.management.console.rights import CARBON, Rights, first_open, rights_in
from broker.management.console.routes import ConsolePage, Visit
from broker.ports.names import DEAD_LETTER_CHANNEL, SCHEDULE
from broker.topology.argument_changes import warnings_of

_SAMPLES: Final = {
    "lengths_age": "600",
    "lengths_incr": "10",
    "msg_rates_age": "600",
    "msg_rates_incr": "10",
}


async def overview(visit: Visit) -> dict[str, Any]:
    found = await visit.ask.get("/overview", _SAMPLES)
    nodes = await if_allowed(visit, "/nodes", [])
    stats, totals = found.get("message_stats", {}), found.get("queue_totals", {})
    return {
        "overview": found,
        "numbers": [
            ("Published", _rate(stats, "publish"), "messages a second come in"),
            ("Delivered", _rate(stats, "deliver_get"), "messages a second go out"),
            ("Acknowledged", _rate(stats, "ack"), "messages a second are done"),
        ],
        "totals": totals,
        "rates": of_rates(stats),
        "depths": of_depths(totals),
        "attention": _attention(nodes, totals),
        "sees_subscriptions": visit.ask.caller.is_monitor or await first_open(visit),
        "nodes": nodes,
    }


def _attention(nodes: Iterable[Mapping[str, Any]], totals: Mapping[str, Any]) -> list[tuple[str, str]]:
    found = []
    for node in nodes:
        if node.get("mem_alarm"):
            found.append((f"{node['name']} is short of memory: publishers are held.", "/nodes"))
        if node.get("disk_free_alarm"):
            found.append((f"{node['name']} is short of disk space: publishers are held.", "/nodes"))
        if node.get("being_drained"):
            found.append((f"{node['name']} takes no clients: it sees too few members of its cluster.", "/nodes"))
        if not node.get("running", True):
            found.append((f"{node['name']} does not answer.", "/nodes"))
    return found


async def node_list(visit: Visit) -> dict[str, Any]:
    """The Node List of WSO2's console, with its words."""
    figures = {node["name"]: node for node in await visit.ask.get("/nodes")}  # refused to those who may not see nodes
    facts = visit.node.facts
    return {
        "members": facts.members(),
        "store": facts.store(),
        "clustering": facts.clustering,
        "figures": figures,
        "refusal": visit.node.broker.refusal,
    }


async def queues(visit: Visit) -> dict[str, Any]:
    vhosts = await vhost_choices(visit)
    adds_in = await first_open(visit, visit.query.get("vhost") or "/", may=Rights.may_add_queues)
    found = await listed(visit, "/queues", "messages", is_reversed="true")
    rights = {name: await rights_in(visit, name) for name in {each["vhost"] for each in found["listed"]["items"]}}
    return found | {
        "vhosts": vhosts,
        "adds_in": adds_in,
        "open_vhosts": await open_choices(visit, Rights.may_add_queues),
        "rights": rights,
    }


async def queue(visit: Visit) -> dict[str, Any]:
    place = _place(visit, "queues")
    found = await visit.ask.get(place, _SAMPLES)
    return {
        "queue": found,
        "bindings": await sublist(visit, f"{place}/bindings", "bindings"),
        "consumers": cut(visit, found.get("consumer_details", []), "consumers"),
        "rates": of_rates(found.get("message_stats", {})),
        "depths": of_depths(found),
        "rights": await rights_in(visit, visit.names["vhost"]),
        "warnings": _warnings(visit, found),
    }


def _warnings(visit: Visit, found: Mapping[str, Any]) -> list[str]:
    vhost = visit.node.vhosts.get(found["vhost"])
    queue = None if vhost is None else vhost.queues.get(found["name"])
    return [] if vhost is None or queue is None else warnings_of(vhost, queue)


async def exchanges(visit: Visit) -> dict[str, Any]:
    return await listed(visit, "/exchanges", "name") | {"vhosts": await vhost_choices(visit)}


async def exchange(visit: Visit) -> dict[str, Any]:
    place = _place(visit, "exchanges")
    found = await visit.ask.get(place)
    rights = await rights_in(visit, visit.names["vhost"])
    return {
        "exchange": found,
        "bindings": await sublist(visit, f"{place}/bindings/source", "bindings"),
        "may_publish": not found["internal"] and rights.may_publish(found["name"]),
    }


async def connections(visit: Visit) -> dict[str, Any]:
    return await listed(visit, "/connections", "name")


async def messages(visit: Visit) -> dict[str, Any]:
    """What is in a queue, read without taking it."""
    vhost, name = visit.names["vhost"], visit.names["name"]
    query = {"limit": PAGE_SIZE, "payload": "true", "truncate": "4096", "after": visit.query.get("after", "0")}
    found = await visit.ask.get(f"/broker/messages/{segment(vhost)}/{segment(name)}", query)
    return {"found": found, "vhost": vhost, "name": name}


async def subscriptions(visit: Visit) -> dict[str, Any]:
    """The subscriptions of a virtual host, in WSO2's groups."""
    vhost = visit.query.get("vhost") or await first_open(visit, CARBON, "/") or "/"
    place, after = f"/broker/subscriptions/{segment(vhost)}", visit.query.get("after", "")
    found = await visit.ask.get(place, {"limit": PAGE_SIZE, "after": after})
    groups = [
        ("Queue subscriptions", "queue"),
        ("Topic subscriptions that end with their client", "topic"),
        ("Durable topic subscriptions", "durable"),
    ]
    return {
        "vhosts": await vhost_choices(visit),
        "vhost": vhost,
        "groups": [(title, kind, [each for each in found if each["kind"] == kind]) for title, kind in groups],
        "next": found[-1]["id"] if len(found) == int(PAGE_SIZE) else "",
    }


async def dead_letters(visit: Visit) -> dict[str, Any]:
    """What waits in the dead letter channel, and the jobs that move it."""
    vhost = visit.query.get("vhost") or await first_open(visit, CARBON, may=Rights.may_see_letters) or CARBON
    queue, after = visit.query.get("queue", ""), visit.query.get("after", "0")
    asked = {"limit": PAGE_SIZE, "after": after, "queue": queue}
    place = f"/broker/dead-letters/{segment(vhost)}"
    found = await visit.ask.get(place, asked)
    return {
        "letters": found,
        "vhost": vhost,
        "queue": queue,
        "after": after,
        "is_full": len(found) == int(PAGE_SIZE),
        "jobs": await visit.ask.get(f"{place}/jobs"),
        "channel": DEAD_LETTER_CHANNEL,
        "has_channel": DEAD_LETTER_CHANNEL in visit.node.vhosts[vhost].queues,
        "vhosts": await open_choices(visit, Rights.may_see_letters),
        "may_publish": (await rights_in(visit, vhost)).may_publish(""),
    }


async def delayed(visit: Visit) -> dict[str, Any]:
    """What waits for its time in a virtual host."""
    vhost = visit.query.get("vhost") or await first_open(visit, "/", may=Rights.may_see_delayed) or "/"
    after = visit.query.get("after", "")
    asked = {name: visit.query.get(name, "") for name in ("exchange", "message_id")}
    query = {"limit": PAGE_SIZE, "after": after, **{name: value for name, value in asked.items() if value}}
    found = await visit.ask.get(f"/broker/delayed/{segment(vhost)}", query)
    rights = await rights_in(visit, vhost)
    return {
        "found": found,
        "vhost": vhost,
        "vhosts": await open_choices(visit, Rights.may_see_delayed),
        "asked": asked,
        "may_change": rights.may_publish(SCHEDULE),
    }


async def find(visit: Visit) -> dict[str, Any]:
    """Where a message is (docs/finding-messages.md)."""
    vhost = visit.query.get("vhost") or await first_open(visit, "/") or "/"
    by, value = visit.query.get("by") or _IDENTIFIERS[0][0], visit.query.get("value", "")
    query = {by: value, "limit": _LOOKED_AT} | {name: visit.query[name] for name in ("before",) if name in visit.query}
    return {
        "found": await visit.ask.get(f"/broker/find/{segment(vhost)}", query) if value else None,
        "vhost": vhost,
        "vhosts": await open_choices(visit),
        "by": by,
        "value": value,
        "identifiers": _IDENTIFIERS,
    }


async def timeline(visit: Visit) -> dict[str, Any]:
    """What has happened to the members of the cluster, the newest first, as a table and as a drawing."""
    entries = await visit.ask.get("/broker/timeline", {"limit": _MOST_ENTRIES})
    return {
        "entries": cut(visit, entries, "page"),
        "lanes": lanes(entries[:_MOST_DRAWN], visit.node.view.now_ms()),
        "since": entries[min(len(entries), _MOST_DRAWN) - 1]["happened_ms"] if entries else None,
        "width": WIDTH,
    }


async def slots(visit: Visit) -> dict[str, Any]:
    """The parts of queues that lie in the store alone, and which nodes serve them."""
    return await listed(visit, "/broker/slots", "queue") | {"vhosts": await vhost_choices(visit)}


async def logs(visit: Visit) -> dict[str, Any]:
    """The last lines of the log of a node."""
    query = visit.query
    asked = {name: query.get(name, "") for name in ("level", "node", "text", "before")}
    asked["level"] = asked["level"] or "info"
    found = await visit.ask.get("/broker/logs", {**asked, "limit": _LINES})
    rows = found["items"]
    return {
        "asked": asked,
        "node": found["node"],
        "nodes": [member.node_id for member in visit.node.facts.members()][:_MOST_NODES],
        "levels": ("debug", "info", "warning", "error"),
        "rows": rows,
        "older": rows[-1]["number"] if len(rows) == int(_LINES) else None,
    }


async def suggestions(visit: Visit) -> dict[str, Any]:
    """Names of virtual hosts with a part that somebody types."""
    return {"names": (await vhost_choices(visit)).names}


def _place(visit: Visit, kind: str) -> str:
    return f"/{kind}/{segment(visit.names['vhost'])}/{segment(visit.names['name'] or 'amq.default')}"


def _rate(stats: Mapping[str, Any], name: str) -> float:
    rate: float = stats.get(f"{name}_details", {}).get("rate", 0.0)
    return rate


_IDENTIFIERS: Final = (("message_id", "message_id"), ("correlation_id", "correlation_id"), ("id", "ID in lists"))
"""By what messages are found, and the words for that."""
_LOOKED_AT: Final = "50000"
"""Stored messages that a search looks at."""
_LINES: Final = "100"
_MOST_NODES: Final = 100
_MOST_ENTRIES: Final = "1000"
_MOST_DRAWN: Final = 200

PAGES: Final = (
    ConsolePage("/", "overview.html", overview, is_live=True),
    ConsolePage("/nodes", "nodes.html", node_list, is_live=True),
    ConsolePage("/queues", "queues.html", queues, is_live=True),
    ConsolePage("/queues/{vhost}/{name}", "queue.html", queue, is_live=True),
    ConsolePage("/queues/{vhost}/{name}/messages", "messages.html", messages),
    ConsolePage("/exchanges", "exchanges.html", exchanges, is_live=True),
    ConsolePage("/exchanges/{vhost}/{name}", "exchange.html", exchange),
    ConsolePage("/connections", "connections.html", connections, is_live=True),
    ConsolePage("/subscriptions", "subscriptions.html", subscriptions, is_live=True),
    ConsolePage("/dead-letters", "dead-letters.html", dead_letters, is_live=True),
    ConsolePage("/delayed", "delayed.html", delayed),
    ConsolePage("/find", "find.html", find),
    ConsolePage("/timeline", "timeline.html", timeline, is_live=True),
    ConsolePage("/slots", "slots.html", slots, is_live=True),
    ConsolePage("/logs", "logs.html", logs, is_live=True),
    ConsolePage("/suggestions", "suggestions.html", suggestions),
    *administration.PAGES,
)
