"""What virtual hosts have, as the records that a cluster keeps of it.

Knows what is recorded and what not; changes nothing and knows no store.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from broker.ports.cluster_rows import Incarnation
from broker.ports.records import BindingRecord, ExchangeRecord, QueueRecord, Topology
from broker.topology.subscriptions import incarnation_of
from broker.topology.vhost import PREDECLARED, VirtualHost

_PREDECLARED: Final = frozenset(name for name, _, _ in PREDECLARED)


def snapshot(vhosts: Iterable[VirtualHost]) -> Topology:
    """Return what a cluster has recorded of `vhosts`, to judge by what they have."""
    vhosts = tuple(vhosts)
    return Topology(
        tuple(vhost.name for vhost in vhosts),
        tuple(record for vhost in vhosts for record in _exchanges(vhost)),
        tuple(record for vhost in vhosts for record in _queues(vhost)),
        tuple(record for vhost in vhosts for record in _bindings(vhost)),
        tuple(record for vhost in vhosts for record in vhost.consumption.subscriptions),
    )


def _exchanges(vhost: VirtualHost) -> Iterator[ExchangeRecord]:
    for exchange in vhost.exchanges.values():
        if exchange.name not in _PREDECLARED:
            yield ExchangeRecord(
                vhost.name,
                exchange.name,
                exchange.type,
                exchange.auto_delete,
                exchange.internal,
                exchange.arguments.raw,
                exchange.durable,
            )


def _queues(vhost: VirtualHost) -> Iterator[QueueRecord]:
    for queue in vhost.queues.values():
        incarnation = vhost.incarnation_of_owner(queue)
        yield QueueRecord(
            vhost.name,
            queue.name,
            queue.queue_id,
            incarnation is not None,
            queue.auto_delete,
            queue.arguments.raw,
            queue.durable,
            incarnation.node_id if incarnation else "",
            incarnation.id if incarnation else "",
        )


def _bindings(vhost: VirtualHost) -> Iterator[BindingRecord]:
    for exchange in vhost.exchanges.values():
        for binding in exchange.bindings:
            yield vhost.record_of(binding)


def incarnations_with_orphans(vhosts: Iterable[VirtualHost]) -> set[Incarnation]:
    """Return every incarnation that an exclusive queue or a subscription belongs to."""
    incarnations: set[Incarnation] = set()
    for vhost in vhosts:
        incarnations.update(map(incarnation_of, vhost.consumption.subscriptions))
        owners = (vhost.incarnation_of_owner(queue) for queue in vhost.queues.values() if queue.is_exclusive)
        incarnations.update(incarnation for incarnation in owners if incarnation is not None)
    return incarnations
