"""What is asked: every method, of every kind of resource, and what methods say beside the name of their resource."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from broker.codec import methods as amqp
from broker.codec.field_table import FieldTable
from broker.codec.method import Method
from broker.codec.properties import BasicProperties
from tests.differential.permissions.world import ALL, GRANT_NAMES, IMPERSONATOR, STRANGER, TOPICS

SERVER_NAMED: Final = "(server-named)"
OWN_NAME: Final = "(own name)"
OWN_VHOST: Final = "(virtual host)"
"""What stands for the name of a queue that the server has chosen, for the user's name, and for the virtual host's."""

NO_PROPERTIES: Final = BasicProperties()
NOTHING, QUEUE, EXCHANGE, DEFAULT, NAMELESS = "–", "queue", "exchange", "default exchange", "server-named queue"


@dataclass(frozen=True, slots=True)
class Case:
    """One thing that is asked by users with each of `grants`. The last of `steps` counts."""

    what: str
    """With the name of the method first."""
    resource: str
    steps: tuple[Method, ...]
    properties: BasicProperties = NO_PROPERTIES
    """Of a message."""
    grants: tuple[str, ...] = GRANT_NAMES

    @property
    def name(self) -> str:
        """What it is about, with its resource: unique."""
        return f"{self.what} ({self.resource})"

    @property
    def method(self) -> Method:
        return self.steps[-1]

    @property
    def changes(self) -> bool:
        """May what is there be another one afterwards?"""
        return self.method.name in _CHANGING and not getattr(self.method, "passive", False)


_CHANGING: Final = ("exchange.declare", "exchange.delete", "queue.declare", "queue.delete")


def _case(
    resource: str, more: str, *steps: Method, properties: BasicProperties | None = None, grants: tuple[str, ...] = ()
) -> Case:
    name = f"{steps[-1].name} {more}".strip()
    return Case(name, resource, steps, properties or NO_PROPERTIES, grants or GRANT_NAMES)


def _table(**arguments: object) -> FieldTable:
    return FieldTable.of({name.replace("_", "-"): value for name, value in arguments.items()})


def _publish(exchange: str, key: str = "nowhere", *, mandatory: bool = False) -> Method:
    return amqp.BasicPublish(0, exchange, key, mandatory)


_LAST: Final = amqp.QueueDeclare(queue=SERVER_NAMED, passive=True)
"""After it an empty name means the server-named queue."""
ALTERNATE: Final = _table(alternate_exchange="y")
DEAD_LETTERS: Final = _table(x_dead_letter_exchange="x")

_OPEN: Final = _case(NOTHING, "", amqp.ConnectionOpen("/"), grants=(*GRANT_NAMES, STRANGER))
_CONNECTION: Final = (
    _case(NOTHING, "", amqp.ConnectionUpdateSecret(b"secret", "renewed")),
    _case(NOTHING, "", amqp.ConnectionClose(200, "", 0, 0)),
    _case(NOTHING, "", amqp.ChannelOpen()),
    _case(NOTHING, "", amqp.ChannelFlow(True)),
    _case(NOTHING, "", amqp.ChannelClose(200, "", 0, 0)),
    _case(NOTHING, "", amqp.AccessRequest()),
)
_EXCHANGE: Final = (
    _case(EXCHANGE, "of a new one", amqp.ExchangeDeclare(exchange="n")),
    _case(EXCHANGE, "of one that is there", amqp.ExchangeDeclare(exchange="x")),
    _case(EXCHANGE, "of amq.topic", amqp.ExchangeDeclare(exchange="amq.topic", type="topic", durable=True)),
    _case(EXCHANGE, "of a new amq.n", amqp.ExchangeDeclare(exchange="amq.n")),
    _case(EXCHANGE, "of an unknown type", amqp.ExchangeDeclare(exchange="n", type="unknown")),
    _case(EXCHANGE, "with other properties", amqp.ExchangeDeclare(exchange="x", type="fanout")),
    _case(EXCHANGE, "of one that is there as of an unknown type", amqp.ExchangeDeclare(exchange="x", type="unknown")),
    _case(EXCHANGE, "of a new one with an alternate", amqp.ExchangeDeclare(exchange="n", arguments=ALTERNATE)),
    _case(
        DEFAULT,
        "of a new one with the default one as its alternate",
        amqp.ExchangeDeclare(exchange="n", arguments=_table(alternate_exchange="")),
    ),
    _case(
        EXCHANGE,
        "of a new one with a missing alternate",
        amqp.ExchangeDeclare(exchange="n", arguments=_table(alternate_exchange="m")),
    ),
    _case(
        EXCHANGE,
        "of a new one with an alternate that is no text",
        amqp.ExchangeDeclare(exchange="n", arguments=_table(alternate_exchange=1)),
    ),
    _case(
        EXCHANGE, "of one that is there with its alternate", amqp.ExchangeDeclare(exchange="xa", arguments=ALTERNATE)
    ),
    _case(EXCHANGE, "passive", amqp.ExchangeDeclare(exchange="x", passive=True)),
    _case(EXCHANGE, "passive of a missing one", amqp.ExchangeDeclare(exchange="m", passive=True)),
    _case(DEFAULT, "", amqp.ExchangeDeclare(exchange="", durable=True)),
    _case(DEFAULT, "passive", amqp.ExchangeDeclare(exchange="", passive=True)),
    _case(EXCHANGE, "", amqp.ExchangeDelete(exchange="x")),
    _case(EXCHANGE, "of a missing one", amqp.ExchangeDelete(exchange="m")),
    _case(EXCHANGE, "of amq.topic", amqp.ExchangeDelete(exchange="amq.topic")),
    _case(DEFAULT, "", amqp.ExchangeDelete(exchange="")),
    _case(EXCHANGE, "", amqp.ExchangeBind(destination="y", source="x", routing_key="k")),
    _case(EXCHANGE, "to a topic exchange", amqp.ExchangeBind(destination="y", source="t", routing_key="k")),
    _case(EXCHANGE, "to a missing source", amqp.ExchangeBind(destination="y", source="m", routing_key="k")),
    _case(EXCHANGE, "of a missing destination", amqp.ExchangeBind(destination="m", source="x", routing_key="k")),
    _case(DEFAULT, "as the source", amqp.ExchangeBind(destination="y", source="", routing_key="k")),
    _case(DEFAULT, "as the destination", amqp.ExchangeBind(destination="", source="x", routing_key="k")),
    _case(EXCHANGE, "", amqp.ExchangeUnbind(destination="y", source="x", routing_key="k")),
    _case(EXCHANGE, "from a topic exchange", amqp.ExchangeUnbind(destination="y", source="t", routing_key="k")),
    _case(EXCHANGE, "from a missing source", amqp.ExchangeUnbind(destination="y", source="m", routing_key="k")),
    _case(EXCHANGE, "of a missing destination", amqp.ExchangeUnbind(destination="m", source="x", routing_key="k")),
    _case(DEFAULT, "as the source", amqp.ExchangeUnbind(destination="y", source="", routing_key="k")),
    _case(DEFAULT, "as the destination", amqp.ExchangeUnbind(destination="", source="x", routing_key="k")),
)
_QUEUE: Final = (
    _case(QUEUE, "of a new one", amqp.QueueDeclare(queue="n")),
    _case(QUEUE, "of one that is there", amqp.QueueDeclare(queue="q")),
    _case(QUEUE, "of a new amq.n", amqp.QueueDeclare(queue="amq.n")),
    _case(QUEUE, "with other properties", amqp.QueueDeclare(queue="q", auto_delete=True)),
    _case(QUEUE, "with an argument of another type", amqp.QueueDeclare(queue="n", arguments=_table(x_message_ttl="a"))),
    _case(
        QUEUE,
        "with a dead-letter exchange that is no text",
        amqp.QueueDeclare(queue="n", arguments=_table(x_dead_letter_exchange=1)),
    ),
    _case(QUEUE, "of a new exclusive one", amqp.QueueDeclare(queue="n", exclusive=True)),
    _case(QUEUE, "of a new one with a dead-letter exchange", amqp.QueueDeclare(queue="n", arguments=DEAD_LETTERS)),
    _case(
        QUEUE,
        "of a new one with a missing dead-letter exchange",
        amqp.QueueDeclare(queue="n", arguments=_table(x_dead_letter_exchange="m")),
    ),
    _case(
        DEFAULT,
        "of a new one with the default exchange for dead letters",
        amqp.QueueDeclare(queue="n", arguments=_table(x_dead_letter_exchange="")),
    ),
    _case(
        QUEUE,
        "of one that is there with its dead-letter exchange",
        amqp.QueueDeclare(queue="qd", arguments=DEAD_LETTERS),
    ),
    _case(NAMELESS, "", amqp.QueueDeclare()),
    _case(NAMELESS, "with a dead-letter exchange", amqp.QueueDeclare(arguments=DEAD_LETTERS)),
    _case(QUEUE, "passive", amqp.QueueDeclare(queue="q", passive=True)),
    _case(QUEUE, "passive of a missing one", amqp.QueueDeclare(queue="m", passive=True)),
    _case(NAMELESS, "passive", _LAST),
    _case(NAMELESS, "by its name", amqp.QueueDeclare(queue=SERVER_NAMED)),
    _case(QUEUE, "of replies", amqp.QueueDeclare(queue="amq.rabbitmq.reply-to")),
    _case(QUEUE, "", amqp.QueueBind(queue="q", exchange="x", routing_key="k")),
    _case(QUEUE, "to a topic exchange", amqp.QueueBind(queue="q", exchange="t", routing_key="k")),
    _case(QUEUE, "to a missing exchange", amqp.QueueBind(queue="q", exchange="m", routing_key="k")),
    _case(QUEUE, "of a missing one", amqp.QueueBind(queue="m", exchange="x", routing_key="k")),
    _case(DEFAULT, "to it", amqp.QueueBind(queue="q", exchange="", routing_key="k")),
    _case(NAMELESS, "", _LAST, amqp.QueueBind(queue="", exchange="x", routing_key="k")),
    _case(QUEUE, "", amqp.QueueUnbind(queue="q", exchange="x", routing_key="k")),
    _case(QUEUE, "from a topic exchange", amqp.QueueUnbind(queue="q", exchange="t", routing_key="k")),
    _case(QUEUE, "from a missing exchange", amqp.QueueUnbind(queue="q", exchange="m", routing_key="k")),
    _case(QUEUE, "of a missing one", amqp.QueueUnbind(queue="m", exchange="x", routing_key="k")),
    _case(DEFAULT, "from it", amqp.QueueUnbind(queue="q", exchange="", routing_key="k")),
    _case(NAMELESS, "", _LAST, amqp.QueueUnbind(queue="", exchange="x", routing_key="k")),
    _case(QUEUE, "", amqp.QueuePurge(queue="q")),
    _case(QUEUE, "of a missing one", amqp.QueuePurge(queue="m")),
    _case(NAMELESS, "", _LAST, amqp.QueuePurge(queue="")),
    _case(QUEUE, "of the last one, when there is none", amqp.QueuePurge(queue="")),
    _case(QUEUE, "", amqp.QueueDelete(queue="q")),
    _case(QUEUE, "of a missing one", amqp.QueueDelete(queue="m")),
    _case(QUEUE, "if empty", amqp.QueueDelete(queue="q", if_empty=True)),
    _case(NAMELESS, "", _LAST, amqp.QueueDelete(queue="")),
)
_BASIC: Final = (
    _case(NOTHING, "", amqp.BasicQos(0, 1)),
    _case(QUEUE, "", amqp.BasicConsume(queue="q", consumer_tag="c")),
    _case(QUEUE, "of a missing one", amqp.BasicConsume(queue="m", consumer_tag="c")),
    _case(NAMELESS, "", _LAST, amqp.BasicConsume(queue="", consumer_tag="c")),
    _case(QUEUE, "of replies", amqp.BasicConsume(queue="amq.rabbitmq.reply-to", consumer_tag="c", no_ack=True)),
    _case(NOTHING, "", amqp.BasicCancel("c")),
    _case(QUEUE, "", amqp.BasicGet(queue="q")),
    _case(QUEUE, "of a missing one", amqp.BasicGet(queue="m")),
    _case(NAMELESS, "", _LAST, amqp.BasicGet(queue="")),
    _case(NOTHING, "of an unknown tag", amqp.BasicAck(7)),
    _case(NOTHING, "of an unknown tag", amqp.BasicNack(7)),
    _case(NOTHING, "of an unknown tag", amqp.BasicReject(7)),
    _case(NOTHING, "", amqp.BasicRecover(True)),
    _case(NOTHING, "", amqp.BasicRecoverAsync(True)),
    _case(NOTHING, "", amqp.ConfirmSelect()),
    _case(NOTHING, "", amqp.TxSelect()),
    _case(NOTHING, "", amqp.TxSelect(), amqp.TxCommit()),
    _case(NOTHING, "", amqp.TxSelect(), amqp.TxRollback()),
)
_PUBLISH: Final = (
    _case(EXCHANGE, "", _publish("x")),
    _case(EXCHANGE, "to a missing one", _publish("m")),
    _case(EXCHANGE, "to an internal one", _publish("internal")),
    _case(EXCHANGE, "to a topic exchange", _publish("t")),
    _case(EXCHANGE, "to one with an alternate", _publish("xa")),
    _case(EXCHANGE, "mandatory, to no queue", _publish("x", mandatory=True)),
    _case(EXCHANGE, "immediate", amqp.BasicPublish(0, "x", "k", False, True)),
    _case(
        EXCHANGE, "with CC", _publish("x"), properties=BasicProperties(headers=FieldTable.of({"CC": ["k"], "BCC": []}))
    ),
    _case(EXCHANGE, "in a transaction", amqp.TxSelect(), _publish("x")),
    _case(DEFAULT, "", _publish("")),
    _case(QUEUE, "to an address of replies", _publish("", "amq.rabbitmq.reply-to.nobody")),
)
_USER_ID_GRANTS: Final = (*GRANT_NAMES, IMPERSONATOR)
_USER_ID: Final = (
    _case(
        EXCHANGE,
        "with the user's own user-id",
        _publish("x"),
        properties=BasicProperties(user_id=OWN_NAME),
        grants=_USER_ID_GRANTS,
    ),
    _case(
        EXCHANGE,
        "with another user-id",
        _publish("x"),
        properties=BasicProperties(user_id="somebody"),
        grants=_USER_ID_GRANTS,
    ),
)


def _topic(more: str, *steps: Method, properties: BasicProperties | None = None) -> Case:
    return _case(EXCHANGE, more, *steps, properties=properties, grants=(TOPICS, ALL))


_TOPIC: Final = (
    _topic("of a, which may be written", _publish("t", "a")),
    _topic("of b, which may be read", _publish("t", "b")),
    _topic("of a and, by CC, b", _publish("t", "a"), properties=BasicProperties(headers=FieldTable.of({"CC": ["b"]}))),
    _topic("of b to a direct exchange", _publish("d", "b")),
    _topic("of b to a topic exchange without topic permissions", _publish("amq.topic", "b")),
    _topic("of b to a missing exchange", _publish("m", "b")),
    _topic("of the key that variables name", _publish("variables", f"{OWN_NAME}-{OWN_VHOST}")),
    _topic("of another key than variables name", _publish("variables", "a")),
    _topic("of a key where the expression is empty", _publish("nothing", "a")),
    _topic("of an empty key where the expression is empty", _publish("nothing", "")),
    _topic("of b in a transaction", amqp.TxSelect(), _publish("t", "b")),
    _topic("of a by b, which may be read", amqp.QueueBind(queue="q", exchange="t", routing_key="b")),
    _topic("of a by a, which may be written", amqp.QueueBind(queue="q", exchange="t", routing_key="a")),
    _topic("to a direct exchange by a", amqp.QueueBind(queue="q", exchange="d", routing_key="a")),
    _topic("from a topic exchange by b", amqp.QueueUnbind(queue="q", exchange="t", routing_key="b")),
    _topic("from a topic exchange by a", amqp.QueueUnbind(queue="q", exchange="t", routing_key="a")),
    _topic("to a topic exchange by b", amqp.ExchangeBind(destination="y", source="t", routing_key="b")),
    _topic("to a topic exchange by a", amqp.ExchangeBind(destination="y", source="t", routing_key="a")),
    _topic("of a topic exchange by a", amqp.ExchangeBind(destination="t", source="x", routing_key="a")),
    _topic("from a topic exchange by a", amqp.ExchangeUnbind(destination="y", source="t", routing_key="a")),
    _topic(
        "with a topic exchange as alternate",
        amqp.ExchangeDeclare(exchange="n", arguments=_table(alternate_exchange="t")),
    ),
    _topic(
        "with a topic exchange for dead letters",
        amqp.QueueDeclare(queue="n", arguments=_table(x_dead_letter_exchange="t")),
    ),
)

BY_PERMISSION: Final[tuple[Case, ...]] = _CONNECTION + _EXCHANGE + _QUEUE + _BASIC + _PUBLISH
BY_USER: Final[tuple[Case, ...]] = (_OPEN, *_USER_ID)
BY_TOPIC: Final[tuple[Case, ...]] = _TOPIC
CASES: Final[tuple[Case, ...]] = BY_PERMISSION + BY_USER + BY_TOPIC
