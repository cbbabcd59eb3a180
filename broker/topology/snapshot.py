"""What virtual hosts have, as the records that a cluster keeps of it.

Knows what is recorded and what not; changes nothing and knows no store.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from broker.ports.cluster_rows import Life
from broker.ports.records import BindingRecord, ExchangeRecord, QueueRecord, Topology
from broker.topology.subscriptions import life_of
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
        life = vhost.life_of_owner(queue)
        yield QueueRecord(
            vhost.name,
            queue.name,
            queue.queue_id,
            life is not None,
            queue.auto_delete,
            queue.arguments.raw,
            queue.durable,
            life.node_id if life else "",
            life.incarnation if life else "",
        )


def _bindings(vhost: VirtualHost) -> Iterator[BindingRecord]:
    for exchange in vhost.exchanges.values():
        for binding in exchange.bindings:
            yield vhost.record_of(binding)


def lives_with_traces(vhosts: Iterable[VirtualHost]) -> set[Life]:
    """Return every life that an exclusive queue or a subscription belongs to."""
    lives: set[Life] = set()
    for vhost in vhosts:
        lives.update(map(life_of, vhost.consumption.subscriptions))
        owners = (vhost.life_of_owner(queue) for queue in vhost.queues.values() if queue.is_exclusive)
        lives.update(life for life in owners if life is not None)
    return lives
