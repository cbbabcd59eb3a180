"""Topologies as records: a hash to compare them by, and the changes that lead from one to another.

Knows records and changes only; knows no virtual host and no store.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from hashlib import blake2b
from itertools import groupby
from typing import Any, Final

from broker.ports.records import (
    BindingAdded,
    BindingRecord,
    BindingRemoved,
    Change,
    DestinationKind,
    ExchangeDeclared,
    ExchangeDeleted,
    QueueDeclared,
    QueueDeleted,
    SubscriptionAdded,
    SubscriptionRecord,
    SubscriptionRemoved,
    Topology,
    VirtualHostCreated,
    VirtualHostDeleted,
)
from broker.topology.subscriptions import incarnation_of

_MODULUS: Final = 1 << 128


def topology_hash(topology: Topology) -> str:
    """Return a hash of all that is recorded, whatever its order: equal on all nodes that applied the same events."""
    total = sum(_digest("vhost", name) for name in topology.vhosts)
    for exchange in topology.exchanges:
        total += _digest(
            "exchange", exchange.vhost, exchange.name, exchange.type, exchange.auto_delete, exchange.internal,
            exchange.durable, exchange.arguments,
        )  # fmt: skip
    for queue in topology.queues:
        total += _digest(
            "queue", queue.vhost, queue.name, queue.queue_id, queue.exclusive, queue.auto_delete, queue.durable,
            queue.node_id, queue.incarnation, queue.arguments,
        )  # fmt: skip
    for binding in topology.bindings:
        total += _digest(
            "binding", binding.vhost, binding.source, binding.destination_kind, binding.destination,
            binding.routing_key, binding.arguments,
        )  # fmt: skip
    for each in topology.subscriptions:
        total += _digest("subscription", each.queue_id, each.node_id, each.incarnation, each.exclusive)
    return f"{total % _MODULUS:032x}"


def _digest(*values: str | int | bytes) -> int:
    return int.from_bytes(blake2b(ascii(values).encode(), digest_size=16).digest(), "big")


# From a topology to changes


def changes_to(topology: Topology) -> Iterator[Change]:
    """Yield the changes that make `topology` out of nothing, in an order in which they can be applied."""
    yield from map(VirtualHostCreated, topology.vhosts)
    yield from map(ExchangeDeclared, topology.exchanges)
    yield from map(QueueDeclared, topology.queues)
    yield from map(BindingAdded, topology.bindings)
    yield from map(SubscriptionAdded, topology.subscriptions)


def changes_between(current: Topology, wanted: Topology) -> Iterator[Change]:
    """Yield the changes that make `wanted` out of `current`: what is surplus goes first."""
    vhosts = _surplus(current.vhosts, wanted.vhosts)
    exchanges = _surplus(current.exchanges, wanted.exchanges)
    queues = _surplus(current.queues, wanted.queues)
    ends: set[tuple[str, DestinationKind, str]] = {(each.vhost, "exchange", each.name) for each in exchanges}
    ends.update((each.vhost, "queue", each.name) for each in queues)
    left = [each for each in current.bindings if _has_both_ends(each, ends)]
    wanted_order, current_order = _by_queue(wanted), _by_queue(current)
    moved = {queue_id for queue_id, records in current_order.items() if records != wanted_order.get(queue_id)}
    moved.update(queue.queue_id for queue in queues)
    for binding in _surplus(left, wanted.bindings):
        yield BindingRemoved(binding)
    for subscription in current.subscriptions:
        if subscription.queue_id in moved:
            incarnation = incarnation_of(subscription)
            yield SubscriptionRemoved(subscription.queue_id, incarnation.node_id, incarnation.id)
    for queue in queues:
        yield QueueDeleted(queue.vhost, queue.name, queue.queue_id)
    for exchange in exchanges:
        yield ExchangeDeleted(exchange.vhost, exchange.name)
    yield from map(VirtualHostDeleted, vhosts)
    yield from changes_to(
        Topology(
            _surplus(wanted.vhosts, current.vhosts),
            _surplus(wanted.exchanges, current.exchanges),
            _surplus(wanted.queues, current.queues),
            _surplus(wanted.bindings, left),
            [each for each in wanted.subscriptions if each.queue_id in moved or each.queue_id not in current_order],
        )
    )


def _surplus(here: Iterable[Any], there: Iterable[Any]) -> list[Any]:
    known = set(there)
    return [each for each in here if each not in known]


def _has_both_ends(binding: BindingRecord, gone: set[tuple[str, DestinationKind, str]]) -> bool:
    source = (binding.vhost, "exchange", binding.source)
    return source not in gone and (binding.vhost, binding.destination_kind, binding.destination) not in gone


def _by_queue(topology: Topology) -> Mapping[int, list[SubscriptionRecord]]:
    ordered = sorted(topology.subscriptions, key=lambda each: each.queue_id)  # stable: the order of arrival stays
    return {queue_id: list(records) for queue_id, records in groupby(ordered, key=lambda each: each.queue_id)}


def vhost_of(change: Change) -> str | None:
    """Return in which virtual host something changes; None for a subscription, which names its queue only by id."""
    match change:
        case ExchangeDeclared(exchange):
            return exchange.vhost
        case QueueDeclared(queue):
            return queue.vhost
        case BindingAdded(binding) | BindingRemoved(binding):
            return binding.vhost
        case ExchangeDeleted() | QueueDeleted():
            return change.vhost
        case VirtualHostCreated() | VirtualHostDeleted():
            return change.name
        case _:
            return None
