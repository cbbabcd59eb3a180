"""The topology in memory, and what each change does to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from broker.ports.records import (
    BindingAdded,
    BindingRecord,
    BindingRemoved,
    Change,
    ExchangeDeclared,
    ExchangeDeleted,
    ExchangeRecord,
    QueueDeclared,
    QueueDeleted,
    QueueRecord,
    SubscriptionAdded,
    SubscriptionRecord,
    SubscriptionRemoved,
    Topology,
    VirtualHostCreated,
    VirtualHostDeleted,
)


@dataclass(slots=True)
class Records:
    """The records of the topology by key; the key of a subscription is all of it but `exclusive`."""

    vhosts: dict[str, None] = field(default_factory=dict)
    exchanges: dict[tuple[str, str], ExchangeRecord] = field(default_factory=dict)
    queues: dict[tuple[str, str], QueueRecord] = field(default_factory=dict)
    bindings: dict[BindingRecord, None] = field(default_factory=dict)
    subscriptions: dict[tuple[int, str, str], SubscriptionRecord] = field(default_factory=dict)

    def copy(self) -> Records:
        return Records(
            dict(self.vhosts),
            dict(self.exchanges),
            dict(self.queues),
            dict(self.bindings),
            dict(self.subscriptions),
        )

    def topology(self) -> Topology:
        return Topology(
            tuple(self.vhosts),
            tuple(self.exchanges.values()),
            tuple(self.queues.values()),
            tuple(self.bindings),
            tuple(self.subscriptions.values()),
        )

    def record(self, change: Change) -> list[int]:
        """Apply `change`; return the ids of the queues that were deleted, whose messages go with them."""
        gone = _RECORD[type(change)](self, change)
        if gone:
            self.subscriptions = {key: value for key, value in self.subscriptions.items() if key[0] not in gone}
        return gone

    def delete_mortal(self) -> list[int]:
        """Delete what ends with its nodes; return the ids of the queues that were deleted."""
        doomed = [queue for queue in self.queues.values() if queue.exclusive or not queue.durable]
        changes: list[Change] = [QueueDeleted(queue.vhost, queue.name, queue.queue_id) for queue in doomed]
        changes += [ExchangeDeleted(*key) for key, exchange in self.exchanges.items() if not exchange.durable]
        gone = [queue_id for change in changes for queue_id in self.record(change)]
        self.subscriptions = {}
        return gone


def _create_virtual_host(records: Records, change: VirtualHostCreated) -> list[int]:
    records.vhosts.setdefault(change.name)
    return []


def _delete_virtual_host(records: Records, change: VirtualHostDeleted) -> list[int]:
    records.vhosts.pop(change.name, None)
    gone = [queue.queue_id for queue in records.queues.values() if queue.vhost == change.name]
    records.exchanges = {key: value for key, value in records.exchanges.items() if value.vhost != change.name}
    records.queues = {key: value for key, value in records.queues.items() if value.vhost != change.name}
    records.bindings = {key: None for key in records.bindings if key.vhost != change.name}
    return gone


def _declare_exchange(records: Records, change: ExchangeDeclared) -> list[int]:
    records.exchanges.setdefault((change.exchange.vhost, change.exchange.name), change.exchange)
    return []


def _delete_exchange(records: Records, change: ExchangeDeleted) -> list[int]:
    records.exchanges.pop((change.vhost, change.name), None)

    def is_gone(binding: BindingRecord) -> bool:
        is_destination = binding.destination_kind == "exchange" and binding.destination == change.name
        return binding.vhost == change.vhost and (binding.source == change.name or is_destination)

    records.bindings = {key: None for key in records.bindings if not is_gone(key)}
    return []


def _declare_queue(records: Records, change: QueueDeclared) -> list[int]:
    records.queues.setdefault((change.queue.vhost, change.queue.name), change.queue)
    return []


def _delete_queue(records: Records, change: QueueDeleted) -> list[int]:
    records.queues.pop((change.vhost, change.name), None)
    destination = change.vhost, "queue", change.name
    records.bindings = {
        key: None for key in records.bindings if (key.vhost, key.destination_kind, key.destination) != destination
    }
    return [change.queue_id]


def _add_binding(records: Records, change: BindingAdded) -> list[int]:
    records.bindings.setdefault(change.binding)
    return []


def _remove_binding(records: Records, change: BindingRemoved) -> list[int]:
    records.bindings.pop(change.binding, None)
    return []


def _add_subscription(records: Records, change: SubscriptionAdded) -> list[int]:
    new = change.subscription
    records.subscriptions.setdefault((new.queue_id, new.node_id, new.incarnation), new)
    return []


def _remove_subscription(records: Records, change: SubscriptionRemoved) -> list[int]:
    records.subscriptions.pop((change.queue_id, change.node_id, change.incarnation), None)
    return []


# Each returns the ids of the queues that the change deletes.
_RECORD: Final[dict[type[Change], Callable[[Records, Any], list[int]]]] = {
    VirtualHostCreated: _create_virtual_host,
    VirtualHostDeleted: _delete_virtual_host,
    ExchangeDeclared: _declare_exchange,
    ExchangeDeleted: _delete_exchange,
    QueueDeclared: _declare_queue,
    QueueDeleted: _delete_queue,
    BindingAdded: _add_binding,
    BindingRemoved: _remove_binding,
    SubscriptionAdded: _add_subscription,
    SubscriptionRemoved: _remove_subscription,
}
