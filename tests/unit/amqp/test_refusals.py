"""What compatibility profiles refuse although it could be served: ADR 43. The texts are RabbitMQ's and the codes the
specification's.
"""

from __future__ import annotations

from typing import Any

import pytest

from broker.amqp.profile import CORDILLERA, RABBITMQ, STRICT
from broker.codec.field_table import FieldTable
from broker.codec.method import Method
from broker.codec.methods import (
    BasicConsume,
    BasicConsumeOk,
    BasicGet,
    BasicGetEmpty,
    BasicQos,
    ChannelClose,
    ChannelFlow,
    ChannelFlowOk,
    ConnectionClose,
    ExchangeDeclare,
    ExchangeDeclareOk,
    ExchangeDelete,
    ExchangeDeleteOk,
    QueueDeclare,
    QueueDeclareOk,
    QueueDelete,
    QueueDeleteOk,
    QueueUnbind,
    QueueUnbindOk,
)
from tests.support.harness import Client, Harness

Q = "queue 'quorum' in vhost '/'"


def arguments(**values: Any) -> FieldTable:
    return FieldTable.of({name.replace("_", "-"): value for name, value in values.items()})


def with_queues(peer: Client) -> Client:
    """Declare what the methods below name: a classic queue and a quorum queue with a single active consumer."""
    peer.send(1, QueueDeclare(queue="classic"))
    quorum = arguments(x_queue_type="quorum", x_single_active_consumer=True)
    peer.send(1, QueueDeclare(queue="quorum", durable=True, arguments=quorum))
    peer.received()
    return peer


def hard(code: int, text: str, method: Method) -> tuple[int, Method]:
    return 0, ConnectionClose(code, text, *method.ids)


def soft(code: int, text: str, method: Method) -> tuple[int, Method]:
    return 1, ChannelClose(code, text, *method.ids)


CLASSIC_LIMIT = QueueDeclare(queue="new", arguments=arguments(x_delivery_limit=3))
AS_RABBITMQ: list[tuple[list[Method], Method, str, Method]] = [
    ([], ChannelFlow(False), "540 NOT_IMPLEMENTED - active=false", ChannelFlowOk(False)),
    (
        [],
        QueueDelete(queue="quorum", if_unused=True),
        f"540 NOT_IMPLEMENTED - cannot delete {Q}. queue.delete operations with if-unused flag set are not supported by"
        " quorum queues",
        QueueDeleteOk(0),
    ),
    (
        [],
        QueueDelete(queue="quorum", if_empty=True),
        f"540 NOT_IMPLEMENTED - cannot delete {Q}. queue.delete operations with if-empty flag set are not supported by"
        " quorum queues",
        QueueDeleteOk(0),
    ),
    (
        [BasicQos(0, 1, True)],
        BasicConsume(queue="quorum", consumer_tag="c"),
        f"540 NOT_IMPLEMENTED - {Q} does not support global qos",
        BasicConsumeOk("c"),
    ),
    (
        [],
        BasicGet(queue="quorum"),
        f"405 RESOURCE_LOCKED - cannot obtain access to locked {Q}. basic.get operations are not supported by quorum"
        " queues with single active consumer",
        BasicGetEmpty(),
    ),
    (
        [],
        CLASSIC_LIMIT,
        "406 PRECONDITION_FAILED - invalid arg 'x-delivery-limit' for queue 'new' in vhost '/' of queue type"
        " rabbit_classic_queue",
        QueueDeclareOk("new", 0, 0),
    ),
]
AS_SPECIFIED: list[tuple[list[Method], Method, str, Method]] = [
    ([], ExchangeDelete(exchange="x"), "404 NOT_FOUND - no exchange 'x' in vhost '/'", ExchangeDeleteOk()),
    ([], QueueDelete(queue="x"), "404 NOT_FOUND - no queue 'x' in vhost '/'", QueueDeleteOk(0)),
    (
        [],
        QueueUnbind(queue="x", exchange="amq.topic"),
        "404 NOT_FOUND - no queue 'x' in vhost '/'",
        QueueUnbindOk(),
    ),
    (
        [],
        QueueUnbind(queue="classic", exchange="x"),
        "404 NOT_FOUND - no exchange 'x' in vhost '/'",
        QueueUnbindOk(),
    ),
    (
        [],
        ExchangeDeclare(exchange="x y"),
        "406 PRECONDITION_FAILED - the name of exchange 'x y' has characters other than letters, digits, hyphens,"
        " underscores, periods and colons",
        ExchangeDeclareOk(),
    ),
    (
        [],
        QueueDeclare(queue="x/y"),
        "406 PRECONDITION_FAILED - the name of queue 'x/y' has characters other than letters, digits, hyphens,"
        " underscores, periods and colons",
        QueueDeclareOk("x/y", 0, 0),
    ),
    ([], BasicConsume(queue="classic", no_local=True), "540 NOT_IMPLEMENTED - no_local=true", BasicConsumeOk("c")),
    ([], BasicQos(0, 1, True), "540 NOT_IMPLEMENTED - global=true", Method()),
]


