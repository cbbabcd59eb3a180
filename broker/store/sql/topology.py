"""Virtual hosts, exchanges, queues, bindings and subscriptions in their tables."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, Final

from sqlalchemy import Connection, Table, delete, insert, or_, select

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
from broker.store.sql.messages import delete_queue_messages
from broker.store.sql.schema import BINDING, EXCHANGE, QUEUE, SLOT, SUBSCRIPTION, VIRTUAL_HOST


def load(connection: Connection) -> Topology:
    """Return all that is recorded."""
    vhosts = connection.scalars(select(VIRTUAL_HOST.c.vhost).order_by(VIRTUAL_HOST.c.vhost))
    e, q, b, s = EXCHANGE.c, QUEUE.c, BINDING.c, SUBSCRIPTION.c
    exchanges = connection.execute(
        select(e.vhost, e.exchange_name, e.exchange_type, e.auto_delete, e.internal, e.arguments, e.durable).order_by(
            e.vhost, e.exchange_name
        )
    )
    owner = (q.node_id, q.incarnation)
    queues = connection.execute(
        select(q.vhost, q.queue_name, q.queue_id, q.exclusive, q.auto_delete, q.arguments, q.durable, *owner).order_by(
            q.queue_id
        )
    )
    bindings = connection.execute(
        select(b.vhost, b.source, b.destination_kind, b.destination, b.routing_key, b.arguments).order_by(b.binding_id)
    )
    subscriptions = connection.execute(
        select(s.queue_id, s.node_id, s.incarnation, s.exclusive).order_by(s.subscription_id)
    )
    return Topology(
        tuple(vhosts),
        tuple(ExchangeRecord(*row) for row in exchanges),
        tuple(QueueRecord(*row) for row in queues),
        tuple(BindingRecord(*row) for row in bindings),
        tuple(SubscriptionRecord(*row) for row in subscriptions),
    )


def record(connection: Connection, changes: Sequence[Change]) -> None:
    """Record `changes` in their order; recording one twice changes nothing."""
    for change in changes:
        _RECORD[type(change)](connection, change)


def delete_mortal(connection: Connection) -> None:
    """Delete what ends with its nodes: exchanges and queues that are not durable, exclusive queues, subscriptions."""
    q, e = QUEUE.c, EXCHANGE.c
    queues = select(q.vhost, q.queue_name, q.queue_id).where(or_(q.durable.is_(False), q.exclusive.is_(True)))
    for vhost, name, queue_id in connection.execute(queues).all():
        _delete_queue(connection, QueueDeleted(vhost, name, queue_id))
    exchanges = select(e.vhost, e.exchange_name).where(e.durable.is_(False))
    for vhost, name in connection.execute(exchanges).all():
        _delete_exchange(connection, ExchangeDeleted(vhost, name))
    connection.execute(delete(SUBSCRIPTION))


def _insert_new(connection: Connection, target: Table, key: dict[str, Any], others: dict[str, Any]) -> None:
    """Insert a row, unless one with this `key` exists: the first record stands."""
    same = [target.c[name] == value for name, value in key.items()]
    if connection.execute(select(*(target.c[name] for name in key)).where(*same)).first() is None:
        connection.execute(insert(target).values(key | others))


def _create_virtual_host(connection: Connection, change: VirtualHostCreated) -> None:
    _insert_new(connection, VIRTUAL_HOST, {"vhost": change.name}, {})


def _delete_virtual_host(connection: Connection, change: VirtualHostDeleted) -> None:
    queue_ids = connection.scalars(select(QUEUE.c.queue_id).where(QUEUE.c.vhost == change.name)).all()
    for queue_id in queue_ids:
        _delete_content(connection, queue_id)
    for table in (BINDING, QUEUE, EXCHANGE, VIRTUAL_HOST):
        connection.execute(delete(table).where(table.c.vhost == change.name))


def _declare_exchange(connection: Connection, change: ExchangeDeclared) -> None:
    exchange = change.exchange
    _insert_new(
        connection,
        EXCHANGE,
        {"vhost": exchange.vhost, "exchange_name": exchange.name},
        {
            "exchange_type": exchange.type,
            "auto_delete": exchange.auto_delete,
            "internal": exchange.internal,
            "arguments": exchange.arguments,
            "durable": exchange.durable,
        },
    )


def _delete_exchange(connection: Connection, change: ExchangeDeleted) -> None:
    is_destination = (BINDING.c.destination_kind == "exchange") & (BINDING.c.destination == change.name)
    connection.execute(
        delete(BINDING).where(BINDING.c.vhost == change.vhost, or_(BINDING.c.source == change.name, is_destination))
    )
    connection.execute(
        delete(EXCHANGE).where(EXCHANGE.c.vhost == change.vhost, EXCHANGE.c.exchange_name == change.name)
    )


def _declare_queue(connection: Connection, change: QueueDeclared) -> None:
    queue = change.queue
    _insert_new(
        connection,
        QUEUE,
        {"vhost": queue.vhost, "queue_name": queue.name},
        {
            "queue_id": queue.queue_id,
            "exclusive": queue.exclusive,
            "auto_delete": queue.auto_delete,
            "arguments": queue.arguments,
            "durable": queue.durable,
            "node_id": queue.node_id,
            "incarnation": queue.incarnation,
        },
    )


def _delete_queue(connection: Connection, change: QueueDeleted) -> None:
    _delete_content(connection, change.queue_id)
    connection.execute(
        delete(BINDING).where(
            BINDING.c.vhost == change.vhost,
            BINDING.c.destination_kind == "queue",
            BINDING.c.destination == change.name,
        )
    )
    connection.execute(delete(QUEUE).where(QUEUE.c.vhost == change.vhost, QUEUE.c.queue_name == change.name))


def _delete_content(connection: Connection, queue_id: int) -> None:
    """Delete a queue's slots, subscriptions and messages; slots first, because all transactions lock in that order."""
    for table in (SLOT, SUBSCRIPTION):
        connection.execute(delete(table).where(table.c.queue_id == queue_id))
    delete_queue_messages(connection, queue_id)


