"""What clients of JMS find in a virtual host with the dialect `wso2` (docs/jms.md), and others do not."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from broker.amqp.wso2_methods import Bound
from broker.codec.constants import PROTOCOL_HEADER
from broker.codec.field_table import EMPTY_TABLE, FieldTable
from broker.codec.method import Method
from broker.codec.methods import (
    BasicAck,
    BasicCancel,
    BasicConsume,
    BasicConsumeOk,
    BasicDeliver,
    BasicGet,
    BasicGetOk,
    BasicPublish,
    BasicRecover,
    BasicRecoverOk,
    BasicReject,
    BasicReturn,
    ChannelClose,
    ChannelOpen,
    ConnectionClose,
    ConnectionStartOk,
    ExchangeBound,
    ExchangeBoundOk,
    ExchangeDeclare,
    ExchangeDeclareOk,
    QueueBind,
    QueueDeclare,
    QueueDeclareOk,
    QueueDelete,
    QueueDeleteOk,
    TxRollback,
    TxRollbackOk,
    TxSelect,
)
from broker.codec.properties import BasicProperties
from broker.topology.dialect import WSO2
from tests.support.harness import Client, Harness, start_ok

NO_SELECTOR = FieldTable.of({"x-filter-jms-selector": ""})
PERSISTENT = BasicProperties(delivery_mode=2)


@pytest.fixture
def peer(harness: Harness) -> Client:
    return harness.peer(capabilities=(), vhost="carbon")


def closed(peer: Client) -> list[str]:
    return [each.reply_text for _, each in peer.received() if isinstance(each, ChannelClose | ConnectionClose)]


def declare(peer: Client, name: str = "q", *, exclusive: bool = False) -> QueueDeclareOk:
    answer = peer.call(1, QueueDeclare(queue=name, durable=True, exclusive=exclusive))
    assert isinstance(answer, QueueDeclareOk)
    return answer


def subscribe(peer: Client, name: str, topic: str, *, selector: str = "") -> None:
    """Bind a queue to a topic as a client of JMS does."""
    declare(peer, name, exclusive=True)
    arguments = FieldTable.of({"x-filter-jms-selector": selector})
    peer.send(1, QueueBind(queue=name, exchange="amq.topic", routing_key=topic, arguments=arguments))


def take(peer: Client, queue: str) -> list[bytes]:
    bodies = []
    while isinstance(peer.call(1, BasicGet(queue=queue, no_ack=True)), BasicGetOk):
        bodies += peer.bodies()
    return bodies


# Expiration


@pytest.mark.parametrize("expiration", ["", "4000000000000", "1000"])
def test_an_expiration_is_nothing_a_time_or_a_while(harness: Harness, peer: Client, expiration: str) -> None:
    declare(peer)
    peer.send(1, BasicPublish(0, "amq.direct", "q"), BasicProperties(expiration=expiration), b"m")
    [message] = harness.broker.vhosts["carbon"].queues["q"].ready
    now = harness.clock.wall_ms()
    assert message.due == {"": 0, "4000000000000": 4_000_000_000_000, "1000": now + 1000}[expiration]


def test_a_time_that_is_over_lets_a_message_expire(harness: Harness, peer: Client) -> None:
    declare(peer)
    due = harness.clock.wall_ms() + 1_000_000_000_000
    peer.send(1, BasicPublish(0, "", "q"), BasicProperties(expiration=str(due)), b"m")
    harness.pass_time(1_000_000_001)
    assert take(peer, "q") == []


@pytest.mark.parametrize("expiration", ["x", "-1", "9" * 19])
def test_what_is_neither_is_refused(peer: Client, expiration: str) -> None:
    declare(peer)
    peer.send(1, BasicPublish(0, "", "q"), BasicProperties(expiration=expiration), b"m")
    assert closed(peer)[0].startswith(f"PRECONDITION_FAILED - invalid expiration '{expiration}'")


# What is bound


@pytest.mark.parametrize(
    ("exchange", "key", "queue", "answer"),
    [
        ("none", "", "", Bound.NO_EXCHANGE),
        ("amq.topic", "", "none", Bound.NO_QUEUE),
        ("amq.fanout", "", "", Bound.NO_BINDINGS),
        ("amq.topic", "", "", Bound.YES),
        ("amq.topic", "", "q", Bound.YES),
        ("amq.topic", "", "other", Bound.QUEUE_NOT_BOUND),
        ("amq.topic", "a.*", "", Bound.YES),
        ("amq.topic", "a.b", "", Bound.KEY_NOT_BOUND),
        ("amq.topic", "a.*", "q", Bound.YES),
        ("amq.topic", "a.*", "other", Bound.QUEUE_NOT_BOUND_BY_KEY),
        ("", "", "q", Bound.YES),
        ("", "q", "q", Bound.YES),
        ("", "q", "", Bound.YES),
        ("", "none", "", Bound.KEY_NOT_BOUND),
        ("amq.direct", "q", "other", Bound.QUEUE_NOT_BOUND_BY_KEY),
        ("amq.direct", "other", "other", Bound.YES),
    ],
)
def test_what_is_bound_is_told(peer: Client, exchange: str, key: str, queue: str, answer: Bound) -> None:
    for name in ("q", "other"):
        declare(peer, name)
    peer.call(1, QueueBind(queue="q", exchange="amq.topic", routing_key="a.*"))
    assert peer.call(1, ExchangeBound(exchange, key, queue)) == ExchangeBoundOk(answer)


def test_elsewhere_nobody_may_ask_for_it(harness: Harness) -> None:
    peer = harness.peer()
    peer.send(1, ExchangeBound("amq.topic"))
    assert closed(peer) == ["COMMAND_INVALID - unimplemented method"]


# Exchanges and returns


def test_predeclared_exchanges_are_declared_again_by_their_type(peer: Client) -> None:
    declaration = ExchangeDeclare(exchange="amq.topic", type="topic", auto_delete=True)
    assert peer.call(1, declaration) == ExchangeDeclareOk()
    peer.send(1, ExchangeDeclare(exchange="amq.topic", type="direct"))
    assert closed(peer)[0].startswith("PRECONDITION_FAILED - inequivalent arg 'type' for exchange 'amq.topic'")


def test_queues_are_reached_by_name_and_others_returned_but_for_topics(peer: Client) -> None:
    declare(peer)
    peer.call(1, QueueBind(queue="q", exchange="amq.direct", routing_key="q", arguments=NO_SELECTOR))
    for exchange, key in (("amq.direct", "q"), ("amq.topic", "none"), ("amq.direct", "none")):
        peer.send(1, BasicPublish(0, exchange, key, mandatory=True), PERSISTENT, key.encode())
    returned = [each for _, each in peer.received() if isinstance(each, BasicReturn)]
    assert [(each.exchange, each.routing_key) for each in returned] == [("amq.direct", "none")]
    peer.bodies()
    assert take(peer, "q") == [b"q"]


def test_a_deletion_is_answered_whatever_the_client_says(peer: Client) -> None:
    declare(peer)
    assert peer.call(1, QueueDelete(queue="q", no_wait=True)) == QueueDeleteOk(0)


# Answers


def delivered(peer: Client, count: int) -> list[int]:
    declare(peer)
    for number in range(count):
        peer.publish("q", b"%d" % number)
    for _ in range(count):
        peer.call(1, BasicGet(queue="q"))
    peer.bodies()
    return list(range(1, count + 1))


@pytest.mark.parametrize("in_transaction", [False, True])
def test_an_answer_that_comes_again_is_ignored(peer: Client, in_transaction: bool) -> None:
    first, second, _ = delivered(peer, 3)
    if in_transaction:
        peer.call(1, TxSelect())
    for answer in (BasicAck(first), BasicAck(first), BasicReject(first, True), BasicAck(second, True)):
        peer.send(1, answer)
    peer.send(1, BasicAck(second, True))
    assert closed(peer) == []
    peer.send(1, BasicAck(9))
    assert closed(peer) == ["PRECONDITION_FAILED - unknown delivery tag 9"]


def test_what_is_given_back_in_a_transaction_is_given_back_at_once(peer: Client) -> None:
    first, _ = delivered(peer, 2)
    peer.call(1, TxSelect())
    peer.send(1, BasicReject(first, requeue=True))
    assert peer.call(1, TxRollback()) == TxRollbackOk()
    assert peer.call(1, BasicGet(queue="q")) == BasicGetOk(3, True, "", "q", 0)


def test_recover_without_requeue_gives_everything_back_in_order(peer: Client) -> None:
    declare(peer)
    peer.publish("q", b"0", b"1")
    peer.send(1, BasicConsume(queue="q", consumer_tag="1"))
    assert peer.bodies() == [b"0", b"1"]
    peer.send(1, BasicRecover(requeue=False))
    answers = [each for _, each in peer.received() if isinstance(each, BasicRecoverOk | BasicDeliver)]
    assert [each for each in answers if isinstance(each, BasicDeliver) and each.redelivered][-2:] == [
        BasicDeliver("1", 3, True, "", "q"),
        BasicDeliver("1", 4, True, "", "q"),
    ]
    assert peer.bodies() == [b"0", b"1"]


# Durable subscriptions


def test_a_durable_subscription_outlives_its_connection(harness: Harness, peer: Client) -> None:
    subscribe(peer, "carbon:s", "news")
    peer.lose()
    harness.run()
    publisher = harness.peer(vhost="carbon")
    publisher.send(1, BasicPublish(0, "amq.topic", "news"), PERSISTENT, b"later")
    again = harness.peer(capabilities=(), vhost="carbon")
    subscribe(again, "carbon:s", "news")
    assert closed(again) == []
    assert take(again, "carbon:s") == [b"later"]


def test_it_has_one_consumer_at_a_time(harness: Harness, peer: Client) -> None:
    subscribe(peer, "s", "news")
    assert peer.call(1, BasicConsume(queue="s", consumer_tag="1", exclusive=True)) == BasicConsumeOk("1")
    other = harness.peer(capabilities=(), vhost="carbon")
    declare(other, "s", exclusive=True)
    other.send(1, BasicConsume(queue="s", consumer_tag="1"))
    assert closed(other) == ["ACCESS_REFUSED - queue 's' in vhost 'carbon' in exclusive use"]
    peer.call(1, BasicCancel(consumer_tag="1"))
    third = harness.peer(capabilities=(), vhost="carbon")
    assert third.call(1, BasicConsume(queue="s", consumer_tag="1")) == BasicConsumeOk("1")


def test_a_shared_one_has_several(harness: Harness) -> None:
    harness.parts.add_vhost("shared", dialect=_shared())
    for _ in range(2):
        peer = harness.peer(capabilities=(), vhost="shared")
        declare(peer, "s", exclusive=True)
        assert isinstance(peer.call(1, BasicConsume(queue="s", exclusive=True)), BasicConsumeOk)


def _shared() -> object:
    from dataclasses import replace

    return replace(WSO2, shares_subscriptions=True)


def test_another_topic_is_another_subscription(peer: Client) -> None:
    subscribe(peer, "s", "old")
    peer.send(1, BasicPublish(0, "amq.topic", "old"), PERSISTENT, b"old")
    subscribe(peer, "s", "old")
    subscribe(peer, "s", "new")
    for topic in ("old", "new"):
        peer.send(1, BasicPublish(0, "amq.topic", topic), PERSISTENT, topic.encode())
    assert take(peer, "s") == [b"new"]


def test_a_subscription_in_use_cannot_be_to_another_topic_nor_deleted(harness: Harness, peer: Client) -> None:
    subscribe(peer, "s", "old")
    peer.call(1, BasicConsume(queue="s", consumer_tag="1"))
    other = harness.peer(capabilities=(), vhost="carbon")
    subscribe(other, "s", "new")
    [text] = closed(other)
    assert text.startswith("ACCESS_REFUSED - queue 's' in vhost 'carbon' in exclusive use")
    other.send(2, ChannelOpen())
    other.received()
    other.send(2, QueueDelete(queue="s"))
    assert closed(other) == ["PRECONDITION_FAILED - queue 's' in vhost 'carbon' in use"]


def test_a_durable_queue_is_no_subscription_nor_is_one_elsewhere(harness: Harness, peer: Client) -> None:
    declare(peer, "s", exclusive=True)
    peer.send(1, QueueDeclare(queue="s", durable=True))
    assert closed(peer)[0].startswith("PRECONDITION_FAILED - inequivalent arg 'x-durable-subscription' for queue 's'")
    elsewhere = harness.peer()
    declare(elsewhere, "s", exclusive=True)
    assert harness.vhost.queues["s"].is_exclusive


# What is not served is refused


@pytest.mark.parametrize("vhost", ["/", "carbon"])
@pytest.mark.parametrize(
    "arguments", [{"x-filter-jms-selector": "a = 1"}, {"x-filter-no-consume": True}, {"x-filter-auto-close": True}]
)
def test_an_argument_that_would_change_what_is_delivered_is_refused(
    harness: Harness, vhost: str, arguments: dict[str, object]
) -> None:
    [name] = arguments
    methods: Sequence[Method] = (
        BasicConsume(queue="q", arguments=FieldTable.of(arguments)),
        QueueBind(queue="q", exchange="amq.topic", routing_key="k", arguments=FieldTable.of(arguments)),
    )
    for method in methods:
        peer = harness.peer(vhost=vhost)
        declare(peer)
        peer.send(1, method)
        assert closed(peer) == [f"NOT_IMPLEMENTED - argument '{name}' is not served"]


def test_arguments_that_filter_nothing_are_no_arguments_of_a_binding(harness: Harness, peer: Client) -> None:
    declare(peer)
    no_filter = {"x-filter-jms-selector": "", "x-filter-no-consume": False, "x-qpid-no-local": False}
    for arguments in (FieldTable.of(no_filter), NO_SELECTOR, EMPTY_TABLE):
        peer.call(1, QueueBind(queue="q", exchange="amq.direct", routing_key="q", arguments=arguments))
    [binding] = harness.broker.vhosts["carbon"].exchanges["amq.direct"].bindings
    assert binding.arguments == EMPTY_TABLE


# Logins


@pytest.mark.parametrize("name", ["instance", "qpid.client_process"])
def test_a_client_of_jms_is_told_that_its_login_is_refused(harness: Harness, name: str) -> None:
    client = harness.connect()
    client.send_raw(PROTOCOL_HEADER)
    client.received()
    client.send(0, ConnectionStartOk(FieldTable.of({name: "x"}), "PLAIN", b"\0guest\0wrong"))
    harness.run()
    assert closed(client)[0].startswith("ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN.")


def test_others_without_capabilities_find_the_socket_closed(harness: Harness) -> None:
    client = harness.connect()
    client.send_raw(PROTOCOL_HEADER)
    client.received()
    client.send(0, start_ok(response=b"\0guest\0wrong"))
    harness.run()
    assert closed(client) == []
