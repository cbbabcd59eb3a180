"""What is added up over a node: messages, channels, objects."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from broker.management.figures.messages import OF_CHANNELS, counted
from broker.management.figures.view import NodeView
from broker.topology.counts import MessageCounts
from broker.topology.vhost import VirtualHost

OF_LENGTH: Final = ("messages", "messages_ready", "messages_unacknowledged")
CHURN: Final = (
    "channel_closed",
    "channel_created",
    "connection_closed",
    "connection_created",
    "queue_created",
    "queue_declared",
    "queue_deleted",
)


_MANY: Final = 10_000
"""Queues and connections that are looked at without a pause."""


def message_counts(view: NodeView, vhost: VirtualHost | None = None) -> MessageCounts:
    """Return what all channels of the node have counted, or those of one virtual host, closed ones too."""
    ended = view.broker.ended_channels if vhost is None else vhost.ended_channels
    open_now = (channel.counts.read() for _, channel in view.channels() if vhost is None or channel.vhost is vhost)
    return _sum((ended, *open_now))


def _sum(counts: Iterable[MessageCounts]) -> MessageCounts:
    return MessageCounts(*map(sum, zip(*counts, strict=True)))


def is_large(view: NodeView) -> bool:
    """Is there too much on this node to be added up at once?"""
    connections = len(view.broker.open_connections)
    return connections + sum([len(vhost.queues) for vhost in view.vhosts.values()]) > _MANY


def message_figures(view: NodeView) -> dict[str, int]:
    """Return by RabbitMQ's names what has become of messages, and how many are in queues: of a large node as it was at
    the last sample, a few seconds ago.
    """
    sampled = view.history.totals(view) if is_large(view) else {}
    if sampled:
        return {name: sampled[name] for name in (*OF_CHANNELS, *OF_LENGTH)}
    return {**counted(message_counts(view)), **lengths(view)}


def churn(view: NodeView) -> dict[str, int]:
    """Return what has come and gone on the node."""
    counted = view.broker.churn
    return {name: getattr(counted, name) for name in CHURN}


def lengths(view: NodeView, vhost: str | None = None) -> dict[str, int]:
    """Return how many messages are in the queues of one virtual host, or of all, on this node."""
    ready = unacked = 0
    for queue in view.queues(vhost):
        ready += queue.ready_count
        unacked += queue.unacked_count
    return {"messages": ready + unacked, "messages_ready": ready, "messages_unacknowledged": unacked}


def objects(view: NodeView) -> dict[str, int]:
    """Return how many objects there are: of connections, channels and consumers those of this node."""
    connections = view.connections()
    channels = [channel for _, channel in view.channels()]
    return {
        "channels": len(channels),
        "connections": len(connections),
        "consumers": sum([len(channel.consumers) for channel in channels]),
        "exchanges": sum([len(vhost.exchanges) for vhost in view.vhosts.values()]),
        "queues": sum([len(vhost.queues) for vhost in view.vhosts.values()]),
    }