def _add_binding(connection: Connection, change: BindingAdded) -> None:
    binding = change.binding
    _insert_new(
        connection,
        BINDING,
        {"binding_hash": _hash(binding)},
        {
            "vhost": binding.vhost,
            "source": binding.source,
            "destination_kind": binding.destination_kind,
            "destination": binding.destination,
            "routing_key": binding.routing_key,
            "arguments": binding.arguments,
        },
    )


def _remove_binding(connection: Connection, change: BindingRemoved) -> None:
    connection.execute(delete(BINDING).where(BINDING.c.binding_hash == _hash(change.binding)))


def _add_subscription(connection: Connection, change: SubscriptionAdded) -> None:
    new = change.subscription
    key = {"queue_id": new.queue_id, "node_id": new.node_id, "incarnation": new.incarnation}
    _insert_new(connection, SUBSCRIPTION, key, {"exclusive": new.exclusive})


def _remove_subscription(connection: Connection, change: SubscriptionRemoved) -> None:
    s = SUBSCRIPTION.c
    is_incarnation = (s.node_id == change.node_id) & (s.incarnation == change.incarnation)
    connection.execute(delete(SUBSCRIPTION).where(s.queue_id == change.queue_id, is_incarnation))


def _hash(binding: BindingRecord) -> str:
    """Return one value for all fields of a binding; each is hashed with its length, so that no two bindings mix."""
    names = (binding.vhost, binding.source, binding.destination_kind, binding.destination, binding.routing_key)
    digest = hashlib.sha256()
    for field in (*(name.encode() for name in names), binding.arguments):
        digest.update(len(field).to_bytes(4, "big") + field)
    return digest.hexdigest()


_RECORD: Final[dict[type[Change], Callable[[Connection, Any], None]]] = {
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
