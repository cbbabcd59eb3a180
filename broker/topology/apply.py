"""From a recorded change to memory: what another node has decided, or the store has kept, becomes so here.

Every change may be applied again and then does nothing. Refuses nothing that was recorded; decides nothing, records
nothing. Knows the virtual host and its routing table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from broker.codec.field_table import FieldTable
from broker.errors import StoreError
from broker.ports.cluster_rows import Incarnation
from broker.ports.records import (
    BindingAdded,
    BindingRemoved,
    Change,
    ExchangeDeclared,
    ExchangeDeleted,
    QueueDeclared,
    QueueDeleted,
    SubscriptionAdded,
    SubscriptionRemoved,
    Topology,
)
from broker.ports.slot import Slot
from broker.queue.queue import Queue
from broker.topology.binding import Binding
from broker.topology.diff import changes_to, vhost_of
from broker.topology.exchange import Exchange
from broker.topology.subscriptions import incarnation_of

if TYPE_CHECKING:
    from broker.topology.vhost import VirtualHost


@dataclass(frozen=True, slots=True)
class RemoteOwner:
    """The connection that an exclusive queue belongs to, when it is not one of this node in this incarnation."""

    incarnation: Incarnation


def apply(vhost: VirtualHost, change: Change) -> list[Slot]:
    """Make `change` true in memory; return what is to be purged, because its rows may be on their way to the store.

    Raises `StoreError` when the change does not fit what is there.
    """
    return _APPLY[type(change)](vhost, change)


def restore(vhost: VirtualHost, topology: Topology) -> list[str]:
    """Apply what was recorded of this virtual host; return a line for each thing that made no sense."""
    complaints = []
    for change in changes_to(replace(topology, vhosts=())):
        if vhost_of(change) in (vhost.name, None):
            try:
                apply(vhost, change)
            except StoreError as error:
                complaints.append(str(error))
    return complaints


def _declare_exchange(vhost: VirtualHost, change: ExchangeDeclared) -> list[Slot]:
    record = change.exchange
    if record.name not in vhost.exchanges:
        vhost.routing.add_exchange(
            Exchange(
                record.name,
                record.type,
                durable=record.durable,
                auto_delete=record.auto_delete,
                internal=record.internal,
                arguments=FieldTable(record.arguments),
            )
        )
    return []


def _delete_exchange(vhost: VirtualHost, change: ExchangeDeleted) -> list[Slot]:
    if change.name in vhost.exchanges:
        vhost.routing.remove_exchanges([change.name])
    return []


def _declare_queue(vhost: VirtualHost, change: QueueDeclared) -> list[Slot]:
    record = change.queue
    if record.name in vhost.queues:
        if vhost.queues[record.name].queue_id != record.queue_id:
            raise StoreError(f"{vhost.phrase('queue', record.name)} is there already with another id")
        return []
    owner = RemoteOwner(Incarnation(record.node_id, record.incarnation)) if record.exclusive else None
    vhost.routing.add_queue(
        vhost.make_queue(
            record.name,
            record.queue_id,
            durable=record.durable,
            auto_delete=record.auto_delete,
            owner=owner,
            arguments=FieldTable(record.arguments),
        )
    )
    return []


def _delete_queue(vhost: VirtualHost, change: QueueDeleted) -> list[Slot]:
    queue = vhost.routing.queues_by_id.get(change.queue_id)
    return vhost.discard(queue) if queue is not None else []


def _add_binding(vhost: VirtualHost, change: BindingAdded) -> list[Slot]:
    record = change.binding
    ends = vhost.exchanges if record.destination_kind == "exchange" else vhost.queues
    if record.source not in vhost.exchanges or record.destination not in ends:
        raise StoreError(f"binding from '{record.source}' to '{record.destination}' has lost an end")
    vhost.routing.bind(_binding_of(change))
    return []


def _remove_binding(vhost: VirtualHost, change: BindingRemoved) -> list[Slot]:
    if change.binding.source in vhost.exchanges:
        vhost.routing.unbind(_binding_of(change))
    return []


def _binding_of(change: BindingAdded | BindingRemoved) -> Binding:
    record = change.binding
    destination = (record.destination_kind, record.destination)
    return Binding(record.source, destination, record.routing_key, FieldTable(record.arguments))


def _add_subscription(vhost: VirtualHost, change: SubscriptionAdded) -> list[Slot]:
    queue = _consumed(vhost, change.subscription.queue_id)
    if queue is not None:
        vhost.consumption.subscriptions.add(change.subscription)
        vhost.consumption.update_activity(queue)
    return []


def _remove_subscription(vhost: VirtualHost, change: SubscriptionRemoved) -> list[Slot]:
    queue = _consumed(vhost, change.queue_id)
    if queue is not None:
        vhost.consumption.subscriptions.remove(change.queue_id, incarnation_of(change))
        vhost.consumption.update_activity(queue)
    return []


def _consumed(vhost: VirtualHost, queue_id: int) -> Queue | None:
    """Return the queue of a subscription, which does not say in which virtual host that is."""
    return vhost.routing.queues_by_id.get(queue_id)


_APPLY: Final[dict[type[Change], Callable[[VirtualHost, Any], list[Slot]]]] = {
    ExchangeDeclared: _declare_exchange,
    ExchangeDeleted: _delete_exchange,
    QueueDeclared: _declare_queue,
    QueueDeleted: _delete_queue,
    BindingAdded: _add_binding,
    BindingRemoved: _remove_binding,
    SubscriptionAdded: _add_subscription,
    SubscriptionRemoved: _remove_subscription,
}
