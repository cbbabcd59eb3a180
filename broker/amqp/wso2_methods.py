"""What the handlers do for clients of the dialect of WSO2's broker, beside what the specification says.

Which of it a virtual host has, its `ClientDialect` says.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from broker.amqp.channel import Channel
from broker.codec import methods as amqp
from broker.codec.field_table import EMPTY_TABLE, FieldTable
from broker.errors import AccessRefused, CommandInvalid, InvalidSelector, NotImplementedFault
from broker.selector.selector import Selector
from broker.selector.tokens import SelectorError
from broker.topology.declaration import QueueDeclaration
from broker.topology.dialect import QUEUES, TOPICS, ClientDialect

_SELECTOR: Final = "x-filter-jms-selector"
_NO_CONSUME: Final = "x-filter-no-consume"
_AUTO_CLOSE: Final = "x-filter-auto-close"
_FILTERS: Final = "x-filter-"
_OWN: Final = ("x-filter-", "x-qpid-")
"""What the arguments begin with that clients of this family send and that are no arguments of a binding."""


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
    channel.send(amqp.ExchangeBoundOk(_bound(channel, method.exchange, method.routing_key, method.queue)))


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
    found = [each for each in exchange.bindings if not queue or each.destination == ("queue", queue)]
    if not key:
        if found:
            return Bound.YES
        return Bound.QUEUE_NOT_BOUND if queue else Bound.NO_BINDINGS
    if any(each.routing_key == key for each in found):
        return Bound.YES
    return Bound.QUEUE_NOT_BOUND_BY_KEY if queue else Bound.KEY_NOT_BOUND


def as_subscription(channel: Channel, declaration: QueueDeclaration) -> QueueDeclaration:
    """Return the declaration of a durable subscription, if the client means one."""
    if declaration.durable and declaration.owner is not None and channel.vhost.dialect.has_durable_subscriptions:
        return declaration.as_subscription()
    return declaration


async def prepare_binding(channel: Channel, exchange: str, queue: str, key: str, arguments: FieldTable) -> FieldTable:
    """Return the arguments that a new binding of a queue has. What a durable subscription was before ends."""
    require_served(arguments)
    if not channel.vhost.dialect.has_durable_subscriptions:
        return arguments
    arguments = _without_filters(arguments)
    if exchange == TOPICS and channel.vhost.queues[queue].settings.is_subscription:
        await _end_other(channel, queue, key, arguments)
    return arguments


async def _end_other(channel: Channel, name: str, key: str, arguments: FieldTable) -> None:
    """A durable subscription is to another topic from now on: what it has, it has for the old one."""
    vhost, queue = channel.vhost, channel.vhost.queues[name]
    bindings = [each for each in vhost.exchanges[TOPICS].bindings if each.destination == ("queue", name)]
    if all((each.routing_key, each.arguments) == (key, arguments) for each in bindings):
        return
    if queue.consumers or vhost.consumers.elsewhere(queue):
        raise AccessRefused(f"{vhost.phrase('queue', name)} in exclusive use: its subscription is to another topic")
    for each in bindings:
        await vhost.unbind(TOPICS, each.destination, each.routing_key, each.arguments, channel.connection)
    await vhost.purge_queue(name, channel.connection.exclusive)


def is_browser(dialect: ClientDialect, arguments: FieldTable) -> bool:
    """Does a client want to look through a queue, to its end, and take nothing?"""
    return dialect.has_browsers and all(arguments.values.get(name) is True for name in (_NO_CONSUME, _AUTO_CLOSE))


def selector_of(channel: Channel, arguments: FieldTable) -> Selector | None:
    """Return the selector that a client asks for, if it selects anything. Raises `InvalidSelector`."""
    text = arguments.values.get(_SELECTOR)
    if not text or not channel.vhost.dialect.has_selectors:
        return None
    try:
        selector = channel.broker.selectors.get(text if isinstance(text, str | bytes) else str(text))
    except SelectorError as error:
        raise InvalidSelector(f"selector '{text}': {error}") from None
    return None if selector.is_trivial else selector


def require_served(arguments: FieldTable) -> None:
    """Raise `NotImplementedFault` for arguments that would change which messages a client gets."""
    for name, value in arguments.values.items():
        if name.startswith(_FILTERS) and not (name == _SELECTOR and value == "") and value is not False:
            raise NotImplementedFault(f"argument '{name}' is not served")


def _without_filters(arguments: FieldTable) -> FieldTable:
    for name in [name for name in arguments.values if name.startswith(_OWN)]:
        arguments = arguments.without(name)
    return arguments if arguments.values else EMPTY_TABLE