def answer_to(peer: Client, before: list[Method], method: Method) -> tuple[int, Method]:
    """Return what answers `method` after `before`."""
    with_queues(peer)
    for each in before:
        peer.send(1, each)
    peer.received()
    peer.send(1, method)
    (answer,) = peer.received()
    return answer


def closed(text: str, method: Method) -> tuple[int, Method]:
    code, _, reply = text.partition(" ")
    return (hard if code[0] == "5" else soft)(int(code), reply, method)


@pytest.mark.parametrize(("before", "method", "text", "_"), AS_RABBITMQ)
def test_the_rabbitmq_profile_refuses_what_rabbitmq_refuses(
    harness: Harness, before: list[Method], method: Method, text: str, _: Method
) -> None:
    assert answer_to(harness.peer(profile=RABBITMQ), before, method) == closed(text, method)


@pytest.mark.parametrize(("before", "method", "text", "_"), AS_SPECIFIED)
def test_the_strict_profile_refuses_what_the_specification_refuses(
    harness: Harness, before: list[Method], method: Method, text: str, _: Method
) -> None:
    assert answer_to(harness.peer(profile=STRICT), before, method) == closed(text, method)


@pytest.mark.parametrize(("before", "method", "_", "served"), [*AS_RABBITMQ, *AS_SPECIFIED])
def test_the_usual_profile_serves_all_of_this(
    harness: Harness, before: list[Method], method: Method, _: str, served: Method
) -> None:
    channel, answer = answer_to(harness.peer(profile=CORDILLERA), before, method)
    assert channel == 1
    assert not isinstance(answer, ChannelClose)
    assert isinstance(answer, type(served))


@pytest.mark.parametrize(
    ("method", "text"),
    [
        (
            ExchangeDeclare(exchange="amq.topic", type="direct", durable=True),
            "530 NOT_ALLOWED - exchange 'amq.topic' in vhost '/' has the type 'topic'",
        ),
        (ExchangeDeclare(exchange="x", type="x-mine"), "503 COMMAND_INVALID - unknown exchange type 'x-mine'"),
    ],
)
def test_as_specified_a_wrong_type_of_an_exchange_closes_the_connection(
    harness: Harness, method: Method, text: str
) -> None:
    assert answer_to(harness.peer(profile=STRICT), [], method) == closed(text, method)


@pytest.mark.parametrize("profile", [RABBITMQ, STRICT], ids=lambda profile: profile.name)
def test_what_a_profile_does_not_mind_is_served(harness: Harness, profile: Any) -> None:
    peer = with_queues(harness.peer(profile=profile))
    for method, answer in [
        (ExchangeDeclare(exchange="amq.topic", type="topic", durable=True), ExchangeDeclareOk()),
        (ExchangeDeclare(exchange="amq.topic", passive=True), ExchangeDeclareOk()),
        (ExchangeDeclare(exchange="x", type="topic"), ExchangeDeclareOk()),
        (ExchangeDelete(exchange="x"), ExchangeDeleteOk()),
        (QueueUnbind(queue="classic", exchange="amq.topic"), QueueUnbindOk()),
        (ChannelFlow(True), ChannelFlowOk(True)),
        (BasicGet(queue="classic"), BasicGetEmpty()),
        (BasicConsume(queue="quorum", consumer_tag="c"), BasicConsumeOk("c")),
        (QueueDelete(queue="classic", if_unused=True, if_empty=True), QueueDeleteOk(0)),
        (QueueDelete(queue="quorum"), QueueDeleteOk(0)),
    ]:
        received = peer.call(1, method) if method.name != "queue.delete" else first(peer, method)
        assert received == answer


def first(peer: Client, method: Method) -> Method:
    """Return the answer to a method behind which others may come."""
    peer.send(1, method)
    return peer.received()[0][1]
