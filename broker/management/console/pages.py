"""What the pages of the console show: each asks the HTTP API for what its template needs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import urlencode

from broker.management.console.asking import AnswerRefused
from broker.management.console.charts import of_depths, of_rates
from broker.management.console.rendering import segment
from broker.management.console.routes import ConsolePage, Visit

PAGE_SIZE: Final = "50"
_SAMPLES: Final = {
    "lengths_age": "600",
    "lengths_incr": "10",
    "msg_rates_age": "600",
    "msg_rates_incr": "10",
}


async def overview(visit: Visit) -> dict[str, Any]:
    found = await visit.ask.get("/overview", _SAMPLES)
    nodes = await _if_allowed(visit, "/nodes", [])
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
    return await _listed(visit, "/queues", "messages", is_reversed="true") | {"vhosts": await _vhosts(visit)}


async def queue(visit: Visit) -> dict[str, Any]:
    place = _place(visit, "queues")
    found = await visit.ask.get(place, _SAMPLES)
    bindings = await visit.ask.get(f"{place}/bindings")
    return {
        "queue": found,
        "bindings": bindings[:200],
        "bindings_count": len(bindings),
        "rates": of_rates(found.get("message_stats", {})),
        "depths": of_depths(found),
    }


async def exchanges(visit: Visit) -> dict[str, Any]:
    return await _listed(visit, "/exchanges", "name") | {"vhosts": await _vhosts(visit)}


async def exchange(visit: Visit) -> dict[str, Any]:
    place = _place(visit, "exchanges")
    found = await visit.ask.get(place)
    bindings = await visit.ask.get(f"{place}/bindings/source")
    return {"exchange": found, "bindings": bindings[:200], "bindings_count": len(bindings)}


async def connections(visit: Visit) -> dict[str, Any]:
    return await _listed(visit, "/connections", "name")


async def messages(visit: Visit) -> dict[str, Any]:
    """What is in a queue, read without taking it."""
    vhost, name = visit.names["vhost"], visit.names["name"]
    query = {"limit": PAGE_SIZE, "payload": "true", "truncate": "4096", "after": visit.query.get("after", "0")}
    found = await visit.ask.get(f"/broker/messages/{segment(vhost)}/{segment(name)}", query)
    return {"found": found, "vhost": vhost, "name": name}


async def subscriptions(visit: Visit) -> dict[str, Any]:
    """The subscriptions of a virtual host, in WSO2's groups."""
    vhosts = await _vhosts(visit)
    vhost = visit.query.get("vhost") or ("carbon" if "carbon" in vhosts else "/")
    place, after = f"/broker/subscriptions/{segment(vhost)}", visit.query.get("after", "")
    found = await visit.ask.get(place, {"limit": PAGE_SIZE, "after": after})
    groups = [
        ("Queue subscriptions", "queue"),
        ("Topic subscriptions that end with their client", "topic"),
        ("Durable topic subscriptions", "durable"),
    ]
    return {
        "vhosts": vhosts,
        "vhost": vhost,
        "groups": [(title, kind, [each for each in found if each["kind"] == kind]) for title, kind in groups],
        "next": found[-1]["id"] if len(found) == int(PAGE_SIZE) else "",
    }


async def dead_letters(visit: Visit) -> dict[str, Any]:
    """What waits in the dead letter channel."""
    vhost = visit.query.get("vhost") or "carbon"
    queue, after = visit.query.get("queue", ""), visit.query.get("after", "0")
    asked = {"limit": PAGE_SIZE, "after": after, "queue": queue}
    found = await visit.ask.get(f"/broker/dead-letters/{segment(vhost)}", asked)
    return {"letters": found, "vhost": vhost, "queue": queue, "is_full": len(found) == int(PAGE_SIZE)}


async def delayed(visit: Visit) -> dict[str, Any]:
    """What waits for its time in a virtual host."""
    vhost, after = visit.query.get("vhost") or "/", visit.query.get("after", "")
    asked = {name: visit.query.get(name, "") for name in ("exchange", "message_id")}
    query = {"limit": PAGE_SIZE, "after": after, **{name: value for name, value in asked.items() if value}}
    found = await visit.ask.get(f"/broker/delayed/{segment(vhost)}", query)
    return {"found": found, "vhost": vhost, "vhosts": await _vhosts(visit), "asked": asked}


