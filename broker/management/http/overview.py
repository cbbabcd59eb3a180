"""The overview of a node, and small things that programs ask for before anything else."""

from __future__ import annotations

from typing import Any, Final

from broker.broker import PRODUCT
from broker.management.figures.merging import with_overviews
from broker.management.figures.overview import overview_figures
from broker.management.http.access import Needs, visible
from broker.management.http.call import NO_CONTENT, BadRequest, Call, HttpAnswer, HttpCaller, as_json, empty
from broker.management.http.elsewhere import partly
from broker.management.http.node_view import ManagedNode
from broker.management.http.policies import cluster_name
from broker.management.http.routing import ApiRoute
from broker.management.http.samples import spans_of


def contexts(node: ManagedNode) -> list[dict[str, Any]]:
    """Return where the API itself is served."""
    return [
        {
            "cowboy_opts": "[]",
            "description": f"{PRODUCT} management",
            "ip": listener.host,
            "node": node.node_id,
            "path": "/",
            "port": str(listener.port),
            "ssl_opts": [],
        }
        for listener in node.view.listening
        if listener.protocol in ("http", "https")
    ]


async def get_overview(node: ManagedNode, call: Call) -> Any:
    caller = call.caller
    elsewhere = await node.view.others.read("overview")
    told = with_overviews(overview_figures(node.view, spans_of(call.query)), elsewhere) | {
        "cluster_name": cluster_name(node),
        "cluster_tags": {},
        "contexts": contexts(node),
        "default_queue_type": "classic",
        "is_op_policy_updating_enabled": True,
        "node_tags": {},
    }
    if not caller.is_monitor:
        told |= {"contexts": [], "listeners": [], "object_totals": await _seen(node, caller)}
    return partly(HttpAnswer(body=as_json(told)), elsewhere)


async def _seen(node: ManagedNode, caller: HttpCaller) -> dict[str, int]:
    """Return how many things there are that the user may see."""
    vhosts = await visible(node, caller)
    connections = [each for each in node.connections if each.user == caller.name]
    return {
        "channels": sum(connection.channel_count for connection in connections),
        "connections": len(connections),
        "consumers": sum(queue.consumer_count for vhost in vhosts for queue in vhost.queues.values()),
        "exchanges": sum(len(vhost.exchanges) for vhost in vhosts),
        "queues": sum(len(vhost.queues) for vhost in vhosts),
    }


async def get_whoami(node: ManagedNode, call: Call) -> Any:
    return {"name": call.caller.name, "tags": sorted(call.caller.tags)}


async def get_extensions(node: ManagedNode, call: Call) -> Any:
    return []


async def get_auth(node: ManagedNode, call: Call) -> Any:
    return {"enable_uaa": False, "oauth_enabled": False, "uaa_client_id": "", "uaa_location": ""}


async def nothing(node: ManagedNode, call: Call) -> Any:
    """HttpAnswer that there is none of what only plug-ins of RabbitMQ have."""
    return []


async def rebalance(node: ManagedNode, call: Call) -> Any:
    """Messages go to the node that has consumers for them by themselves: there are no leaders to move."""
    return empty(NO_CONTENT)


FEATURES: Final = (
    "classic_queue_type_delivery_support",
    "direct_exchange_routing_v2",
    "drop_unroutable_metric",
    "empty_basic_get_metric",
    "feature_flags_v2",
    "implicit_default_bindings",
    "maintenance_mode_status",
    "quorum_queue",
    "stream_filtering",
    "stream_queue",
    "user_limits",
    "virtual_host_metadata",
)
"""Feature flags of RabbitMQ that say what this broker does, too."""


async def list_features(node: ManagedNode, call: Call) -> Any:
    return [
        {
            "desc": "",
            "doc_url": "",
            "name": name,
            "provided_by": "cordillera",
            "stability": "required",
            "state": "enabled",
        }
        for name in FEATURES
    ]


async def enable_feature(node: ManagedNode, call: Call) -> Any:
    if call.names["feature"] not in FEATURES:
        raise BadRequest("unsupported")
    return empty(NO_CONTENT)


ROUTES = (
    ApiRoute("GET", "/overview", Needs.LOGIN, get_overview, "Show the whole at a glance"),
    ApiRoute("GET", "/whoami", Needs.LOGIN, get_whoami, "Show who asks"),
    ApiRoute("GET", "/extensions", Needs.LOGIN, get_extensions, "List extensions of the console: there are none"),
    ApiRoute("GET", "/auth", Needs.NOTHING, get_auth, "Show how one logs in"),
    ApiRoute("GET", "/feature-flags", Needs.LOGIN, list_features, "List feature flags: all are enabled"),
    ApiRoute("PUT", "/feature-flags/{feature}/enable", Needs.ADMINISTRATOR, enable_feature, "Enable a feature flag"),
    ApiRoute("GET", "/deprecated-features", Needs.LOGIN, nothing, "List deprecated features: there are none"),
    ApiRoute("GET", "/deprecated-features/used", Needs.LOGIN, nothing, "List those that are used: there are none"),
    ApiRoute("POST", "/rebalance/queues", Needs.ADMINISTRATOR, rebalance, "Share queues out: nothing is to be done"),
    ApiRoute("GET", "/shovels", Needs.MONITORING, nothing, "List shovels: there are none"),
    ApiRoute(
        "GET", "/shovels/{vhost}", Needs.MONITORING, nothing, "List the shovels of a virtual host: there are none"
    ),
    ApiRoute("GET", "/federation-links", Needs.MONITORING, nothing, "List federation links: there are none"),
    ApiRoute("GET", "/federation-links/{vhost}", Needs.MONITORING, nothing, "List those of a virtual host: none"),
    ApiRoute("GET", "/stream/connections", Needs.LOGIN, nothing, "List connections of streams: there are none"),
    ApiRoute("GET", "/stream/publishers", Needs.LOGIN, nothing, "List publishers of streams: there are none"),
    ApiRoute("GET", "/stream/consumers", Needs.LOGIN, nothing, "List consumers of streams: there are none"),
)
