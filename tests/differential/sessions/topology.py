"""Exchanges, their types, queues and bindings: rows X, E and Q of the contract."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from broker.codec.field_table import FieldTable
from broker.codec.methods import (
    BasicCancel,
    BasicConsume,
    BasicGet,
    ExchangeBind,
    ExchangeDeclare,
    ExchangeDelete,
    ExchangeUnbind,
    QueueBind,
    QueueDeclare,
    QueueDelete,
    QueuePurge,
    QueueUnbind,
)
from tests.differential.talk import Book, Talk

BOOK = Book()
session = BOOK.session

# Exchanges


for kind in ("direct", "fanout", "topic", "headers", "none", "", "x-consistent-hash", "DIRECT"):
    BOOK.add(f"declare type {kind!r}", ["X1", "X4"], lambda talk, kind=kind: talk.exchange("x", kind))


@session("X1")
def declaring_an_equal_exchange_changes_nothing(talk: Talk) -> None:
    for _ in range(2):
        talk.exchange("x", "topic", durable=True)


@session("X1")
def line_ends_are_stripped_from_names(talk: Talk) -> None:
    talk.exchange("x\r\n", "direct")
    talk.exchange("x", "direct")
    talk.send(QueueDeclare(queue="q\n"))
    talk.declare("q", passive=True)


_EXCHANGE = {"kind": "direct", "durable": False, "auto_delete": False, "internal": False}
for name, other in (
    ("kind", {"kind": "fanout"}),
    ("durable", {"durable": True}),
    ("auto-delete", {"auto_delete": True}),
    ("internal", {"internal": True}),
    ("alternate", {"alternate_exchange": "a"}),
    ("an argument without a meaning", {"x_mine": 1}),
):
    for first, second in (({}, other), (other, {})):

        def redeclare(talk: Talk, first: Any = first, second: Any = second) -> None:
            talk.exchange(**(_EXCHANGE | first))
            talk.exchange(**(_EXCHANGE | second))

        BOOK.add(f"declare anew with another {name} {'first' if first else 'second'}", ["X2"], redeclare)


@session("X3")
def a_passive_declare_compares_nothing(talk: Talk) -> None:
    talk.exchange("x", "fanout", durable=True)
    talk.exchange("x", "direct", passive=True)
    talk.exchange("x", "none", passive=True)


for name in ("amq.mine", "amq.", "amqmine"):
    BOOK.add(f"declare exchange {name}", ["X5"], lambda talk, name=name: talk.exchange(name, "direct"))


@session("X5")
def an_exchange_of_the_broker_as_it_is(talk: Talk) -> None:
    talk.exchange("amq.direct", "direct", durable=True)
    talk.exchange("amq.direct", "direct")


@session("X5")
def an_exchange_of_the_broker_is_not_deleted(talk: Talk) -> None:
    talk.send(ExchangeDelete(exchange="amq.direct"))


for name, method in (
    ("declare", ExchangeDeclare(exchange="", type="direct")),
    ("declare passively", ExchangeDeclare(exchange="", type="direct", passive=True)),
    ("delete", ExchangeDelete(exchange="")),
    ("bind", QueueBind(queue="q", exchange="", routing_key="k")),
    ("unbind", QueueUnbind(queue="q", exchange="", routing_key="q")),
    ("bind as a source", ExchangeBind(destination="amq.fanout", source="", routing_key="k")),
    ("bind as a destination", ExchangeBind(destination="", source="amq.fanout", routing_key="k")),
    ("unbind as a source", ExchangeUnbind(destination="amq.fanout", source="", routing_key="k")),
):

    def default_exchange(talk: Talk, method: Any = method) -> None:
        talk.declare("q")
        talk.send(method)

    BOOK.add(f"{name} the default exchange", ["X6"], default_exchange)

for name in ("amq.direct", "amq.fanout", "amq.topic", "amq.headers", "amq.match", "amq.rabbitmq.trace"):
    BOOK.add(f"there is {name}", ["X7"], lambda talk, name=name: talk.exchange(name, "direct", passive=True))


@session("X7")
def nobody_publishes_to_the_exchange_of_traces(talk: Talk) -> None:
    talk.publish("k", exchange="amq.rabbitmq.trace")


@session("X9")
def an_auto_delete_exchange_goes_with_its_last_binding(talk: Talk) -> None:
    talk.exchange("x", "direct", auto_delete=True)
    talk.declare("q")
    talk.bind(key="a")
    talk.bind(key="b")
    talk.send(QueueUnbind(queue="q", exchange="x", routing_key="a"))
    talk.exchange("x", "direct", passive=True)
    talk.send(QueueUnbind(queue="q", exchange="x", routing_key="b"))
    talk.exchange("x", "direct", passive=True)


@session("X9")
def an_auto_delete_exchange_goes_with_its_last_queue(talk: Talk) -> None:
    talk.exchange("x", "direct", auto_delete=True)
    talk.declare("q")
    talk.bind()
    talk.send(QueueDelete(queue="q"))
    talk.exchange("x", "direct", passive=True)


@session("X9")
def an_auto_delete_exchange_without_bindings_stays(talk: Talk) -> None:
    talk.exchange("x", "direct", auto_delete=True)
    talk.exchange("x", "direct", passive=True)


@session("X9", "X14")
def auto_delete_goes_through_exchanges(talk: Talk) -> None:
    talk.exchange("x", "fanout", auto_delete=True)
    talk.exchange("y", "fanout", auto_delete=True)
    talk.declare("q")
    talk.send(ExchangeBind(destination="y", source="x"))
    talk.bind("q", "y")
    talk.send(QueueDelete(queue="q"))
    talk.exchange("x", "fanout", passive=True)
    talk.open()
    talk.exchange("y", "fanout", passive=True)


@session("X10")
def publishing_to_an_internal_exchange(talk: Talk) -> None:
    talk.exchange("x", "fanout", internal=True)
    talk.publish(exchange="x")


@session("X10")
def another_exchange_routes_into_an_internal_one(talk: Talk) -> None:
    talk.exchange("x", "fanout", internal=True)
    talk.exchange("y", "fanout")
    talk.send(ExchangeBind(destination="x", source="y"))
    talk.declare("q")
    talk.bind("q", "x")
    talk.publish(exchange="y")
    talk.get("q")


@session("X11")
def no_wait_has_no_answer(talk: Talk) -> None:
    talk.send(ExchangeDeclare(exchange="x", type="direct", no_wait=True))
    talk.exchanges["x"] = None
    talk.send(ExchangeDelete(exchange="x", no_wait=True))
    talk.send(ExchangeDeclare(exchange="x", type="none", no_wait=True))


@session("X12")
def deleting_what_is_not_there(talk: Talk) -> None:
    talk.send(ExchangeDelete(exchange="none"))
    talk.send(ExchangeDelete(exchange="none", if_unused=True))


@session("X12")
def deleting_what_is_in_use(talk: Talk) -> None:
    talk.exchange("x", "fanout")
    talk.declare("q")
    talk.bind()
    talk.send(ExchangeDelete(exchange="x", if_unused=True))
    talk.open()
    talk.send(ExchangeDelete(exchange="x"))
    talk.exchange("x", "fanout", passive=True)


@session("X12")
def deleting_what_is_only_a_destination(talk: Talk) -> None:
    talk.exchange("x", "fanout")
    talk.exchange("y", "fanout")
    talk.send(ExchangeBind(destination="x", source="y"))
    talk.send(ExchangeDelete(exchange="x", if_unused=True))
    talk.send(ExchangeDelete(exchange="y", if_unused=True))


@session("X13")
def an_alternate_exchange_gets_what_is_not_routed(talk: Talk) -> None:
    talk.exchange("y", "fanout")
    talk.exchange("x", "direct", alternate_exchange="y")
    talk.declare("q")
    talk.bind("q", "y")
    talk.publish("nowhere", exchange="x", mandatory=True)
    talk.get("q")


@session("X13", "B2")
def an_alternate_exchange_that_is_not_there_is_none(talk: Talk) -> None:
    talk.exchange("x", "direct", alternate_exchange="none")
    talk.publish("nowhere", exchange="x", mandatory=True)


@session("X13", "B2")
def an_alternate_exchange_that_routes_nowhere(talk: Talk) -> None:
    talk.exchange("y", "direct")
    talk.exchange("x", "direct", alternate_exchange="y")
    talk.publish("nowhere", exchange="x", mandatory=True)


@session("X13")
def alternate_exchanges_in_a_circle(talk: Talk) -> None:
    talk.exchange("x", "direct", alternate_exchange="y")
    talk.exchange("y", "direct", alternate_exchange="x")
    talk.publish("nowhere", exchange="x", mandatory=True)


@session("X13")
def the_alternate_is_that_of_the_exchange_that_does_not_route(talk: Talk) -> None:
    talk.exchange("x", "fanout")
    talk.exchange("y", "direct", alternate_exchange="z")
    talk.exchange("z", "fanout")
    talk.send(ExchangeBind(destination="y", source="x"))
    talk.declare("q")
    talk.bind("q", "z")
    talk.publish("nowhere", exchange="x", mandatory=True)
    talk.get("q")


@session("X14")
def a_chain_of_exchanges_gives_one_copy(talk: Talk) -> None:
    for name in ("x", "y", "z"):
        talk.exchange(name, "fanout")
    for destination, source in (("y", "x"), ("z", "x"), ("z", "y"), ("x", "z")):
        talk.send(ExchangeBind(destination=destination, source=source))
    talk.declare("q")
    for exchange in ("x", "y", "z"):
        talk.bind("q", exchange)
    talk.publish(exchange="x")
    talk.get("q")
    talk.get("q")


@session("X14")
def exchange_bind_and_unbind(talk: Talk) -> None:
    talk.exchange("x", "direct")
    talk.exchange("y", "fanout")
    talk.declare("q")
    talk.bind("q", "y")
    for _ in range(2):
        talk.send(ExchangeBind(destination="y", source="x", routing_key="k"))
    talk.publish("k", exchange="x", mandatory=True)
    for _ in range(2):
        talk.send(ExchangeUnbind(destination="y", source="x", routing_key="k"))
    talk.publish("k", exchange="x", mandatory=True)


for destination, source in (("none", "amq.fanout"), ("amq.fanout", "none")):
    for name, kind in (("bind", ExchangeBind), ("unbind", ExchangeUnbind)):
        method: Any = kind(destination=destination, source=source, routing_key="k")
        BOOK.add(
            f"exchange.{name} of {destination} to {source}", ["X14"], lambda talk, method=method: talk.send(method)
        )

for value in (1, True, None, ["a"], b"a"):
    BOOK.add(
        f"an alternate exchange {value!r}",
        ["X15"],
        lambda talk, value=value: talk.exchange("x", "direct", alternate_exchange=value),
    )

# Types


@session("E1")
def direct(talk: Talk) -> None:
    talk.exchange("x", "direct")
    talk.declare("q")
    talk.declare("other")
    for queue in ("q", "other"):
        talk.bind(queue, "x", "same")
    talk.bind("q", "x", "one")
    talk.publish("same", b"both", exchange="x")
    talk.publish("one", b"one", exchange="x")
    talk.publish("SAME", b"none", exchange="x", mandatory=True)
    talk.publish("", b"none", exchange="x", mandatory=True)
    for queue in ("q", "q", "q", "other", "other"):
        talk.get(queue)


@session("E2")
def fanout(talk: Talk) -> None:
    talk.exchange("x", "fanout")
    talk.declare("q")
    for key in ("a", "b", ""):
        talk.bind("q", "x", key)
    talk.publish("whatever", exchange="x")
    talk.get("q")
    talk.get("q")


def _topic(pattern: str, keys: tuple[str, ...]) -> Callable[[Talk], None]:
    def script(talk: Talk) -> None:
        talk.exchange("x", "topic")
        talk.declare("q")
        talk.bind("q", "x", pattern)
        for key in keys:
            talk.publish(key, key.encode(), exchange="x", mandatory=True)

    return script


_KEYS = ("", "a", "a.b", "a.b.c", ".", "a.", ".a", "a..b", "b.a", "*", "#", "a.*", "a.#.b", "a.x.y.b", "a.b.b")
for pattern in (
    "",
    "a",
    "*",
    "#",
    "a.*",
    "a.#",
    "#.b",
    "*.b",
    "a.#.b",
    "*.*",
    "#.#",
    "a.*.b",
    "a..b",
    ".",
    "#.a.#",
    "a.#.#",
):
    BOOK.add(f"topic {pattern!r}", ["E3"], _topic(pattern, _KEYS))


def _headers(arguments: dict[str, Any], messages: tuple[dict[str, Any], ...]) -> Callable[[Talk], None]:
    def script(talk: Talk) -> None:
        talk.exchange("x", "headers")
        talk.declare("q")
        talk.send(QueueBind(queue="q", exchange="x", routing_key="k", arguments=FieldTable.of(arguments)))
        for number, headers in enumerate(messages):
            talk.publish("k", b"%d" % number, exchange="x", mandatory=True, headers=headers)

    return script


_HEADERS: tuple[dict[str, Any], ...] = (
    {},
    {"a": 1},
    {"a": 1, "b": "x"},
    {"a": 1.0, "b": "x"},
    {"a": "1"},
    {"a": None},
    {"a": True, "x-c": 1},
    {"x-c": 1},
    {"b": b"x"},
)
for arguments in (
    {},
    {"x-match": "all"},
    {"x-match": "any"},
    {"a": 1},
    {"x-match": "all", "a": 1, "b": "x"},
    {"x-match": "any", "a": 1, "b": "x"},
    {"x-match": "any", "x-c": 1},
    {"x-match": "all", "x-c": 1},
    {"x-match": "all-with-x", "x-c": 1},
    {"x-match": "any-with-x", "x-c": 1, "a": 5},
    {"x-match": "none", "a": 1},
    {"x-match": 1, "a": 1},
    {"a": None},
    {"a": True},
    {"a": "1"},
):
    BOOK.add(f"headers {arguments}", ["E4"], _headers(arguments, _HEADERS))

# Queues


@session("Q1", "U9")
def declare_ok_tells_the_counts(talk: Talk) -> None:
    talk.declare("q")
    for body in (b"a", b"b", b"c"):
        talk.publish("q", body)
    talk.get("q", no_ack=False)
    talk.declare("q")
    talk.open(2)
    talk.consume("q", channel=2)
    talk.declare("q")


@session("Q2", "Q3")
def a_server_names_queues(talk: Talk) -> None:
    talk.declare("")
    talk.declare("", passive=True)
    talk.send(QueueBind(queue="", exchange="amq.fanout", routing_key=""))
    talk.publish("", exchange="amq.fanout")
    talk.get("")
    talk.send(QueueDelete(queue=""))


for name, method in (
    ("bind", QueueBind(queue="", exchange="amq.fanout", routing_key="k")),
    ("purge", QueuePurge(queue="")),
    ("delete", QueueDelete(queue="")),
    ("get", BasicGet(queue="")),
    ("consume", BasicConsume(queue="", consumer_tag="c")),
    ("declare passively", QueueDeclare(queue="", passive=True)),
):
    BOOK.add(f"{name} without a queue", ["Q3"], lambda talk, method=method: talk.send(method))


@session("Q3")
def an_empty_key_beside_an_empty_queue_is_its_name(talk: Talk) -> None:
    talk.exchange("x", "direct")
    talk.declare("q")
    talk.send(QueueBind(queue="", exchange="x", routing_key=""))
    talk.publish("q", exchange="x", mandatory=True)
    talk.publish("", exchange="x", mandatory=True)


_OTHERS: tuple[tuple[dict[str, Any], dict[str, Any]], ...] = (
    ({"durable": True}, {}),
    ({}, {"durable": True}),
    ({"auto_delete": True}, {}),
    ({}, {"auto_delete": True}),
    ({"exclusive": True}, {}),
    ({}, {"exclusive": True}),
    ({"exclusive": True}, {"exclusive": True, "durable": True}),
    ({"x_max_length": 10}, {"x_max_length": 20}),
    ({"x_max_length": 10}, {}),
    ({}, {"x_max_length": 10}),
    ({"x_max_length": 10}, {"x_max_length": 10.0}),
    ({"x_max_length": 10}, {"x_max_length": 1 << 40}),
    ({"x_message_ttl": 10}, {"x_message_ttl": 11}),
    ({"x_expires": 100_000}, {"x_expires": 100_001}),
    ({"x_dead_letter_exchange": "a"}, {"x_dead_letter_exchange": "b"}),
    ({"x_dead_letter_exchange": "a"}, {"x_dead_letter_exchange": "a", "x_dead_letter_routing_key": "k"}),
    ({"x_queue_type": "classic"}, {}),
    ({}, {"x_queue_type": "classic"}),
    ({"x_queue_mode": "lazy"}, {}),
    ({"x_queue_mode": "lazy"}, {"x_queue_mode": "default"}),
    ({"x_mine": 1}, {"x_mine": 2}),
    ({"x_max_priority": 5}, {"x_max_priority": 6}),
    ({"x_overflow": "drop-head"}, {"x_overflow": "reject-publish"}),
    ({"x_single_active_consumer": True}, {"x_single_active_consumer": False}),
    ({"x_max_length_bytes": 10}, {"x_max_length_bytes": "10"}),
)
for first, second in _OTHERS:

    def declare_anew(talk: Talk, first: Any = first, second: Any = second) -> None:
        talk.declare("q", **first)
        talk.declare("q", **second)

    BOOK.add(f"declare {first}, then {second}", ["Q4"], declare_anew)


@session("Q5")
def a_passive_declare_of_what_is_not_there(talk: Talk) -> None:
    talk.declare("none", passive=True)


@session("Q5")
def a_passive_declare_compares_nothing_of_a_queue(talk: Talk) -> None:
    talk.declare("q", durable=True, x_max_length=5)
    talk.declare("q", passive=True, exclusive=True)


def _locked(method: Any) -> Callable[[Talk], None]:
    def script(talk: Talk) -> None:
        talk.declare("q", exclusive=True)
        other = talk.connect()
        talk.send(method, connection=other)

    return script


for method in (
    QueueDeclare(queue="q"),
    QueueDeclare(queue="q", exclusive=True),
    QueueDeclare(queue="q", passive=True),
    QueueBind(queue="q", exchange="amq.fanout", routing_key=""),
    QueueUnbind(queue="q", exchange="amq.fanout", routing_key=""),
    QueuePurge(queue="q"),
    QueueDelete(queue="q"),
    BasicConsume(queue="q", consumer_tag="c"),
    BasicGet(queue="q"),
):
    how = [each for each in ("passive", "exclusive") if getattr(method, each, False)]
    BOOK.add(" ".join([method.name, *how, "of another's exclusive queue"]), ["Q6"], _locked(method))


@session("Q6")
def others_may_publish_to_an_exclusive_queue(talk: Talk) -> None:
    talk.declare("q", exclusive=True)
    other = talk.connect()
    talk.publish("q", connection=other)
    talk.get("q")


@session("Q6")
def an_exclusive_queue_goes_with_a_lost_connection(talk: Talk) -> None:
    other = talk.connect()
    talk.declare("q", exclusive=True, connection=other)
    talk.drop(other)
    talk.declare("q", passive=True)


@session("Q7")
def an_auto_delete_queue_goes_with_its_last_consumer(talk: Talk) -> None:
    talk.declare("q", auto_delete=True)
    for tag in ("a", "b"):
        talk.consume("q", tag)
    talk.send(BasicCancel("a"))
    talk.declare("q", passive=True)
    talk.send(BasicCancel("b"))
    talk.declare("q", passive=True)


@session("Q7")
def an_auto_delete_queue_without_consumers_stays(talk: Talk) -> None:
    talk.declare("q", auto_delete=True)
    talk.get("q")
    talk.declare("q", passive=True)


for name in ("amq.mine", "amq.gen-mine", "amq.", "amqmine", "é" * 127, "x" * 255):
    BOOK.add(f"declare queue {name[:12]}", ["Q9", "Q10"], lambda talk, name=name: talk.declare(name))


@session("Q11")
def binding_twice_is_one_binding(talk: Talk) -> None:
    talk.exchange("x", "direct")
    talk.declare("q")
    for arguments in ({}, {}, {"a": 1, "b": 2}, {"b": 2, "a": 1}):
        talk.send(QueueBind(queue="q", exchange="x", routing_key="k", arguments=FieldTable.of(arguments)))
    talk.send(QueueUnbind(queue="q", exchange="x", routing_key="k"))
    talk.publish("k", exchange="x", mandatory=True)
    arguments = FieldTable.of({"b": 2, "a": 1})
    talk.send(QueueUnbind(queue="q", exchange="x", routing_key="k", arguments=arguments))
    talk.publish("k", exchange="x", mandatory=True)


for queue, exchange in (("none", "amq.fanout"), ("q", "none"), ("none", "none")):
    for name, kind in (("bind", QueueBind), ("unbind", QueueUnbind)):
        row = "Q11" if name == "bind" else "Q12"

        def missing(talk: Talk, kind: Any = kind, queue: str = queue, exchange: str = exchange) -> None:
            talk.declare("q")
            talk.send(kind(queue=queue, exchange=exchange, routing_key="k"))

        BOOK.add(f"queue.{name} of {queue} to {exchange}", [row], missing)


@session("Q12")
def unbinding_what_is_not_bound(talk: Talk) -> None:
    talk.declare("q")
    talk.send(QueueUnbind(queue="q", exchange="amq.fanout", routing_key="k"))


@session("Q13")
def purge_leaves_what_consumers_hold(talk: Talk) -> None:
    talk.declare("q")
    for body in (b"a", b"b", b"c"):
        talk.publish("q", body)
    talk.get("q", no_ack=False)
    talk.send(QueuePurge(queue="q"))
    talk.send(QueuePurge(queue="q"))


@session("Q13")
def purging_what_is_not_there(talk: Talk) -> None:
    talk.send(QueuePurge(queue="none"))


@session("Q14")
def delete_tells_how_many_were_ready(talk: Talk) -> None:
    talk.declare("q")
    for body in (b"a", b"b", b"c"):
        talk.publish("q", body)
    talk.get("q", no_ack=False)
    talk.send(QueueDelete(queue="q"))
    talk.ack(1)
    talk.send(QueueDelete(queue="q"))


@session("Q14")
def deleting_a_queue_that_is_in_use(talk: Talk) -> None:
    talk.declare("q")
    talk.consume("q")
    talk.send(QueueDelete(queue="q", if_unused=True))


@session("Q14")
def deleting_a_queue_that_is_not_empty(talk: Talk) -> None:
    talk.declare("q")
    talk.publish("q")
    talk.send(QueueDelete(queue="q", if_empty=True))


@session("Q14")
def deleting_a_queue_that_is_neither(talk: Talk) -> None:
    talk.declare("q")
    talk.send(QueueDelete(queue="q", if_empty=True, if_unused=True))


@session("Q17")
def every_queue_is_reached_by_its_name(talk: Talk) -> None:
    talk.declare("q")
    talk.publish("q", mandatory=True)
    talk.publish("none", mandatory=True)


@session("Q18")
def no_wait_of_queues(talk: Talk) -> None:
    talk.send(QueueDeclare(queue="q", no_wait=True))
    talk.send(QueueBind(queue="q", exchange="amq.fanout", routing_key="", no_wait=True))
    talk.publish("", exchange="amq.fanout", mandatory=True)
    talk.send(QueuePurge(queue="q", no_wait=True))
    talk.declare("q", passive=True)
    talk.send(QueueDelete(queue="q", no_wait=True))
    talk.declare("q", passive=True)


# Arguments of queues: each alone, with values of many types, on both types of queues

NAMES = (
    "x-expires",
    "x-message-ttl",
    "x-max-length",
    "x-max-length-bytes",
    "x-max-priority",
    "x-single-active-consumer",
    "x-overflow",
    "x-queue-mode",
    "x-dead-letter-exchange",
    "x-dead-letter-routing-key",
    "x-dead-letter-strategy",
    "x-queue-type",
    "x-queue-version",
    "x-queue-master-locator",
    "x-queue-leader-locator",
    "x-delivery-limit",
    "x-max-in-memory-length",
    "x-quorum-initial-group-size",
    "x-max-age",
    "x-mine",
)
VALUES = (-1, 0, 256, 315_360_000_001, "10", True, 1.5, None)


def _argument(arguments: dict[str, Any], **options: Any) -> Callable[[Talk], None]:
    def script(talk: Talk) -> None:
        talk.send(QueueDeclare(queue="q", arguments=FieldTable.of(arguments), **options))
        talk.queues["q"] = None

    return script


for name in NAMES:
    for value in VALUES:
        BOOK.add(f"{name} {value!r}", ["Q16"], _argument({name: value}))
        quorum = {name: value} | ({} if name == "x-queue-type" else {"x-queue-type": "quorum"})
        if name != "x-queue-type":
            BOOK.add(f"{name} {value!r} quorum", ["Q16", "F12"], _argument(quorum, durable=True))

for arguments, options in (
    ({"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "k"}, {}),
    ({"x-dead-letter-exchange": "", "x-dead-letter-routing-key": 1}, {}),
    ({"x-overflow": "drop-head"}, {}),
    ({"x-overflow": "reject-publish"}, {}),
    ({"x-overflow": "reject-publish-dlx"}, {}),
    ({"x-overflow": "reject-publish-dlx", "x-queue-type": "quorum"}, {"durable": True}),
    ({"x-overflow": "reject-publish", "x-queue-type": "quorum"}, {"durable": True}),
    ({"x-queue-type": "quorum"}, {}),
    ({"x-queue-type": "quorum"}, {"durable": True, "auto_delete": True}),
    ({"x-queue-type": "quorum"}, {"durable": True, "exclusive": True}),
    ({"x-queue-type": "quorum"}, {"durable": True}),
    ({"x-queue-type": "classic"}, {}),
    ({"x-queue-type": "none"}, {}),
    ({"x-queue-type": "stream"}, {}),
    ({"x-queue-mode": "lazy"}, {}),
    ({"x-queue-mode": "default"}, {}),
    ({"x-queue-master-locator": "min-masters"}, {}),
    ({"x-max-length": 0, "x-max-length-bytes": 0}, {}),
    ({"x-message-ttl": 315_360_000_000}, {}),
    ({"x-expires": 315_360_000_000}, {}),
    ({"x-max-priority": 255}, {}),
    ({"x-max-priority": 1, "x-queue-type": "quorum"}, {"durable": True}),
):
    BOOK.add(f"declare with {arguments} {options}", ["Q16", "F12"], _argument(arguments, **options))
