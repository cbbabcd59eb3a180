"""The overview and virtual hosts, with RabbitMQ's keys."""

from __future__ import annotations

from typing import Any, Final

from broker.broker import PRODUCT
from broker.management.figures import totals
from broker.management.figures.history import NO_SAMPLES, SampleSpans, with_details
from broker.management.figures.messages import counted
from broker.management.figures.view import NodeView
from broker.topology.exchange import BUILT_IN
from broker.topology.vhost import VirtualHost

RETENTION: Final = {"global": [600, 3600, 28800, 86400], "basic": [600, 3600], "detailed": [600]}
"""For how many seconds samples are kept: of the node and virtual hosts, of other objects, of what is between two."""


def exchange_types() -> list[dict[str, Any]]:
    """Return the types of exchange there are."""
    return [{"name": name, "description": f"exchange type {name}", "enabled": True} for name in BUILT_IN]


def overview_figures(view: NodeView, spans: SampleSpans = NO_SAMPLES) -> dict[str, Any]:
    """Return what `/api/overview` has, with the figures of this node."""
    history = view.history
    messages = totals.message_figures(view)
    lengths = {name: messages.pop(name) for name in totals.OF_LENGTH}
    stats = {**messages, "disk_reads": 0, "disk_writes": 0, **view.store()}
    return {
        "management_version": view.api_version,
        "rates_mode": "basic",
        "sample_retention_policies": RETENTION,
        "exchange_types": exchange_types(),
        "product_version": view.version,
        "product_name": PRODUCT,
        "rabbitmq_version": view.api_version,
        "cluster_name": view.cluster_name,
        "erlang_version": view.platform,
        "erlang_full_version": view.platform,
        "release_series_support_status": "supported",
        "disable_stats": False,
        "enable_queue_totals": False,
        "message_stats": with_details(stats, history, view, spans.msg_rates),
        "churn_rates": with_details(totals.churn(view), history, view, spans.msg_rates),
        "queue_totals": with_details(lengths, history, view, spans.lengths),
        "object_totals": totals.objects(view),
        "statistics_db_event_queue": 0,
        "node": view.name,
        "listeners": listener_figures(view),
        "contexts": [],
    }


def listener_figures(view: NodeView) -> list[dict[str, Any]]:
    """Return the open listeners of the node."""
    return [
        {
            "node": view.name,
            "protocol": each.protocol,
            "ip_address": each.host,
            "port": each.port,
            "socket_opts": {"backlog": 128, "nodelay": True, "linger": [True, 0], "exit_on_close": False},
        }
        for each in view.listening
    ]


def vhost_figures(view: NodeView, vhost: VirtualHost, spans: SampleSpans = NO_SAMPLES) -> dict[str, Any]:
    """Return the figures of one virtual host that `/api/vhosts/{name}` has beside its settings."""
    counts = totals.message_counts(view, vhost)
    received = sent = 0
    for connection in view.connections():
        if connection.vhost == vhost.name:
            received += connection.received
            sent += connection.output.sent
    return {
        "cluster_state": {view.name: "running"},
        **with_details(totals.lengths(view, vhost.name), view.history, vhost, spans.lengths),
        "message_stats": with_details(counted(counts), view.history, vhost, spans.msg_rates),
        **with_details({"recv_oct": received, "send_oct": sent}, view.history, vhost, spans.data_rates),
    }
