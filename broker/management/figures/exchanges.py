"""Exchanges, with RabbitMQ's keys."""

from __future__ import annotations

from typing import Any

from broker.management.figures.history import NO_SAMPLES, SampleSpans, with_details
from broker.management.figures.view import NodeView
from broker.topology.exchange import Exchange
from broker.topology.json_form import plain
from broker.topology.vhost import VirtualHost


def exchange_figures(
    view: NodeView, vhost: VirtualHost, exchange: Exchange, spans: SampleSpans = NO_SAMPLES
) -> dict[str, Any]:
    """Return one exchange as `/api/exchanges` lists it, with what was published to it on this node."""
    policy = vhost.policies.of_exchange(exchange.name)
    stats = {"publish_in": exchange.published_in, "publish_out": exchange.published_out}
    return {
        "arguments": plain(exchange.arguments),
        "auto_delete": exchange.auto_delete,
        "durable": exchange.durable,
        "internal": exchange.internal,
        "message_stats": with_details(stats, view.history, exchange, spans.msg_rates),
        "name": exchange.name,
        "policy": policy.policy,
        "type": exchange.type,
        "user_who_performed_action": "",
        "vhost": vhost.name,
    }
