"""Dialects of virtual hosts: where clients of a family expect something else than AMQP 0-9-1 as RabbitMQ speaks it.

The protocol asks the dialect of its virtual host at the places that the fields name; there are no other conditions.
`docs/jms.md` says what the clients send.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from broker.ports.names import DEAD_LETTER_CHANNEL

TOPICS: Final = "amq.topic"
QUEUES: Final = "amq.direct"
SELECTOR: Final = "x-filter-jms-selector"
UNKNOWN_SELECTOR: Final = "x-unknown-selector"
"""This broker's own argument of bindings: the durable subscription comes from a broker that keeps no selectors. Its
client tells it when it subscribes again, and is then no other subscription.
"""
_FILTERS: Final = "x-filter-"
"""The argument in which clients send a selector; an empty one is none."""


@dataclass(frozen=True, slots=True)
class ChannelRules:
    """Which messages of a virtual host go to its dead letter channel, beside those that clients reject for good."""

    redeliveries: int = 10
    """How often a message is delivered again before it goes there."""
    moves_expired: bool = False
    """Do messages go there whose time is over?"""
    keeps_expiration: bool = False
    """Do messages that have a time of their own expire there?"""


@dataclass(frozen=True, slots=True)
class ClientDialect:
    """What is different in a virtual host."""

    name: str
    has_absolute_expiration: bool = False
    """Is the property `expiration` milliseconds since 1970 if it is that large, and nothing if it is empty?"""
    has_exchange_bound: bool = False
    """Is the method exchange.bound served?"""
    takes_predeclared_by_type: bool = False
    """May exchanges that are always there be declared again, whatever is said of them beside their type?"""
    answers_every_delete: bool = False
    """Is queue.delete answered although the client said that it waits for nothing?"""
    silent_exchanges: frozenset[str] = frozenset()
    """Exchanges that return nothing."""
    reaches_queues_by_name: bool = False
    """Does `amq.direct` lead to the queue that is named like the routing key, as the default exchange does?"""
    gives_back_at_once: bool = False
    """Does basic.reject give a message back before its transaction is committed, or rolled back?"""
    recovers_without_requeue: bool = False
    """Is basic.recover without `requeue` served, as with it?"""
    ignores_late_answers: bool = False
    """Is it no error to answer a delivery again?"""
    has_selectors: bool = False
    """May a client ask for the messages that a selector of JMS selects?"""
    has_browsers: bool = False
    """May a client look through a queue without taking anything?"""
    has_distributed_transactions: bool = False
    """Are the methods dtx.* served?"""
    has_durable_subscriptions: bool = False
    """Is a queue that is durable and exclusive a subscription: with one consumer at a time, of any connection?"""
    shares_subscriptions: bool = False
    """May such a subscription have several consumers at a time?"""
    asks_publishers_by_flow: bool = False
    """Is a client that does not know connection.blocked asked by channel.flow to publish nothing for a while?"""
    default_exchange: str = ""
    """What the default exchange is called in deliveries to clients that do not know connection.blocked."""
    spares_own_messages: bool = False
    """Does a subscription of a topic whose consumer asks for `no_local` get nothing from the consumer's connection?"""
    channel: ChannelRules | None = None
    """What goes to the dead letter channel, if there is one."""
    tells_delivery_count: bool = False
    """Does each delivery say, in the header `JMSXDeliveryCount`, how often its message has been delivered with it?"""

    def unserved(self, arguments: Mapping[str, Any]) -> str:
        """Return the name of an argument that would change which messages somebody gets, and is not served; nothing if
        there is none.
        """
        for name, value in arguments.items():
            is_served = value is False or (name == SELECTOR and (value == "" or self.has_selectors))
            if name.startswith(_FILTERS) and not is_served:
                return name
        return ""

    def name_of(self, queue: str) -> str:
        """Return the name of the queue that a client means."""
        if self.channel is not None and len(queue) == len(DEAD_LETTER_CHANNEL) and queue.lower() == DEAD_LETTER_CHANNEL:
            return DEAD_LETTER_CHANNEL
        return queue


PLAIN: Final = ClientDialect("none")
WSO2: Final = ClientDialect(
    "wso2",
    has_absolute_expiration=True,
    has_exchange_bound=True,
    takes_predeclared_by_type=True,
    answers_every_delete=True,
    silent_exchanges=frozenset((TOPICS,)),
    reaches_queues_by_name=True,
    gives_back_at_once=True,
    recovers_without_requeue=True,
    ignores_late_answers=True,
    has_selectors=True,
    has_browsers=True,
    has_distributed_transactions=True,
    has_durable_subscriptions=True,
    channel=ChannelRules(),
    tells_delivery_count=True,
    spares_own_messages=True,
    asks_publishers_by_flow=True,
    default_exchange=QUEUES,
)

DIALECTS: Final[Mapping[str, ClientDialect]] = {each.name: each for each in (PLAIN, WSO2)}
"""The dialects by the names that the configuration has for them."""
