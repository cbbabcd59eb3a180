"""The handlers of exchange.* and queue.*: what a channel asks of its virtual host, in the order of the specification.

Whether the client may do it is asked first, of its access; what is possible, the virtual host decides.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from broker.amqp import wso2_methods as wso2
from broker.amqp.channel import Channel
from broker.amqp.direct_reply import ADDRESSES, REPLY_TO
from broker.amqp.profile import RABBITMQ
from broker.amqp.purposes import binding, declaring, publishing, using
from broker.auth.access import Operation, Permission
from broker.auth.audit import EXCHANGE_CREATED, EXCHANGE_DELETED, QUEUE_CREATED, QUEUE_DELETED, QUEUE_PURGED, AuditEvent
from broker.codec import methods as amqp
from broker.codec.field_table import FieldTable
from broker.errors import AccessRefused, NotFound, PreconditionFailed
from broker.queue.queue import Queue
from broker.queue.settings import QueueType
from broker.topology.binding import Destination
from broker.topology.declaration import ExchangeDeclaration, QueueDeclaration
from broker.topology.queue_arguments import DEAD_LETTER_EXCHANGE, DEAD_LETTER_ROUTING_KEY

NAME_PREFIX: Final = "x-name-prefix"
"""The argument by which a client says how the name of a server-named queue begins; it is no argument of the queue."""


async def on_exchange_declare(channel: Channel, method: amqp.ExchangeDeclare) -> None:
    name = _clean(method.exchange)
    if method.passive or channel.vhost.is_there_as(name, method.type):
        channel.vhost.require_changeable(name)
        channel.vhost.exchange(name)
    else:
        channel.vhost.require_type(name, method.type)
        channel.vhost.require_changeable(name)
        _require_exchange(channel, name, method.arguments)
        is_new = method.durable and name not in channel.vhost.exchanges
        await channel.vhost.declare_exchange(
            ExchangeDeclaration(
                name, method.type, method.durable, method.auto_delete, method.internal, method.arguments
            ),
            channel.connection,
        )
        if is_new:
            channel.connection.tell(EXCHANGE_CREATED, exchange=name, type=method.type)
    if not method.no_wait:
        channel.send(amqp.ExchangeDeclareOk())


def _require_exchange(channel: Channel, name: str, arguments: FieldTable) -> None:
    """Ask for what a declaration needs: the alternate of a new exchange gets messages that were sent to this one."""
    access = channel.connection.access
    access.require(Permission.CONFIGURE, "exchange", name)
    alternate = arguments.values.get("alternate-exchange")
    if isinstance(alternate, str) and name not in channel.vhost.exchanges:
        access.require(Permission.READ, "exchange", name)
        access.require(Permission.WRITE, "exchange", alternate)


async def on_exchange_delete(channel: Channel, method: amqp.ExchangeDelete) -> None:
    name = _clean(method.exchange)
    channel.vhost.require_deletable(name)
    channel.connection.access.require(Permission.CONFIGURE, "exchange", name)
    exchange = channel.vhost.exchanges.get(name)
    await channel.vhost.delete_exchange(name, if_unused=method.if_unused, client=channel.connection)
    if exchange is not None and exchange.durable:
        channel.connection.tell(EXCHANGE_DELETED, exchange=name)
    if not method.no_wait:
        channel.send(amqp.ExchangeDeleteOk())


async def on_exchange_bind(channel: Channel, method: amqp.ExchangeBind) -> None:
    destination: Destination = ("exchange", method.destination)
    _require_binding(channel, method.source, destination, method.routing_key, Operation.BIND)
    arguments = wso2.binding_arguments(channel, method.source, method.arguments)
    await channel.vhost.bind(method.source, destination, method.routing_key, arguments, channel.connection)
    if not method.no_wait:
        channel.send(amqp.ExchangeBindOk())


async def on_exchange_unbind(channel: Channel, method: amqp.ExchangeUnbind) -> None:
    destination: Destination = ("exchange", method.destination)
    _require_binding(channel, method.source, destination, method.routing_key, Operation.UNBIND)
    arguments = wso2.binding_arguments(channel, method.source, method.arguments)
    await channel.vhost.unbind(method.source, destination, method.routing_key, arguments, channel.connection)
    if not method.no_wait:
        channel.send(amqp.ExchangeUnbindOk())


def _require_binding(
    channel: Channel, source: str, destination: Destination, routing_key: str, operation: Operation
) -> None:
    """Ask for what a binding needs, or its end: messages go from the source to the destination."""
    access = channel.connection.access
    purpose = binding(access, operation, channel.vhost, source, destination, routing_key)
    access.require(Permission.WRITE, *destination, purpose)
    channel.vhost.require_changeable(source)
    if destination[0] == "exchange":
        channel.vhost.require_changeable(destination[1])
    access.require(Permission.READ, "exchange", source, purpose)
    exchange = channel.vhost.exchanges.get(source)
    if exchange is not None and exchange.type == "topic":
        access.require_key(Permission.READ, source, routing_key)


async def on_queue_declare(channel: Channel, method: amqp.QueueDeclare) -> None:
    name = channel.vhost.dialect.name_of(_clean(method.queue))
    if name.startswith(REPLY_TO):
        await _declare_replies(channel, name, no_wait=method.no_wait)
        return
    if method.passive:
        queue = channel.vhost.queue(channel.queue_name(name), channel.connection.exclusive)
        queue.use()
    else:
        channel.vhost.require_unreserved(name)
        declaration = wso2.as_meant(channel, _declaration(channel, method, name))
        _require_queue(channel, declaration)
        is_new = declaration.name not in channel.vhost.queues
        queue = await channel.vhost.declare_queue(declaration, is_server_named=not name, client=channel.connection)
        if declaration.owner is not None:
            await channel.connection.exclusive.add(queue)
        await _settle(channel)
        if is_new and queue.is_stored:
            channel.connection.tell(QUEUE_CREATED, queue=queue.name, type=queue.settings.type.value)
    channel.last_queue = queue.name
    if not method.no_wait:
        channel.broker.catch_up(queue)
        channel.send(amqp.QueueDeclareOk(queue.name, queue.message_count, queue.consumer_count))


def _declaration(channel: Channel, method: amqp.QueueDeclare, name: str) -> QueueDeclaration:
    """Return what is declared, with its type and a name (contract Q2, F12)."""
    owner = channel.connection.exclusive if method.exclusive else None
    arguments, prefix = method.arguments, method.arguments.values.get(NAME_PREFIX)
    if NAME_PREFIX in arguments.values:
        arguments = arguments.without(NAME_PREFIX)
    as_rabbitmq = channel.connection.profile is RABBITMQ
    declaration = QueueDeclaration(name, method.durable, method.auto_delete, arguments, owner, as_rabbitmq=as_rabbitmq)
    declaration = declaration.of_type(channel.vhost.default_queue_type)
    if name:
        return declaration
    if declaration.type is not QueueType.CLASSIC:
        raise PreconditionFailed(f"Cannot declare a server-named queue for type rabbit_{declaration.type.value}_queue")
    return replace(declaration, name=channel.connection.shared.new_name(_prefix(prefix)))


def _prefix(asked: object) -> str:
    """Return what the name of a server-named queue begins with; a client may ask for something else by an argument."""
    if not isinstance(asked, str) or not asked:
        return "amq.gen-"
    prefix = _clean(asked)
    if len(asked.encode()) > 64:
        raise PreconditionFailed(f"Queue name prefix '{prefix}' exceeds the 64-byte limit")
    if prefix.startswith("amq.") and prefix != "amq.gen":
        raise AccessRefused(f"queue name prefix '{prefix}' contains reserved prefix 'amq.*'")
    return f"{prefix}-"


def _require_queue(channel: Channel, declaration: QueueDeclaration) -> None:
    """Ask for what a declaration needs: the dead-letter exchange of a new queue gets messages that were in this one."""
    access = channel.connection.access
    access.require(Permission.CONFIGURE, "queue", declaration.name, declaring(access, declaration))
    dead_letters = declaration.arguments.values.get(DEAD_LETTER_EXCHANGE)
    if isinstance(dead_letters, str) and declaration.name not in channel.vhost.queues:
        access.require(Permission.READ, "queue", declaration.name, declaring(access, declaration))
        key = declaration.arguments.values.get(DEAD_LETTER_ROUTING_KEY)
        purpose = publishing(access, dead_letters, key) if isinstance(key, str) else None
        access.require(Permission.WRITE, "exchange", dead_letters, purpose)


async def _declare_replies(channel: Channel, name: str, *, no_wait: bool) -> None:
    """Tell whether somebody waits for replies at this address: it is never declared, however it is asked for."""
    if not await channel.connection.shared.replies.exists(channel.vhost.name, name):
        raise NotFound(f"no {channel.vhost.phrase('queue', name)}")
    channel.last_queue = name
    if not no_wait:
        channel.send(amqp.QueueDeclareOk(name, 0, 1))


async def on_queue_bind(channel: Channel, method: amqp.QueueBind) -> None:
    name = channel.queue_name(method.queue)
    _refuse_replies(name)
    routing_key = method.routing_key or ("" if method.queue else name)
    _require_binding(channel, method.exchange, ("queue", name), routing_key, Operation.BIND)
    channel.vhost.exchange(method.exchange)
    channel.vhost.queue(name, channel.connection.exclusive)
    arguments = await wso2.prepare_binding(channel, method.exchange, name, routing_key, method.arguments)
    await channel.vhost.bind(method.exchange, ("queue", name), routing_key, arguments, channel.connection)
    await _settle(channel)
    if not method.no_wait:
        channel.send(amqp.QueueBindOk())


async def on_queue_unbind(channel: Channel, method: amqp.QueueUnbind) -> None:
    name = channel.queue_name(method.queue)
    _refuse_replies(name)
    routing_key = method.routing_key or ("" if method.queue else name)
    _require_binding(channel, method.exchange, ("queue", name), routing_key, Operation.UNBIND)
    if name in channel.vhost.queues:
        channel.vhost.queue(name, channel.connection.exclusive)
    arguments = wso2.binding_arguments(channel, method.exchange, method.arguments)
    await channel.vhost.unbind(method.exchange, ("queue", name), routing_key, arguments, channel.connection)
    channel.send(amqp.QueueUnbindOk())


async def on_queue_purge(channel: Channel, method: amqp.QueuePurge) -> None:
    name = channel.queue_name(method.queue)
    access = channel.connection.access
    access.require(Permission.READ, "queue", name, using(access, Operation.PURGE, channel.vhost, name))
    count = await channel.vhost.purge_queue(name, channel.connection.exclusive)
    _tell_of(channel, QUEUE_PURGED, channel.vhost.queues.get(name), count)
    if not method.no_wait:
        channel.send(amqp.QueuePurgeOk(count))


async def on_queue_delete(channel: Channel, method: amqp.QueueDelete) -> None:
    name = channel.queue_name(_clean(method.queue))
    access = channel.connection.access
    access.require(Permission.CONFIGURE, "queue", name, using(access, Operation.DELETE, channel.vhost, name))
    queue = channel.vhost.queues.get(name)
    count = await channel.vhost.delete_queue(
        name,
        channel.connection.exclusive,
        if_unused=method.if_unused or (queue is not None and queue.settings.is_subscription),
        if_empty=method.if_empty,
        client=channel.connection,
    )
    _tell_of(channel, QUEUE_DELETED, queue, count)
    if not method.no_wait or channel.vhost.dialect.answers_every_delete:
        channel.send(amqp.QueueDeleteOk(count))


async def _settle(channel: Channel) -> None:
    """Let others know first what a client is told next (ADR 53)."""
    waiting = channel.connection.shared.settled(channel.vhost.name)
    if waiting is not None:
        await waiting


def _tell_of(channel: Channel, event: AuditEvent, queue: Queue | None, messages: int) -> None:
    """Log what has become of a queue that lasts."""
    if queue is not None and queue.is_stored:
        channel.connection.tell(event, queue=queue.name, messages=messages)


def _refuse_replies(name: str) -> None:
    """Raise `AccessRefused` for an address of replies: only the default exchange leads there."""
    if name.startswith(ADDRESSES):
        raise AccessRefused("cannot bind or unbind to a volatile (direct reply-to) queue")


def _clean(name: str) -> str:
    """Strip the line ends that some clients leave in names (contract X1)."""
    return name.replace("\r", "").replace("\n", "")
