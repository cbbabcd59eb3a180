"""What metrics there are of each object, in RabbitMQ's groups and names.

The names of the groups are those that `/metrics/detailed?family=` takes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from broker.amqp.channel import Channel
from broker.amqp.connection import Connection
from broker.amqp.consumer import Consumer
from broker.management.figures.connections import channel_name
from broker.management.figures.queues import counts_of, head_timestamp, octets_unacked
from broker.management.figures.view import NodeView
from broker.management.metrics.exposition import Column, labels
from broker.queue.queue import Queue
from broker.topology.exchange import Exchange
from broker.topology.vhost import VirtualHost

Row = Callable[[Any], Sequence[float]]


@dataclass(frozen=True, slots=True)
class Group:
    """Families of metrics that are read from an object together."""

    name: str
    columns: tuple[Column, ...]
    row: Row
    """Returns the values of an object, in the order of the columns."""
    is_summed: bool = True
    """Does the sum over all objects tell something? If not, the group is not part of `/metrics`."""


def _counters(*columns: tuple[str, str]) -> tuple[Column, ...]:
    return tuple(Column(name, "counter", text) for name, text in columns)


def _gauges(*columns: tuple[str, str]) -> tuple[Column, ...]:
    return tuple(Column(name, "gauge", text) for name, text in columns)


# Queues


def _coarse(queue: Queue) -> Sequence[float]:
    ready, unacked = queue.ready_count, queue.unacked_count
    return ready, unacked, ready + unacked, 0


def _consumer_count(queue: Queue) -> Sequence[float]:
    return (len(queue.consumers),)


_NO_CONTENT: Final = (0,) * 14


def _content(queue: Queue) -> Sequence[float]:
    if not queue.consumers and not queue.ready_count and not queue.unacked_count:
        return _NO_CONTENT
    stock = queue.stock()
    consumers = [each for each in queue.consumers if isinstance(each, Consumer)]
    unacked = octets_unacked(consumers, stock)
    is_served = 1 if consumers and not stock.ready else 0
    return (
        is_served,
        is_served,
        stock.octets_in_memory,
        stock.in_memory + stock.unacked,
        stock.octets_in_memory + unacked,
        stock.in_memory,
        stock.unacked,
        stock.persistent,
        stock.octets_persistent,
        stock.octets_ready + unacked,
        stock.octets_ready,
        unacked,
        stock.paged_out,
        stock.octets_ready - stock.octets_in_memory,
    )


def _deliveries(queue: Queue) -> Sequence[float]:
    counts = counts_of(queue)
    return (
        counts.got,
        counts.got_no_ack,
        counts.delivered,
        counts.delivered_no_ack,
        counts.redelivered,
        counts.acked,
        counts.got_nothing,
    )


def _published(queue: Queue) -> Sequence[float]:
    return (counts_of(queue).published,)


def _head(queue: Queue) -> Sequence[float]:
    head = queue.stock().head
    return (0 if head is None else head_timestamp(head),)


OF_QUEUES: Final = (
    Group(
        "queue_coarse_metrics",
        (
            *_gauges(
                ("queue_messages_ready", "Messages ready to be delivered to consumers"),
                ("queue_messages_unacked", "Messages delivered to consumers but not yet acknowledged"),
                ("queue_messages", "Sum of ready and unacknowledged messages"),
            ),
            *_counters(("queue_process_reductions_total", "Always 0 here")),
        ),
        _coarse,
    ),
    Group("queue_consumer_count", _gauges(("queue_consumers", "Consumers on a queue")), _consumer_count),
    Group(
        "queue_metrics",
        _gauges(
            ("queue_consumer_capacity", "Whether consumers take all there is"),
            ("queue_consumer_utilisation", "Same as consumer capacity"),
            ("queue_process_memory_bytes", "Size of ready messages in memory"),
            ("queue_messages_ram", "Ready and unacknowledged messages in memory"),
            ("queue_messages_ram_bytes", "Size of ready and unacknowledged messages in memory"),
            ("queue_messages_ready_ram", "Ready messages in memory"),
            ("queue_messages_unacked_ram", "Unacknowledged messages in memory"),
            ("queue_messages_persistent", "Persistent ready messages"),
            ("queue_messages_persistent_bytes", "Size in bytes of persistent ready messages"),
            ("queue_messages_bytes", "Size in bytes of ready and unacknowledged messages"),
            ("queue_messages_ready_bytes", "Size in bytes of ready messages"),
            ("queue_messages_unacked_bytes", "Size in bytes of unacknowledged messages"),
            ("queue_messages_paged_out", "Ready messages that only the store has"),
            ("queue_messages_paged_out_bytes", "Size in bytes of ready messages that only the store has"),
        ),
        _content,
    ),
    Group(
        "queue_delivery_metrics",
        _counters(
            ("queue_get_ack_total", "Messages fetched with basic.get, to be acknowledged"),
            ("queue_get_total", "Messages fetched with basic.get, acknowledged automatically"),
            ("queue_messages_delivered_ack_total", "Messages delivered to consumers, to be acknowledged"),
            ("queue_messages_delivered_total", "Messages delivered to consumers, acknowledged automatically"),
            ("queue_messages_redelivered_total", "Messages delivered again"),
            ("queue_messages_acked_total", "Messages acknowledged"),
            ("queue_get_empty_total", "Times that basic.get fetched no message"),
        ),
        _deliveries,
    ),
    Group(
        "channel_queue_exchange_metrics",
        _counters(("queue_messages_published_total", "Messages published into a queue")),
        _published,
    ),
    Group(
        "queue_head_message",
        _gauges(("queue_head_message_timestamp", "Timestamp of the first message in the queue, 0 without one")),
        _head,
        is_summed=False,
    ),
)


# Channels


def _channel(pair: tuple[Connection, Channel]) -> Sequence[float]:
    channel = pair[1]
    deliveries, publisher = channel.deliveries, channel.publisher
    confirms, transaction = publisher.confirms, publisher.transaction
    return (
        len(channel.consumers),
        len(deliveries.unacked) + len(deliveries.held),
        0 if confirms is None else confirms.published - confirms.confirmed,
        0 if transaction is None else len(transaction.publications),
        0 if transaction is None else len(transaction.settled),
        deliveries.consumer_prefetch,
        deliveries.prefetch,
    )


def _channel_publishes(pair: tuple[Connection, Channel]) -> Sequence[float]:
    counts = pair[1].counts.read()
    return counts.publish, counts.confirm, counts.return_unroutable, counts.drop_unroutable


def _channel_deliveries(pair: tuple[Connection, Channel]) -> Sequence[float]:
    counts = pair[1].counts.read()
    return (
        counts.get,
        counts.get_no_ack,
        counts.deliver,
        counts.deliver_no_ack,
        counts.redeliver,
        counts.ack,
        counts.get_empty,
    )


def _nothing(pair: tuple[Connection, Channel]) -> Sequence[float]:
    return (0,)


OF_CHANNELS: Final = (
    Group(
        "channel_metrics",
        _gauges(
            ("channel_consumers", "Consumers on a channel"),
            ("channel_messages_unacked", "Delivered but not yet acknowledged messages"),
            ("channel_messages_unconfirmed", "Published but not yet confirmed messages"),
            ("channel_messages_uncommitted", "Messages received in a transaction but not yet committed"),
            ("channel_acks_uncommitted", "Message acknowledgements in a transaction not yet committed"),
            ("consumer_prefetch", "Limit of unacknowledged messages for each consumer"),
            ("channel_prefetch", "Total limit of unacknowledged messages for all consumers on a channel"),
        ),
        _channel,
    ),
    Group(
        "channel_exchange_metrics",
        _counters(
            ("channel_messages_published_total", "Messages published on a channel"),
            ("channel_messages_confirmed_total", "Messages published on a channel and confirmed"),
            ("channel_messages_unroutable_returned_total", "Messages returned to the publisher as unroutable"),
            ("channel_messages_unroutable_dropped_total", "Messages dropped as unroutable"),
        ),
        _channel_publishes,
    ),
    Group(
        "channel_queue_metrics",
        _counters(
            ("channel_get_ack_total", "Messages fetched with basic.get, to be acknowledged"),
            ("channel_get_total", "Messages fetched with basic.get, acknowledged automatically"),
            ("channel_messages_delivered_ack_total", "Messages delivered to consumers, to be acknowledged"),
            ("channel_messages_delivered_total", "Messages delivered to consumers, acknowledged automatically"),
            ("channel_messages_redelivered_total", "Messages delivered again"),
            ("channel_messages_acked_total", "Messages acknowledged by consumers"),
            ("channel_get_empty_total", "Times that basic.get fetched no message"),
        ),
        _channel_deliveries,
    ),
    Group("channel_process_metrics", _counters(("channel_process_reductions_total", "Always 0 here")), _nothing),
)


# Connections


def _connection_octets(connection: Connection) -> Sequence[float]:
    return connection.received, connection.output.sent, 0


def _connection(connection: Connection) -> Sequence[float]:
    return connection.reads, connection.output.writes, 0, connection.channel_count


OF_CONNECTIONS: Final = (
    Group(
        "connection_coarse_metrics",
        _counters(
            ("connection_incoming_bytes_total", "Bytes received on a connection"),
            ("connection_outgoing_bytes_total", "Bytes sent on a connection"),
            ("connection_process_reductions_total", "Always 0 here"),
        ),
        _connection_octets,
    ),
    Group(
        "connection_metrics",
        (
            *_counters(
                ("connection_incoming_packets_total", "Reads from a connection"),
                ("connection_outgoing_packets_total", "Writes to a connection"),
            ),
            *_gauges(
                ("connection_pending_packets", "Always 0 here"),
                ("connection_channels", "Channels on a connection"),
            ),
        ),
        _connection,
    ),
)


# Exchanges


def _exchange(pair: tuple[VirtualHost, Exchange]) -> Sequence[float]:
    return (pair[1].published_in,)


def _bindings(pair: tuple[VirtualHost, Exchange]) -> Sequence[float]:
    return (len(pair[1].bindings),)


def _one(thing: Any) -> Sequence[float]:
    return (1,)


OF_EXCHANGES: Final = (
    Group(
        "exchange_metrics",
        _counters(("exchange_messages_published_total", "Messages published into an exchange")),
        _exchange,
    ),
)
OF_CLUSTER_EXCHANGES: Final = (
    Group("exchange_bindings", _gauges(("exchange_bindings", "Bindings of an exchange")), _bindings, is_summed=False),
    Group("exchange_names", _gauges(("exchange_name", "The exchanges there are")), _one, is_summed=False),
)
OF_VHOSTS: Final = (
    Group("vhost_status", _gauges(("vhost_status", "Whether a virtual host is served")), _one, is_summed=False),
)


# Where the objects are, and how they are named


def _queues(view: NodeView, vhosts: Sequence[str] | None) -> Iterator[Queue]:
    return _of_vhosts(view, vhosts, view.queues)


def _queue_labels(queue: Queue) -> str:
    return labels({"vhost": queue.vhost, "queue": queue.name})


def _exchanges(view: NodeView, vhosts: Sequence[str] | None) -> Iterator[tuple[VirtualHost, Exchange]]:
    return _of_vhosts(view, vhosts, view.exchanges)


def _exchange_labels(pair: tuple[VirtualHost, Exchange]) -> str:
    return labels({"vhost": pair[0].name, "exchange": pair[1].name})


def _typed_exchange_labels(pair: tuple[VirtualHost, Exchange]) -> str:
    return labels({"vhost": pair[0].name, "exchange": pair[1].name, "type": pair[1].type})


def _virtual_hosts(view: NodeView, vhosts: Sequence[str] | None) -> Iterator[VirtualHost]:
    return (vhost for vhost in list(view.vhosts.values()) if vhosts is None or vhost.name in vhosts)


def _vhost_labels(vhost: VirtualHost) -> str:
    return labels({"vhost": vhost.name})


def _channels(view: NodeView, vhosts: Sequence[str] | None) -> Iterator[tuple[Connection, Channel]]:
    return (pair for pair in view.channels() if vhosts is None or pair[0].vhost in vhosts)


def _channel_labels(pair: tuple[Connection, Channel]) -> str:
    return labels({"channel": channel_name(*pair)})


def _connections(view: NodeView, vhosts: Sequence[str] | None) -> Iterator[Connection]:
    return (connection for connection in view.connections() if vhosts is None or connection.vhost in vhosts)


def _connection_labels(connection: Connection) -> str:
    return labels({"connection": connection.handshake.peer.connection_name})


def _of_vhosts(view: NodeView, vhosts: Sequence[str] | None, found: Callable[[str], Iterator[Any]]) -> Iterator[Any]:
    for name in list(view.vhosts) if vhosts is None else [each for each in vhosts if each in view.vhosts]:
        yield from list(found(name))


@dataclass(frozen=True, slots=True)
class Objects:
    """The objects of one kind that have metrics."""

    groups: tuple[Group, ...]
    find: Callable[[NodeView, Sequence[str] | None], Iterator[Any]]
    """Yields those in virtual hosts of these names, or in all."""
    labels: Callable[[Any], str]
    """Returns what names one of them, as it stands behind the name of a metric."""


OBJECTS: Final = (
    Objects(OF_CHANNELS, _channels, _channel_labels),  # first: queues and exchanges hear of the last publishes by that
    Objects(OF_CONNECTIONS, _connections, _connection_labels),
    Objects(OF_QUEUES, _queues, _queue_labels),
    Objects(OF_EXCHANGES, _exchanges, _exchange_labels),
)
OF_CLUSTER: Final = (
    Objects(OF_CLUSTER_EXCHANGES, _exchanges, _typed_exchange_labels),
    Objects(OF_VHOSTS, _virtual_hosts, _vhost_labels),
)
