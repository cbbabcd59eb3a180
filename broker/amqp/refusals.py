"""What a compatibility profile refuses although the broker could serve it.

`REFUSALS` is the one table. A refusal looks at a method before its handler, and raises what its profile demands.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from broker.amqp.channel import Channel
from broker.amqp.profile import RABBITMQ, STRICT
from broker.codec import methods as amqp
from broker.codec.method import Method
from broker.errors import CommandInvalid, NotAllowed, NotFound, NotImplementedFault, PreconditionFailed, ResourceLocked
from broker.queue.queue import Queue
from broker.queue.settings import QueueType

Refusal: TypeAlias = Callable[[Channel, Any], None]

_NAME: Final = re.compile(r"[a-zA-Z0-9_.:-]*")


# As RabbitMQ 3.13. Which arguments of queues it refuses is in `topology/queue_arguments.py`.


def _no_flow(channel: Channel, method: amqp.ChannelFlow) -> None:
    if not method.active:
        raise NotImplementedFault("active=false")


def _deletes_quorum_queues_anyhow(channel: Channel, method: amqp.QueueDelete) -> None:
    queue = _quorum_queue(channel, method.queue)
    flag = "if-unused" if method.if_unused else "if-empty" if method.if_empty else ""
    if queue is not None and flag:
        raise NotImplementedFault(
            f"cannot delete {channel.vhost.phrase('queue', queue.name)}. queue.delete operations with {flag} flag set"
            " are not supported by quorum queues"
        )


def _no_shared_prefetch(channel: Channel, method: amqp.BasicConsume) -> None:
    queue = _quorum_queue(channel, method.queue)
    if queue is not None and channel.deliveries.prefetch:
        raise NotImplementedFault(f"{channel.vhost.phrase('queue', queue.name)} does not support global qos")


def _no_get_beside_a_single_consumer(channel: Channel, method: amqp.BasicGet) -> None:
    queue = _quorum_queue(channel, method.queue)
    if queue is not None and queue.settings.single_active_consumer:
        raise ResourceLocked(
            f"cannot obtain access to locked {channel.vhost.phrase('queue', queue.name)}. basic.get operations are not"
            " supported by quorum queues with single active consumer"
        )


def _quorum_queue(channel: Channel, name: str) -> Queue | None:
    queue = channel.vhost.queues.get(name or channel.last_queue)
    return queue if queue is not None and queue.settings.type is QueueType.QUORUM else None


# As the specification


def _an_exchange_as_specified(channel: Channel, method: amqp.ExchangeDeclare) -> None:
    _require_name("exchange", method.exchange)
    current = channel.vhost.exchanges.get(method.exchange)
    if method.passive:
        return
    if current is not None and current.type != method.type:
        raise NotAllowed(f"{channel.vhost.phrase('exchange', method.exchange)} has the type '{current.type}'")
    if method.type not in channel.vhost.exchange_types:
        raise CommandInvalid(f"unknown exchange type '{method.type}'")


def _a_queue_as_specified(channel: Channel, method: amqp.QueueDeclare) -> None:
    _require_name("queue", method.queue)


def _require_name(kind: str, name: str) -> None:
    if not _NAME.fullmatch(name):
        raise PreconditionFailed(
            f"the name of {kind} '{name}' has characters other than letters, digits, hyphens, underscores, periods and"
            " colons"
        )


def _an_exchange_that_is_there(channel: Channel, method: amqp.ExchangeDelete) -> None:
    channel.vhost.exchange(method.exchange)


def _a_queue_that_is_there(channel: Channel, method: amqp.QueueDelete) -> None:
    name = channel.queue_name(method.queue)
    if name not in channel.vhost.queues:
        raise NotFound(f"no {channel.vhost.phrase('queue', name)}")


def _ends_that_are_there(channel: Channel, method: amqp.QueueUnbind) -> None:
    name = channel.queue_name(method.queue)
    if name not in channel.vhost.queues:
        raise NotFound(f"no {channel.vhost.phrase('queue', name)}")
    channel.vhost.exchange(method.exchange)


def _no_prefetch_of_connections(channel: Channel, method: amqp.BasicQos) -> None:
    if method.global_:
        raise NotImplementedFault("global=true")


def _no_consumer_spared_of_its_own(channel: Channel, method: amqp.BasicConsume) -> None:
    if method.no_local:
        raise NotImplementedFault("no_local=true")


REFUSALS: Final[Mapping[str, Mapping[type[Method], Refusal]]] = {
    RABBITMQ.name: {
        amqp.ChannelFlow: _no_flow,
        amqp.QueueDelete: _deletes_quorum_queues_anyhow,
        amqp.BasicConsume: _no_shared_prefetch,
        amqp.BasicGet: _no_get_beside_a_single_consumer,
    },
    STRICT.name: {
        amqp.ExchangeDeclare: _an_exchange_as_specified,
        amqp.ExchangeDelete: _an_exchange_that_is_there,
        amqp.QueueDeclare: _a_queue_as_specified,
        amqp.QueueUnbind: _ends_that_are_there,
        amqp.QueueDelete: _a_queue_that_is_there,
        amqp.BasicQos: _no_prefetch_of_connections,
        amqp.BasicConsume: _no_consumer_spared_of_its_own,
    },
}
"""The refusals of each profile that has any, by the method that they look at."""