async def timeline(visit: Visit) -> dict[str, Any]:
    """What has happened to the members of the cluster, the newest first."""
    return {"entries": await visit.ask.get("/broker/timeline", {"limit": "200"})}


async def policies(visit: Visit) -> dict[str, Any]:
    return await _listed(visit, "/policies", "name") | {
        "operator_policies": await _if_allowed(visit, "/operator-policies", []),
        "vhosts": await _vhosts(visit),
    }


async def users(visit: Visit) -> dict[str, Any]:
    listed = await _listed(visit, "/users", "name")
    granted: dict[str, list[Mapping[str, Any]]] = {user["name"]: [] for user in listed["listed"]["items"]}
    for grant in await visit.ask.get("/permissions"):
        granted.get(grant["user"], []).append(grant)
    return listed | {"granted": granted, "vhosts": await _vhosts(visit)}


async def vhosts(visit: Visit) -> dict[str, Any]:
    return {"vhosts": await visit.ask.get("/vhosts")}


async def _vhosts(visit: Visit) -> list[str]:
    return [vhost["name"] for vhost in await visit.ask.get("/vhosts")]


async def _if_allowed(visit: Visit, path: str, otherwise: Any) -> Any:
    """Return what stands at a path, or `otherwise` if the user may not see it."""
    try:
        return await visit.ask.get(path)
    except AnswerRefused as refusal:
        if refusal.status != 401:
            raise
        return otherwise


async def _listed(visit: Visit, path: str, sort: str, *, is_reversed: str = "false") -> dict[str, Any]:
    """Return a list in pages, sorted and filtered as the address says."""
    query = visit.query
    asked = {
        "page": query.get("page") or "1",
        "page_size": PAGE_SIZE,
        "name": query.get("name", ""),
        "use_regex": query.get("use_regex", "false"),
        "sort": query.get("sort") or sort,
        "sort_reverse": query.get("sort_reverse") or is_reversed,
        "pagination": "true",
    }
    vhost = query.get("vhost", "")
    found = await visit.ask.get(f"{path}/{segment(vhost)}" if vhost else path, asked)
    shown = {name: value for name, value in (asked | {"vhost": vhost}).items() if name != "pagination"}

    def address(**other: str) -> str:
        return f"?{urlencode({name: value for name, value in (shown | other).items() if value}, errors='replace')}"

    return {"listed": found, "asked": shown, "address": address}


def _place(visit: Visit, kind: str) -> str:
    return f"/{kind}/{segment(visit.names['vhost'])}/{segment(visit.names['name'] or 'amq.default')}"


def _rate(stats: Mapping[str, Any], name: str) -> float:
    rate: float = stats.get(f"{name}_details", {}).get("rate", 0.0)
    return rate


PAGES: Final = (
    ConsolePage("/", "overview.html", overview),
    ConsolePage("/nodes", "nodes.html", node_list),
    ConsolePage("/queues", "queues.html", queues),
    ConsolePage("/queues/{vhost}/{name}", "queue.html", queue),
    ConsolePage("/queues/{vhost}/{name}/messages", "messages.html", messages),
    ConsolePage("/exchanges", "exchanges.html", exchanges),
    ConsolePage("/exchanges/{vhost}/{name}", "exchange.html", exchange),
    ConsolePage("/connections", "connections.html", connections),
    ConsolePage("/subscriptions", "subscriptions.html", subscriptions),
    ConsolePage("/dead-letters", "dead-letters.html", dead_letters),
    ConsolePage("/delayed", "delayed.html", delayed),
    ConsolePage("/timeline", "timeline.html", timeline),
    ConsolePage("/policies", "policies.html", policies),
    ConsolePage("/users", "users.html", users),
    ConsolePage("/vhosts", "vhosts.html", vhosts),
)
