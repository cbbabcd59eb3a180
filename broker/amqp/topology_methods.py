"""The handlers of exchange.* and queue.*: what a channel asks of its virtual host, in the order of the specification.

Knows the virtual host and the channel that asks; decides nothing about topology itself, and knows no message.
"""

from __future__ import annotations

from broker.amqp.channel import Channel
from broker.codec import methods as amqp
from broker.ports.records import DestinationKind
from broker.topology.declaration import ExchangeDeclaration, QueueDeclaration


async def on_exchange_declare(channel: Channel, method: amqp.ExchangeDeclare) -> None:
    name = _clean(method.exchange)
    if method.passive:
        channel.vhost.require_changeable(name)
        channel.vhost.exchange(name)
    else:
        await channel.vhost.declare_exchange(
            ExchangeDeclaration(
                name, method.type, method.durable, method.auto_delete, method.internal, method.arguments
            )
        )
    if not method.no_wait:
        channel.send(amqp.ExchangeDeclareOk())


async def on_exchange_delete(channel: Channel, method: amqp.ExchangeDelete) -> None:
    await channel.vhost.delete_exchange(_clean(method.exchange), if_unused=method.if_unused)
    if not method.no_wait:
        channel.send(amqp.ExchangeDeleteOk())


async def on_exchange_bind(channel: Channel, method: amqp.ExchangeBind) -> None:
    await channel.vhost.bind(method.source, ("exchange", method.destination), method.routing_key, method.arguments)
    if not method.no_wait:
        channel.send(amqp.ExchangeBindOk())


async def on_exchange_unbind(channel: Channel, method: amqp.ExchangeUnbind) -> None:
    await channel.vhost.unbind(method.source, ("exchange", method.destination), method.routing_key, method.arguments)
    if not method.no_wait:
        channel.send(amqp.ExchangeUnbindOk())


async def on_queue_declare(channel: Channel, method: amqp.QueueDeclare) -> None:
    name = _clean(method.queue)
    owner = channel.connection.exclusive if method.exclusive else None
    if method.passive:
        queue = channel.vhost.queue(channel.queue_name(name), channel.connection.exclusive)
    else:
        declaration = QueueDeclaration(
            name or channel.connection.shared.new_name("amq.gen-"),
            method.durable,
            method.auto_delete,
            method.arguments,
            owner,
        )
        queue = await channel.vhost.declare_queue(declaration, is_server_named=not name)
        if owner is not None:
            await channel.connection.exclusive.add(queue)
    channel.last_queue = queue.name
    if not method.no_wait:
        channel.send(amqp.QueueDeclareOk(queue.name, queue.message_count, queue.consumer_count))


async def on_queue_bind(channel: Channel, method: amqp.QueueBind) -> None:
    name = channel.queue_name(method.queue)
    routing_key = method.routing_key or ("" if method.queue else name)
    destination: tuple[DestinationKind, str] = ("queue", name)
    channel.vhost.require_changeable(method.exchange)
    channel.vhost.queue(name, channel.connection.exclusive)
    await channel.vhost.bind(method.exchange, destination, routing_key, method.arguments)
    if not method.no_wait:
        channel.send(amqp.QueueBindOk())


async def on_queue_unbind(channel: Channel, method: amqp.QueueUnbind) -> None:
    name = channel.queue_name(method.queue)
    routing_key = method.routing_key or ("" if method.queue else name)
    if name in channel.vhost.queues:
        channel.vhost.queue(name, channel.connection.exclusive)
    await channel.vhost.unbind(method.exchange, ("queue", name), routing_key, method.arguments)
    channel.send(amqp.QueueUnbindOk())


async def on_queue_purge(channel: Channel, method: amqp.QueuePurge) -> None:
    name = channel.queue_name(method.queue)
    queue = channel.vhost.queue(name, channel.connection.exclusive)
    count = await channel.vhost.purge_queue(name, channel.connection.exclusive)
    if channel.broker.purge_elsewhere is not None:
        count += await channel.broker.purge_elsewhere(queue)
    if not method.no_wait:
        channel.send(amqp.QueuePurgeOk(count))


async def on_queue_delete(channel: Channel, method: amqp.QueueDelete) -> None:
    name = channel.queue_name(_clean(method.queue))
    count = await channel.vhost.delete_queue(
        name, channel.connection.exclusive, if_unused=method.if_unused, if_empty=method.if_empty
    )
    if not method.no_wait:
        channel.send(amqp.QueueDeleteOk(count))


def _clean(name: str) -> str:
    """Strip the line ends that some clients leave in names (contract X1)."""
    return name.replace("\r", "").replace("\n", "")
