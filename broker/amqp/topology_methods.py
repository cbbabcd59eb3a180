"""The handlers of exchange.* and queue.*: what a channel asks of its virtual host, in the order of the specification.

Whether the client may do it is asked first, of its access; what is possible, the virtual host decides.
"""

from __future__ import annotations

from broker.amqp.channel import Channel
from broker.auth.access import Permission
from broker.codec import methods as amqp
from broker.codec.field_table import FieldTable
from broker.topology.binding import Destination
from broker.topology.declaration import ExchangeDeclaration, QueueDeclaration


async def on_exchange_declare(channel: Channel, method: amqp.ExchangeDeclare) -> None:
    name = _clean(method.exchange)
    if method.passive:
        channel.vhost.require_changeable(name)
        channel.vhost.exchange(name)
    else:
        _require_exchange(channel, name, method.arguments)
        await channel.vhost.declare_exchange(
            ExchangeDeclaration(
                name, method.type, method.durable, method.auto_delete, method.internal, method.arguments
            ),
            channel.connection,
        )
    if not method.no_wait:
        channel.send(amqp.ExchangeDeclareOk())


def _require_exchange(channel: Channel, name: str, arguments: FieldTable) -> None:
    """Ask for what a declaration needs: an alternate exchange gets messages that were sent to this one."""
    access = channel.connection.access
    access.require(Permission.CONFIGURE, "exchange", name)
    alternate = arguments.values.get("alternate-exchange")
    if isinstance(alternate, str):
        access.require(Permission.READ, "exchange", name)
        access.require(Permission.WRITE, "exchange", alternate)


async def on_exchange_delete(channel: Channel, method: amqp.ExchangeDelete) -> None:
    name = _clean(method.exchange)
    channel.connection.access.require(Permission.CONFIGURE, "exchange", name)
    await channel.vhost.delete_exchange(name, if_unused=method.if_unused, client=channel.connection)
    if not method.no_wait:
        channel.send(amqp.ExchangeDeleteOk())


async def on_exchange_bind(channel: Channel, method: amqp.ExchangeBind) -> None:
    destination: Destination = ("exchange", method.destination)
    _require_binding(channel, method.source, destination)
    await channel.vhost.bind(method.source, destination, method.routing_key, method.arguments, channel.connection)
    if not method.no_wait:
        channel.send(amqp.ExchangeBindOk())


async def on_exchange_unbind(channel: Channel, method: amqp.ExchangeUnbind) -> None:
    destination: Destination = ("exchange", method.destination)
    _require_binding(channel, method.source, destination)
    await channel.vhost.unbind(method.source, destination, method.routing_key, method.arguments, channel.connection)
    if not method.no_wait:
        channel.send(amqp.ExchangeUnbindOk())


def _require_binding(channel: Channel, source: str, destination: Destination) -> None:
    """Ask for what a binding needs, or its end: messages go from the source to the destination."""
    access = channel.connection.access
    access.require(Permission.WRITE, *destination)
    access.require(Permission.READ, "exchange", source)


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
        channel.connection.access.require(Permission.CONFIGURE, "queue", declaration.name)
        queue = await channel.vhost.declare_queue(declaration, is_server_named=not name, client=channel.connection)
        if owner is not None:
            await channel.connection.exclusive.add(queue)
    channel.last_queue = queue.name
    if not method.no_wait:
        channel.send(amqp.QueueDeclareOk(queue.name, queue.message_count, queue.consumer_count))


async def on_queue_bind(channel: Channel, method: amqp.QueueBind) -> None:
    name = channel.queue_name(method.queue)
    routing_key = method.routing_key or ("" if method.queue else name)
    _require_binding(channel, method.exchange, ("queue", name))
    channel.vhost.require_changeable(method.exchange)
    channel.vhost.queue(name, channel.connection.exclusive)
    await channel.vhost.bind(method.exchange, ("queue", name), routing_key, method.arguments, channel.connection)
    if not method.no_wait:
        channel.send(amqp.QueueBindOk())


async def on_queue_unbind(channel: Channel, method: amqp.QueueUnbind) -> None:
    name = channel.queue_name(method.queue)
    routing_key = method.routing_key or ("" if method.queue else name)
    _require_binding(channel, method.exchange, ("queue", name))
    if name in channel.vhost.queues:
        channel.vhost.queue(name, channel.connection.exclusive)
    await channel.vhost.unbind(method.exchange, ("queue", name), routing_key, method.arguments, channel.connection)
    channel.send(amqp.QueueUnbindOk())


async def on_queue_purge(channel: Channel, method: amqp.QueuePurge) -> None:
    name = channel.queue_name(method.queue)
    channel.connection.access.require(Permission.READ, "queue", name)
    count = await channel.vhost.purge_queue(name, channel.connection.exclusive)
    if not method.no_wait:
        channel.send(amqp.QueuePurgeOk(count))


async def on_queue_delete(channel: Channel, method: amqp.QueueDelete) -> None:
    name = channel.queue_name(_clean(method.queue))
    channel.connection.access.require(Permission.CONFIGURE, "queue", name)
    count = await channel.vhost.delete_queue(
        name,
        channel.connection.exclusive,
        if_unused=method.if_unused,
        if_empty=method.if_empty,
        client=channel.connection,
    )
    if not method.no_wait:
        channel.send(amqp.QueueDeleteOk(count))


def _clean(name: str) -> str:
    """Strip the line ends that some clients leave in names (contract X1)."""
    return name.replace("\r", "").replace("\n", "")
