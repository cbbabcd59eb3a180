"""What the configuration says to the parts of a node: the limits of clients, the watermarks, the dialects."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from broker.amqp.opening_rate import OpeningRates
from broker.amqp.publisher_flow import FlowLimits
from broker.broker import Limits
from broker.config.configuration import Configuration
from broker.node.allocator import give_back_freed_memory
from broker.server.back_pressure import BackPressure
from broker.server.memory_limit import total_memory
from broker.server.reclaim import reclaims
from broker.server.resource_monitor import ResourceMonitor, Thresholds, disk_free_octets, resident_octets
from broker.topology.dialect import DIALECTS, ChannelRules, ClientDialect


def dialect_of(config: Configuration, vhost: str) -> ClientDialect:
    """Return the dialect of a virtual host, with what is configured of it."""
    dialect = DIALECTS[config.virtual_hosts.dialect_of(vhost)]
    amqp, expiration = config.transports.amqp, config.performance_tuning.message_expiration
    rules = ChannelRules(
        redeliveries=amqp.maximum_redelivery_attempts,
        moves_expired=amqp.send_expired_messages_to_dlc or expiration.move_expired_messages_to_dlc,
        keeps_expiration=expiration.expire_messages_in_dlc,
    )
    return replace(
        dialect,
        shares_subscriptions=amqp.allow_shared_topic_subscriptions,
        channel=None if dialect.channel is None else rules,
    )


def client_limits(config: Configuration) -> Limits:
    """Return the limits of what one client may ask for."""
    limits, qpid = config.limits, config.qpid
    return Limits(
        channel_max=qpid.maximum_channel_count,
        frame_max=qpid.advanced.frame_size_bytes,
        heartbeat=qpid.heartbeat.delay,
        heartbeat_timeout_factor=qpid.heartbeat.timeout_factor,
        handshake_timeout=limits.handshake_timeout,
        max_message_size=limits.max_message_size_bytes,
        max_consumers_per_channel=limits.max_consumers_per_channel,
        max_connections=limits.max_connections,
        max_channel_rate=limits.max_channel_rate,
        max_uncommitted_bytes=config.transaction.max_uncommitted_bytes,
        max_dtx_channels=config.transaction.max_parallel_dtx_channels,
    )


def flow_limits(config: Configuration) -> FlowLimits:
    """Return how much of clients that are asked by channel.flow may wait for the store."""
    channel, node = config.flow_control.buffer_based, config.flow_control.all_channels
    return FlowLimits(channel.low_limit, channel.high_limit, node.low_limit, node.high_limit)


def openings(config: Configuration) -> OpeningRates | None:
    """Return the rates at which users may open connections; None when there is no limit."""
    per_second = config.limits.max_connection_rate_per_user
    return OpeningRates(per_second) if per_second else None


def thresholds(config: Configuration) -> Thresholds:
    """Return how much memory and how little of the disk raise an alarm."""
    limits = config.limits
    is_on_our_disk = config.store_url.engine == "sqlite"
    return Thresholds(
        int(total_memory() * limits.memory_high_watermark),
        limits.disk_free_limit_bytes if is_on_our_disk else 0,
    )


def resource_monitor(config: Configuration, thresholds: Thresholds, pressure: BackPressure) -> ResourceMonitor:
    """Return the monitor of memory and disk, which tells `pressure`."""
    path = config.store_url.path
    folder = path.resolve().parent if path is not None else Path.cwd()
    return ResourceMonitor(
        thresholds,
        partial(pressure.set_alarm, "resources"),
        resident=resident_octets,
        disk_free=lambda: disk_free_octets(folder),
        reclaims=reclaims(give_back_freed_memory),
    )
