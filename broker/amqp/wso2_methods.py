"""What the handlers do for clients of the dialect of WSO2's broker, beside what the specification says.

Which of it a virtual host has, its `ClientDialect` says.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from broker.amqp.channel import Channel
from broker.amqp.consumer import Consumer
from broker.amqp.purposes import using
from broker.auth.access import Operation, Permission
from broker.codec import methods as amqp
from broker.codec.field_table import EMPTY_TABLE, FieldTable
from broker.errors import AccessRefused, CommandInvalid, NotImplementedFault
from broker.queue.queue import Queue
from broker.selector.selector import Selector
from broker.topology.declaration import QueueDeclaration
from broker.topology.dialect import QUEUES, SELECTOR, TOPICS, UNKNOWN_SELECTOR, ClientDialect
from broker.topology.exchange_types.topic_by_selector import selector_text

_NO_CONSUME: Final = "x-filter-no-consume"
_AUTO_CLOSE: Final = "x-filter-auto-close"
_NO_LOCAL: Final = "x-qpid-no-local"
_OWN: Final = ("x-filter-", "x-qpid-")
"""What the arguments begin with that clients of this family send and that are no arguments of a binding."""

_BINDINGS_A_STEP: Final = 10
"""Bindings whose keys are compared in about a microsecond, which is a step of a turn."""


class Bound(IntEnum):
    """The answers to exchange.bound."""

    YES = 0
    NO_EXCHANGE = 1
    NO_QUEUE = 2
    NO_BINDINGS = 3
    QUEUE_NOT_BOUND = 4
    KEY_NOT_BOUND = 5
    QUEUE_NOT_BOUND_BY_KEY = 6


def on_exchange_bound(channel: Channel, method: amqp.ExchangeBound) -> None:
    if not channel.vhost.dialect.has_exchange_bound:
        raise CommandInvalid("unimplemented method")
    name_of = channel.vhost.dialect.name_of
    channel.send(amqp.ExchangeBoundOk(_bound(channel, method.exchange, method.routing_key, name_of(method.queue))))


def _bound(channel: Channel, exchange_name: str, key: str, queue: str) -> Bound:
    """Tell whether a queue, a key, or a queue by a key is bound; what is empty is not asked for."""
    vhost = channel.vhost
    exchange = vhost.exchanges.get(exchange_name)
    if exchange is None:
        return Bound.NO_EXCHANGE
    if queue and queue not in vhost.queues:
        return Bound.NO_QUEUE
    by_name = not exchange_name or (exchange_name == QUEUES and vhost.dialect.reaches_queues_by_name)
    if by_name and (queue or key) in vhost.queues and (key or queue) == (queue or key):
        return Bound.YES
    found = exchange.bindings_of(("queue", queue)) if queue else exchange.bindings
    if not key:
        if found:
            return Bound.YES
        return Bound.QUEUE_NOT_BOUND if queue else Bound.NO_BINDINGS
    channel.broker.work.done += len(found) // _BINDINGS_A_STEP
    if any(each.routing_key == key for each in found):
        return Bound.YES
    return Bound.QUEUE_NOT_BOUND_BY_KEY if queue else Bound.KEY_NOT_BOUND


def as_meant(channel: Channel, declaration: QueueDeclaration) -> QueueDeclaration:
    """Return the declaration of a durable subscription, if the client means one, or of the dead letter channel, which
    is what it is however it is declared.
    """
    if channel.vhost.is_channel(declaration.name):
        return channel.vhost.channel_declaration()
    if declaration.durable and declaration.owner is not None and channel.vhost.dialect.has_durable_subscriptions:
        return declaration.as_subscription()
    return declaration


async def prepare_binding(channel: Channel, exchange: str, queue: str, key: str, arguments: FieldTable) -> FieldTable:
    """Return the arguments that a new binding of a queue has. What a durable subscription was before ends."""
    arguments = binding_arguments(channel, exchange, arguments)
    vhost = channel.vhost
    if exchange == TOPICS and vhost.dialect.has_durable_subscriptions and vhost.queues[queue].settings.is_subscription:
        await _end_other(channel, queue, key, arguments)
    return arguments


def binding_arguments(channel: Channel, exchange: str, arguments: FieldTable) -> FieldTable:
    """Return what of a client's `arguments` is part of a binding: of a topic's the selector, too.

    Those of a queue's binding do not filter, because each consumer tells its own. Raises `InvalidSelector`, and
    `NotImplementedFault` for what is not served.
    """
    if not arguments:
        return arguments
    selector = selector_of(channel, arguments)
    require_served(arguments, channel.vhost.dialect)
    if not channel.vhost.dialect.has_selectors:
        return arguments
    if exchange == TOPICS or selector is None:
        return _without_filters(arguments, keeps_selector=selector is not None)
    if exchange == QUEUES:
        return _without_filters(arguments)
    raise NotImplementedFault(f"argument '{SELECTOR}' is not served for {channel.vhost.phrase('exchange', exchange)}")


def selector_of(channel: Channel, arguments: FieldTable) -> Selector | None:
    """Return the selector that a client asks for, if it selects anything. Raises `InvalidSelector`."""
    text = selector_text(arguments) if channel.vhost.dialect.has_selectors else ""
    selector = channel.broker.selectors.get(text) if text else None
    return None if selector is None or selector.is_trivial else selector


def is_routed_by_selector(channel: Channel, queue: Queue, arguments: FieldTable) -> bool:
    """Do only messages come to a queue that pass the selector of its consumer, because all its bindings have it?"""
    vhost, text = channel.vhost, selector_text(arguments)
    if set(vhost.routing.sources_of(("queue", queue.name))) != {TOPICS}:
        return False
    bindings = vhost.exchanges[TOPICS].bindings_of(("queue", queue.name))
    return all(selector_text(each.arguments) == text for each in bindings)


async def _end_other(channel: Channel, name: str, key: str, arguments: FieldTable) -> None:
    """A durable subscription has another topic or selector from now on: what it has, it has for the old one."""
    vhost, queue = channel.vhost, channel.vhost.queues[name]
    bindings = vhost.exchanges[TOPICS].bindings_of(("queue", name))
    selector = selector_text(arguments)
    unknown = [each for each in bindings if UNKNOWN_SELECTOR in each.arguments.values]
    if unknown and all(each.routing_key == key for each in bindings):
        await vhost.bind(TOPICS, ("queue", name), key, arguments, channel.connection)  # first: nothing is missed
        for each in unknown:
            await vhost.unbind(TOPICS, each.destination, key, each.arguments, channel.connection)
        return
    if all((each.routing_key, selector_text(each.arguments)) == (key, selector) for each in bindings):
        return
    if queue.consumers or vhost.consumers.elsewhere(queue):
        raise AccessRefused(f"{vhost.phrase('queue', name)} in exclusive use: its subscription is another one")
    access = channel.connection.access  # who may consume what it has may throw it away
    access.require(Permission.READ, "queue", name, using(access, Operation.CONSUME, vhost, name))
    for each in bindings:
        await vhost.unbind(TOPICS, each.destination, each.routing_key, each.arguments, channel.connection)
    await vhost.purge_queue(name, channel.connection.exclusive)


def is_browser(dialect: ClientDialect, arguments: FieldTable) -> bool:
    """Does a client want to look through a queue, to its end, and take nothing?"""
    return dialect.has_browsers and all(arguments.values.get(name) is True for name in (_NO_CONSUME, _AUTO_CLOSE))


def spare_own_messages(channel: Channel, consumer: Consumer, method: amqp.BasicConsume) -> None:
    """Let a new consumer get nothing that its connection publishes to the topic, if it asks for that and is alone."""
    asked = method.no_local or (method.arguments and method.arguments.values.get(_NO_LOCAL) is True)
    if asked and consumer.is_exclusive and channel.vhost.dialect.spares_own_messages:
        channel.vhost.own_messages.begin(consumer.queue.name, channel.connection)


def require_served(arguments: FieldTable, dialect: ClientDialect) -> None:
    """Raise `NotImplementedFault` for arguments that would change which messages a client gets."""
    if arguments and (name := dialect.unserved(arguments.values)):
        raise NotImplementedFault(f"argument '{name}' is not served")


def _without_filters(arguments: FieldTable, *, keeps_selector: bool = False) -> FieldTable:
    """Return arguments without those that are none of a binding. A selector is a long string, whatever it came as: the
    same text is the same binding.
    """
    kept = FieldTable.of({SELECTOR: selector_text(arguments)}).raw if keeps_selector else b""
    for name in [name for name in arguments.values if name.startswith(_OWN)]:
        arguments = arguments.without(name)
    return FieldTable(arguments.raw + kept).in_order() if arguments or kept else EMPTY_TABLE
