"""What a client is about to do, told to its permissions: the queue as it is, where a binding or a message begins.

Nothing is told to permissions that do not ask for it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from broker.auth.access import Access, Operation, Purpose
from broker.queue.queue import Queue
from broker.topology.binding import Destination
from broker.topology.declaration import QueueDeclaration
from broker.topology.vhost import VirtualHost

_TOPICS: Final = "amq.topic"


def publishing(access: Access, exchange: str, routing_key: str) -> Purpose | None:
    """Return what it is to publish a message with this key."""
    if not access.asks_for_purpose:
        return None
    return Purpose(Operation.PUBLISH, exchange=exchange, routing_key=routing_key)


def declaring(access: Access, declaration: QueueDeclaration) -> Purpose | None:
    """Return what it is to declare this queue."""
    if not access.asks_for_purpose:
        return None
    return Purpose(Operation.DECLARE, declaration.name, declaration.durable, declaration.is_exclusive)


def using(access: Access, operation: Operation, vhost: VirtualHost, name: str) -> Purpose | None:
    """Return what it is to do this with the queue `name`, which may not be there."""
    if not access.asks_for_purpose:
        return None
    queue = vhost.queues.get(name)
    if queue is None:
        return Purpose(operation, name)

    def bound_keys() -> Iterable[str]:
        return vhost.exchanges[_TOPICS].keys_of(("queue", name))

    return Purpose(operation, name, queue.durable, _is_exclusive(queue), bound_keys=bound_keys)


def _is_exclusive(queue: Queue) -> bool:
    """Was the queue declared exclusive, as durable subscriptions are?"""
    return queue.owner is not None or queue.settings.is_subscription


def binding(
    access: Access, operation: Operation, vhost: VirtualHost, source: str, destination: Destination, routing_key: str
) -> Purpose | None:
    """Return what it is to bind `destination` to the exchange `source`, or to end that."""
    if not access.asks_for_purpose:
        return None
    kind, name = destination
    queue = vhost.queues.get(name) if kind == "queue" else None
    is_durable, is_exclusive = (False, False) if queue is None else (queue.durable, _is_exclusive(queue))
    return Purpose(operation, name if kind == "queue" else "", is_durable, is_exclusive, source, routing_key)
