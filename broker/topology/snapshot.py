"""Describes virtual hosts in memory as the records that a cluster keeps of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from broker.ports.cluster_rows import Incarnation
from broker.ports.records import (
    BindingRecord,
    ExchangeRecord,
    PolicyRecord,
    QueueRecord,
    SubscriptionRecord,
    VirtualHostRecord,
    VirtualHostSettingsRecord,
)
from broker.topology.namespace import PREDECLARED
from broker.topology.subscriptions import incarnation_of
from broker.topology.vhost import VirtualHost

_PREDECLARED: Final = frozenset(name for name, _, _ in PREDECLARED)


def vhosts(vhosts: Iterable[VirtualHost]) -> Iterator[VirtualHostRecord]:
    """Yield the virtual hosts themselves."""
    for vhost in vhosts:
        yield VirtualHostRecord(vhost.name)


def vhost_settings(vhosts: Iterable[VirtualHost]) -> Iterator[VirtualHostSettingsRecord]:
    """Yield what is set of virtual hosts."""
    for vhost in vhosts:
        if vhost.settings != VirtualHostSettingsRecord(vhost.name):
            yield vhost.settings


def policies(vhosts: Iterable[VirtualHost]) -> Iterator[PolicyRecord]:
    """Yield every policy and operator policy."""
    for vhost in vhosts:
        yield from vhost.policies.records


def exchanges(vhosts: Iterable[VirtualHost]) -> Iterator[ExchangeRecord]:
    """Yield every exchange but the predeclared ones."""
    for vhost in vhosts:
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


def queues(vhosts: Iterable[VirtualHost]) -> Iterator[QueueRecord]:
    """Yield every queue, an exclusive one with the incarnation that owns it."""
    for vhost in vhosts:
        for queue in (*vhost.queues.values(), *filter(None, (vhost.schedule,))):
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


def bindings(vhosts: Iterable[VirtualHost]) -> Iterator[BindingRecord]:
    """Yield every binding, those of one exchange oldest first."""
    for vhost in vhosts:
        for exchange in vhost.exchanges.values():
            for binding in exchange.bindings:
                yield vhost.record_of(binding)


def subscriptions(vhosts: Iterable[VirtualHost]) -> Iterator[SubscriptionRecord]:
    """Yield every subscription, those of one queue oldest first."""
    for vhost in vhosts:
        yield from vhost.consumers.subscriptions


def incarnations_with_orphans(vhosts: Iterable[VirtualHost]) -> set[Incarnation]:
    """Return every incarnation that owns an exclusive queue or has a subscription."""
    incarnations: set[Incarnation] = set()
    for vhost in vhosts:
        incarnations.update(map(incarnation_of, vhost.consumers.subscriptions))
        owners = (vhost.incarnation_of_owner(queue) for queue in vhost.queues.values() if queue.is_exclusive)
        incarnations.update(incarnation for incarnation in owners if incarnation is not None)
    return incarnations
