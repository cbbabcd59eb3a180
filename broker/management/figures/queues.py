"""Queues and consumers, with RabbitMQ's keys."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final

from broker.amqp.channel import Channel
from broker.amqp.connection import Connection
from broker.amqp.consumer import Consumer
from broker.codec.properties import decode_properties
from broker.errors import AmqpError
from broker.management.figures.connections import channel_details, channel_figures
from broker.management.figures.history import NO_SAMPLES, SampleSpans, with_details
from broker.management.figures.messages import counted_in_queue
from broker.management.figures.view import GARBAGE_COLLECTION, NodeView
from broker.message import Message, published_ms
from broker.queue.counts import CountsInQueue
from broker.queue.queue import Queue
from broker.queue.stock import Stock
from broker.topology.json_form import plain
from broker.topology.policies import NO_POLICY, Effective

_SAMPLE: Final = 64
_QUEUE_OVERHEAD: Final = 4096
"""About what an empty queue occupies, in octets."""
_BACKING = {"q1": 0, "q2": 0, "q3": 0, "q4": 0, "target_ram_count": "infinity", "version": 2, "mode": "default"}


def counts_of(queue: Queue) -> CountsInQueue:
    """Return what a queue has counted, with its levels."""
    if len(queue.levels) == 1 and queue.levels[0] is queue:
        return queue.counts
    together = CountsInQueue()
    together.add(queue.counts)
    for level in queue.levels:
        together.add(level.counts)
    return together


def definition_figures(view: NodeView, queue: Queue) -> dict[str, Any]:
    """Return of a queue what does not change by itself: what `/api/queues?disable_stats=true` has."""
    return {
        "arguments": plain(queue.arguments),
        "auto_delete": queue.auto_delete,
        "durable": queue.durable,
        "exclusive": queue.is_exclusive,
        "name": queue.name,
        "node": view.name,
        "state": "running",
        "type": queue.settings.type.value,
        "vhost": queue.vhost,
    }


def length_figures(view: NodeView, queue: Queue, spans: SampleSpans = NO_SAMPLES) -> dict[str, Any]:
    """Return how many messages a queue has on this node."""
    ready, unacked = queue.ready_count, queue.unacked_count
    lengths = {"messages": ready + unacked, "messages_ready": ready, "messages_unacknowledged": unacked}
    return with_details(lengths, view.history, queue, spans.lengths)


def queue_figures(view: NodeView, queue: Queue, spans: SampleSpans = NO_SAMPLES) -> dict[str, Any]:
    """Return one queue as `/api/queues` lists it, as far as it is on this node."""
    stock = queue.stock()
    policy = _policy_of(view, queue)
    consumers = [each for each in queue.consumers if isinstance(each, Consumer)]
    unacked = octets_unacked(consumers, stock)
    is_served = bool(consumers) and not stock.ready
    active = queue.turns.active
    exclusive = next((each.consumer_tag for each in consumers if each.is_exclusive), None)
    figures = {
        **definition_figures(view, queue),
        "backing_queue_status": {**_BACKING, "len": stock.ready},
        "consumer_capacity": 1.0 if is_served else 0.0,
        "consumer_utilisation": 1.0 if is_served else 0.0,
        "consumers": len(consumers),
        "effective_policy_definition": dict(policy.definition),
        "exclusive_consumer_tag": exclusive,
        "garbage_collection": GARBAGE_COLLECTION,
        "head_message_timestamp": None if stock.head is None else head_timestamp(stock.head),
        "memory": _QUEUE_OVERHEAD + stock.octets_in_memory,
        "message_bytes": stock.octets_ready + unacked,
        "message_bytes_paged_out": stock.octets_ready - stock.octets_in_memory,
        "message_bytes_persistent": stock.octets_persistent,
        "message_bytes_ram": stock.octets_in_memory + unacked,
        "message_bytes_ready": stock.octets_ready,
        "message_bytes_unacknowledged": unacked,
        "message_stats": with_details(counted_in_queue(counts_of(queue)), view.history, queue, spans.msg_rates),
        **length_figures(view, queue, spans),
        "messages_paged_out": stock.paged_out,
        "messages_persistent": stock.persistent,
        "messages_ram": stock.in_memory + stock.unacked,
        "messages_ready_ram": stock.in_memory,
        "messages_unacknowledged_ram": stock.unacked,
        "operator_policy": policy.operator_policy,
        "policy": policy.policy,
        "recoverable_slaves": None,
        "reductions": 0,
        "reductions_details": {"rate": 0.0},
        "single_active_consumer_tag": active.consumer_tag if isinstance(active, Consumer) else None,
    }
    idle_since = view.history.idle_since(queue)
    if idle_since is not None:
        figures["idle_since"] = datetime.fromtimestamp(idle_since / 1000, UTC).isoformat(timespec="milliseconds")
    return figures


def head_timestamp(message: Message) -> int:
    """Return the property timestamp of a message, or if it has none when it was published, in seconds since 1970."""
    try:
        timestamp = decode_properties(message.header_payload).timestamp
    except AmqpError:  # of another program, or an earlier version
        timestamp = None
    return published_ms(message.id) // 1000 if timestamp is None else timestamp


def octets_unacked(consumers: Iterable[Consumer], stock: Stock) -> int:
    """Return the octets that clients hold: concluded from some of their messages, or from those that are ready."""
    if not stock.unacked:
        return 0
    sizes: list[int] = []
    for consumer in consumers:
        sizes += [message.size for message in consumer.some_unacked(_SAMPLE - len(sizes))]
        if len(sizes) >= _SAMPLE:
            break
    if sizes:
        return sum(sizes) * stock.unacked // len(sizes)
    return stock.octets_ready * stock.unacked // stock.ready if stock.ready else 0


def _policy_of(view: NodeView, queue: Queue) -> Effective:
    vhost = view.vhosts.get(queue.vhost)
    return NO_POLICY if vhost is None else vhost.policies.of_queue(queue.name, queue.settings.type)


def consumer_figures(view: NodeView, connection: Connection, channel: Channel, consumer: Consumer) -> dict[str, Any]:
    """Return one consumer as `/api/consumers` has it."""
    queue = consumer.queue
    is_active = not queue.settings.single_active_consumer or queue.turns.active is consumer
    return {
        "ack_required": not consumer.no_ack,
        "active": is_active,
        "activity_status": "up" if is_active or not queue.settings.single_active_consumer else "waiting",
        "arguments": plain(consumer.arguments),
        "channel_details": channel_details(view, connection, channel),
        "consumer_tag": consumer.consumer_tag,
        "consumer_timeout": queue.settings.consumer_timeout or 0,
        "exclusive": consumer.is_exclusive,
        "prefetch_count": consumer.prefetch,
        "queue": {"name": queue.name, "vhost": queue.vhost},
        "unacknowledged": consumer.unacked,
        "user_who_performed_action": connection.user,
    }


def delivery_figures(view: NodeView, connection: Connection, channel: Channel, consumer: Consumer) -> dict[str, Any]:
    """Return what a queue tells of one that it delivers to, in `deliveries`."""
    deliver, no_ack = (0, consumer.delivered) if consumer.no_ack else (consumer.delivered, 0)
    stats = {
        "deliver": deliver,
        "deliver_get": consumer.delivered,
        "deliver_no_ack": no_ack,
        "redeliver": consumer.redelivered,
    }
    return {
        "channel_details": channel_details(view, connection, channel),
        "stats": with_details(stats, view.history, consumer),
    }


def consumer_and_delivery(
    view: NodeView, connection: Connection, channel: Channel, consumer: Consumer
) -> dict[str, Any]:
    """Return what its queue tells of one consumer: a row of `consumer_details`, and one of `deliveries`."""
    return {
        "consumer": consumer_figures(view, connection, channel, consumer),
        "delivery": delivery_figures(view, connection, channel, consumer),
    }


def channel_with_consumers(
    view: NodeView, connection: Connection, channel: Channel, spans: SampleSpans = NO_SAMPLES
) -> dict[str, Any]:
    """Return one channel as `/api/channels/{name}` has it: with its consumers."""
    places = [(connection, channel, each) for each in channel.consumers.values()]
    return {
        **channel_figures(view, connection, channel, spans),
        "consumer_details": [consumer_figures(view, *place) for place in places],
        "deliveries": [delivery_figures(view, *place) for place in places],
        "publishes": [],
    }
