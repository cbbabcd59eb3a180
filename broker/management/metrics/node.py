"""What metrics there are of the node as a whole, in RabbitMQ's names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from broker.management.figures.view import NodeView
from broker.management.metrics.exposition import Column, family, histogram, labels, one
from broker.queue.counts import CountsInQueue
from broker.queue.outcome import EXPIRED, OVER_DELIVERED, OVER_LENGTH, REJECTED
from broker.topology.counts import SIZE_BOUNDS, MessageCounts

PREFIX: Final = "rabbitmq_"
_AMQP: Final = labels({"protocol": "amqp091"})
_CLASSIC: Final = labels({"protocol": "amqp091", "queue_type": "rabbit_classic_queue"})
_DEAD: Final = {
    "expired": EXPIRED,
    "rejected": REJECTED,
    "maxlen": OVER_LENGTH,
    "delivery_limit": OVER_DELIVERED,
}
_SIZES: Final = ("100.0", "1000.0", "10000.0", "100000.0", "1e+06", "1e+07", "5e+07", "1e+08")
assert [float(bound) for bound in _SIZES] == list(SIZE_BOUNDS)


def node_families(view: NodeView, endpoint: str) -> Iterator[str]:
    """Yield what has no object: who the node is, what has come and gone, what it uses."""
    yield identity(view, endpoint)
    version = {
        "rabbitmq_version": view.api_version,
        "prometheus_plugin_version": view.version,
        "prometheus_client_version": view.version,
        "erlang_version": view.platform,
    }
    yield family(PREFIX, Column("build_info", "untyped", "Versions"), [(labels(version), 1)])
    yield from _came_and_went(view)
    yield from _machine(view)


def identity(view: NodeView, endpoint: str) -> str:
    """Return who the node is. The official board joins everything with that."""
    who = {
        "rabbitmq_node": view.name,
        "rabbitmq_cluster": view.cluster_name,
        "rabbitmq_cluster_permanent_id": view.named("internal_cluster_id") or view.cluster_name,
        "rabbitmq_endpoint": endpoint,
    }
    return family(PREFIX, Column("identity_info", "untyped", "Node and cluster"), [(labels(who), 1)])


def _came_and_went(view: NodeView) -> Iterator[str]:
    churn = view.broker.churn
    for name, value in (
        ("connections_opened_total", churn.connection_created),
        ("connections_closed_total", churn.connection_closed),
        ("channels_opened_total", churn.channel_created),
        ("channels_closed_total", churn.channel_closed),
        ("queues_declared_total", churn.queue_declared),
        ("queues_created_total", churn.queue_created),
        ("queues_deleted_total", churn.queue_deleted),
    ):
        what, _, how = name.removesuffix("_total").partition("_")
        yield one(PREFIX, Column(name, "counter", f"Total number of {what} {how}"), value)
    attempts = churn.auth_successes + churn.auth_failures
    for name, text, value in (
        ("auth_attempts_total", "Total number of logins that were tried", attempts),
        ("auth_attempts_succeeded_total", "Total number of logins", churn.auth_successes),
        ("auth_attempts_failed_total", "Total number of logins that were refused", churn.auth_failures),
    ):
        yield family(PREFIX, Column(name, "counter", text), [(_AMQP, value)])


def _machine(view: NodeView) -> Iterator[str]:
    machine = view.machine()
    for name, text, value in (
        ("process_open_fds", "Open file descriptors", machine.descriptors_used),
        ("process_max_fds", "Open file descriptors limit", machine.descriptors_total),
        ("process_open_tcp_sockets", "Connections of clients", len(view.connections())),
        ("process_max_tcp_sockets", "Connections that clients may have", machine.sockets_total),
        ("process_resident_memory_bytes", "Memory used in bytes", machine.memory_used),
        ("resident_memory_limit_bytes", "Memory high watermark in bytes", machine.memory_limit),
        ("disk_space_available_bytes", "Disk space available in bytes", machine.disk_free),
        ("disk_space_available_limit_bytes", "Free disk space low watermark in bytes", machine.disk_limit),
        ("erlang_processes_used", "Channels", sum(1 for _ in view.channels())),
        ("erlang_processes_limit", "Always the same here", 1_048_576),
        ("erlang_scheduler_run_queue", "Always 0 here", 0),
        ("erlang_net_ticktime_seconds", "Always the same here", 60),
        ("erlang_uptime_seconds", "Node uptime", (view.now_ms() - view.started_ms) / 1000),
        ("alarms_memory_used_watermark", "Is memory short?", int(machine.is_memory_short)),
        ("alarms_free_disk_space_watermark", "Is the disk short?", int(machine.is_disk_short)),
        ("alarms_file_descriptor_limit", "Always 0 here", 0),
    ):
        yield one(PREFIX, Column(name, "gauge", text), value)


def object_families(connections: int, channels: int, consumers: int, queues: int) -> Iterator[str]:
    """Yield how many objects there are."""
    yield one(PREFIX, Column("connections", "gauge", "Connections currently open"), connections)
    yield one(PREFIX, Column("channels", "gauge", "Channels currently open"), channels)
    yield one(PREFIX, Column("consumers", "gauge", "Consumers currently connected"), consumers)
    yield one(PREFIX, Column("queues", "gauge", "Queues available"), queues)


def global_families(counts: MessageCounts, publishers: int, consumers: int) -> Iterator[str]:
    """Yield what all channels together have done."""
    for name, text, value in (
        ("messages_received_total", "Messages received from publishers", counts.publish),
        ("messages_received_confirm_total", "Messages received to be confirmed", counts.publish_in_confirm_mode),
        ("messages_confirmed_total", "Messages confirmed to publishers", counts.confirm),
        ("messages_routed_total", "Messages routed to queues", counts.routed),
        ("messages_unroutable_returned_total", "Unroutable messages returned", counts.return_unroutable),
        ("messages_unroutable_dropped_total", "Unroutable messages dropped", counts.drop_unroutable),
    ):
        yield family(f"{PREFIX}global_", Column(name, "counter", text), [(_AMQP, value)])
    delivered = counts.deliver + counts.deliver_no_ack + counts.get + counts.get_no_ack
    for name, text, value in (
        ("messages_delivered_total", "Messages delivered to consumers and basic.get", delivered),
        ("messages_delivered_consume_manual_ack_total", "Deliveries to be acknowledged", counts.deliver),
        ("messages_delivered_consume_auto_ack_total", "Deliveries acknowledged automatically", counts.deliver_no_ack),
        ("messages_delivered_get_manual_ack_total", "Messages of basic.get to be acknowledged", counts.get),
        ("messages_delivered_get_auto_ack_total", "Messages of basic.get acknowledged at once", counts.get_no_ack),
        ("messages_get_empty_total", "Times that basic.get fetched no message", counts.get_empty),
        ("messages_redelivered_total", "Messages delivered again", counts.redeliver),
        ("messages_acknowledged_total", "Messages acknowledged", counts.ack),
    ):
        yield family(f"{PREFIX}global_", Column(name, "counter", text), [(_CLASSIC, value)])
    yield family(
        f"{PREFIX}global_", Column("publishers", "gauge", "Channels that have published"), [(_AMQP, publishers)]
    )
    yield family(f"{PREFIX}global_", Column("consumers", "gauge", "Consumers"), [(_AMQP, consumers)])


def death_families(counts: CountsInQueue) -> Iterator[str]:
    """Yield how many messages have died, by reason: dead-lettered, or gone."""
    buried = counts.buried or [0] * len(counts.settled)
    for reason, outcome in _DEAD.items():
        dead, on_their_way = counts.settled[outcome.number], buried[outcome.number]
        column = Column(f"messages_dead_lettered_{reason}_total", "counter", f"Messages that have died: {reason}")
        by_strategy = {"at_most_once": on_their_way, "disabled": dead - on_their_way}
        yield family(
            f"{PREFIX}global_",
            column,
            [
                (labels({"queue_type": "rabbit_classic_queue", "dead_letter_strategy": strategy}), value)
                for strategy, value in by_strategy.items()
            ],
        )


def size_family(view: NodeView) -> str:
    """Return how large messages are that were published."""
    sizes = view.broker.message_sizes
    column = Column("message_size_bytes", "histogram", "Sizes of messages received, concluded from some of them")
    return histogram(PREFIX, column, _SIZES, sizes.counts, sizes.octets, _AMQP)
