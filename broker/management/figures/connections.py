"""Connections and channels, with RabbitMQ's keys."""

from __future__ import annotations

from typing import Any, Final

from broker.amqp.channel import Channel
from broker.amqp.connection import Connection
from broker.management.figures.history import NO_SAMPLES, SampleSpans, with_details
from broker.management.figures.messages import message_stats
from broker.management.figures.view import GARBAGE_COLLECTION, NodeView
from broker.topology.json_form import plain

_NO_TLS: Final = ("", "")


def connection_figures(view: NodeView, connection: Connection, spans: SampleSpans = NO_SAMPLES) -> dict[str, Any]:
    """Return one connection as `/api/connections/{name}` has it."""
    handshake, output = connection.handshake, connection.output
    peer = handshake.peer
    properties = plain(handshake.client_properties)
    tls, cipher = peer.tls or _NO_TLS
    octets = {"recv_oct": connection.received, "send_oct": output.sent}
    return {
        **with_details(octets, view.history, connection, spans.data_rates),
        "auth_mechanism": handshake.mechanism,
        "channel_max": handshake.channel_max,
        "channels": connection.channel_count,
        "client_properties": properties,
        "connected_at": peer.since_ms,
        "frame_max": output.frame_max,
        "garbage_collection": GARBAGE_COLLECTION,
        "host": peer.local_host,
        "name": peer.connection_name,
        "node": view.name,
        "peer_cert_issuer": None,
        "peer_cert_subject": None,
        "peer_cert_validity": None,
        "peer_host": peer.host,
        "peer_port": peer.port,
        "port": peer.local_port,
        "protocol": "AMQP 0-9-1",
        "recv_cnt": connection.reads,
        "reductions": 0,
        "reductions_details": {"rate": 0.0},
        "send_cnt": output.writes,
        "send_pend": 0,
        "ssl": peer.tls is not None,
        "ssl_cipher": cipher or None,
        "ssl_hash": None,
        "ssl_key_exchange": None,
        "ssl_protocol": tls or None,
        "state": connection_state(connection),
        "timeout": int(handshake.heartbeat),
        "type": "network",
        "user": connection.user,
        "user_provided_name": str(properties.get("connection_name", "")),
        "user_who_performed_action": connection.user,
        "vhost": connection.vhost,
    }


def connection_state(connection: Connection) -> str:
    """Return RabbitMQ's word for what the connection does."""
    if connection.is_ending:
        return "closing"
    return "blocked" if connection.blocked_reason else "running"


def connection_details(connection: Connection) -> dict[str, Any]:
    """Return how other objects name a connection."""
    peer = connection.handshake.peer
    return {"name": peer.connection_name, "peer_host": peer.host, "peer_port": peer.port}


def channel_name(connection: Connection, channel: Channel) -> str:
    """Return the name by which operators know a channel."""
    return f"{connection.handshake.peer.connection_name} ({channel.id})"


def channel_details(view: NodeView, connection: Connection, channel: Channel) -> dict[str, Any]:
    """Return how other objects name a channel."""
    peer = connection.handshake.peer
    return {
        "connection_name": peer.connection_name,
        "name": channel_name(connection, channel),
        "node": view.name,
        "number": channel.id,
        "peer_host": peer.host,
        "peer_port": peer.port,
        "user": connection.user,
    }


def channel_figures(
    view: NodeView, connection: Connection, channel: Channel, spans: SampleSpans = NO_SAMPLES
) -> dict[str, Any]:
    """Return one channel as `/api/channels/{name}` has it."""
    deliveries, publisher = channel.deliveries, channel.publisher
    confirms, transaction = publisher.confirms, publisher.transaction
    return {
        "acks_uncommitted": 0 if transaction is None else len(transaction.settled),
        "confirm": confirms is not None,
        "connection_details": connection_details(connection),
        "consumer_count": len(channel.consumers),
        "garbage_collection": GARBAGE_COLLECTION,
        "global_prefetch_count": deliveries.prefetch,
        "message_stats": message_stats(channel.counts.read(), view.history, channel, spans.msg_rates),
        "messages_unacknowledged": len(deliveries.unacked) + len(deliveries.held),
        "messages_uncommitted": 0 if transaction is None else len(transaction.publications),
        "messages_unconfirmed": 0 if confirms is None else confirms.published - confirms.confirmed,
        "name": channel_name(connection, channel),
        "node": view.name,
        "number": channel.id,
        "pending_raft_commands": 0,
        "prefetch_count": deliveries.consumer_prefetch,
        "reductions": 0,
        "reductions_details": {"rate": 0.0},
        "state": "running" if deliveries.is_flowing else "flow",
        "transactional": transaction is not None,
        "user": connection.user,
        "user_who_performed_action": connection.user,
        "vhost": connection.vhost,
    }
