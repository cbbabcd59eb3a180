"""What clients of JMS find in a virtual host with the dialect `wso2` (docs/jms.md), and others do not."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from broker.amqp.wso2_methods import Bound
from broker.codec.constants import PROTOCOL_HEADER
from broker.codec.field_table import EMPTY_TABLE, ByteArray, FieldTable
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
    ExchangeBind,
    ExchangeBound,
    ExchangeBoundOk,
    ExchangeDeclare,
    ExchangeDeclareOk,
    QueueBind,
    QueueDeclare,
    QueueDeclareOk,
    QueueDelete,
    QueueDeleteOk,
    QueueUnbind,
    TxCommit,
    TxRollback,
    TxRollbackOk,
    TxSelect,
)
from broker.codec.properties import BasicProperties
from broker.topology.dialect import WSO2
from broker.topology.routed_message import RoutedMessage
from broker.turn_budget import TurnBudget
from tests.support.bindings import message
from tests.support.harness import Client, Harness, start_ok
from tests.support.stage import drive

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


def test_a_key_that_is_looked_for_among_many_counts_as_work(harness: Harness, peer: Client) -> None:
    declare(peer)
    for number in range(100):
        peer.call(1, QueueBind(queue="q", exchange="amq.topic", routing_key=str(number)))
    done = []
    for exchange, key, queue in (("amq.topic", "none", ""), ("amq.topic", "none", "q"), ("amq.fanout", "none", "")):
        before = harness.broker.work.done
        peer.call(1, ExchangeBound(exchange, key, queue))
        done.append(harness.broker.work.done - before)
    assert [each - done[2] for each in done] == [10, 10, 0]


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
    assert peer.call(1, BasicGet(queue="q")) == BasicGetOk(3, True, "amq.direct", "q", 0)


def test_recover_without_requeue_gives_everything_back_in_order(peer: Client) -> None:
    declare(peer)
    peer.publish("q", b"0", b"1")
    peer.send(1, BasicConsume(queue="q", consumer_tag="1"))
    assert peer.bodies() == [b"0", b"1"]
    peer.send(1, BasicRecover(requeue=False))
    answers = [each for _, each in peer.received() if isinstance(each, BasicRecoverOk | BasicDeliver)]
    assert [each for each in answers if isinstance(each, BasicDeliver) and each.redelivered][-2:] == [
        BasicDeliver("1", 3, True, "amq.direct", "q"),
        BasicDeliver("1", 4, True, "amq.direct", "q"),
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


@pytest.mark.parametrize(
    ("vhost", "arguments"),
    [
        ("/", {"x-filter-jms-selector": "a = 1"}),
        ("/", {"x-filter-jms-selector": "a = = 1"}),
        *(
            (vhost, {name: True})
            for vhost in ("/", "carbon")
            for name in ("x-filter-no-consume", "x-filter-auto-close")
        ),
    ],
)
def test_an_argument_that_would_change_what_is_delivered_is_refused(
    harness: Harness, vhost: str, arguments: dict[str, object]
) -> None:
    [name] = arguments
    methods: Sequence[Method] = (
        BasicConsume(queue="q", arguments=FieldTable.of(arguments)),
        QueueBind(queue="q", exchange="amq.topic", routing_key="k", arguments=FieldTable.of(arguments)),
        ExchangeBind(0, "amq.fanout", "amq.topic", "k", arguments=FieldTable.of(arguments)),
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


# Selectors


def colored(color: str) -> BasicProperties:
    return BasicProperties(delivery_mode=2, headers=FieldTable.of({"color": color}))


def publish(peer: Client, topic: str, *colors: str) -> None:
    for color in colors:
        peer.send(1, BasicPublish(0, "amq.topic", topic), colored(color), color.encode())


def test_a_selector_decides_when_a_message_is_routed(harness: Harness, peer: Client) -> None:
    subscribe(peer, "s", "news", selector="color = 'red'")
    publish(peer, "news", "red", "blue", "red")
    assert harness.broker.vhosts["carbon"].queues["s"].ready_count == 2
    assert take(peer, "s") == [b"red", b"red"]


def test_a_consumer_may_tell_the_selector_of_its_subscription_again(peer: Client) -> None:
    subscribe(peer, "s", "news", selector="color = 'red'")
    arguments = FieldTable.of({"x-filter-jms-selector": "color = 'red'"})
    assert peer.call(1, BasicConsume(queue="s", consumer_tag="1", arguments=arguments)) == BasicConsumeOk("1")
    publish(peer, "news", "blue", "red")
    assert peer.bodies() == [b"red"]


def test_another_selector_is_another_subscription(harness: Harness, peer: Client) -> None:
    subscribe(peer, "s", "news", selector="color = 'red'")
    publish(peer, "news", "red")
    subscribe(peer, "s", "news", selector="color = 'red'")
    assert harness.broker.vhosts["carbon"].queues["s"].ready_count == 1
    subscribe(peer, "s", "news", selector="color = 'blue'")
    publish(peer, "news", "red", "blue")
    assert take(peer, "s") == [b"blue"]
    subscribe(peer, "s", "news")
    publish(peer, "news", "red", "blue")
    assert take(peer, "s") == [b"red", b"blue"]
    assert len(harness.broker.vhosts["carbon"].exchanges["amq.topic"].bindings) == 1


@pytest.mark.parametrize(("selector", "expected"), [("color = 'blue'", [b"blue"]), ("", [b"red", b"blue"])])
def test_the_first_selector_of_a_subscription_from_elsewhere_ends_nothing(
    harness: Harness, peer: Client, selector: str, expected: list[bytes]
) -> None:
    declare(peer, "s", exclusive=True)
    unknown = FieldTable.of({"x-unknown-selector": True})
    peer.call(1, QueueBind(queue="s", exchange="amq.topic", routing_key="news", arguments=unknown))
    publish(peer, "news", "red", "blue")
    subscribe(peer, "s", "news", selector=selector)
    publish(peer, "news", "red", "blue")
    assert take(peer, "s") == [b"red", b"blue", *expected]
    [binding] = harness.broker.vhosts["carbon"].exchanges["amq.topic"].bindings
    assert binding.arguments.values == ({"x-filter-jms-selector": selector} if selector else {})


def test_a_subscription_from_elsewhere_to_another_topic_begins_anew(peer: Client) -> None:
    declare(peer, "s", exclusive=True)
    unknown = FieldTable.of({"x-unknown-selector": True})
    peer.call(1, QueueBind(queue="s", exchange="amq.topic", routing_key="news", arguments=unknown))
    publish(peer, "news", "red")
    subscribe(peer, "s", "weather")
    publish(peer, "news", "red")
    assert take(peer, "s") == []


def test_the_same_selector_as_octets_is_the_same_subscription(harness: Harness, peer: Client) -> None:
    subscribe(peer, "s", "news", selector="color = 'red'")
    publish(peer, "news", "red")
    bindings = harness.broker.vhosts["carbon"].exchanges["amq.topic"].bindings
    for text in (ByteArray(b"color = 'red'"), "color = 'red'"):
        arguments = FieldTable.of({"a": 1, "x-filter-jms-selector": text}).without("a")
        peer.call(1, QueueBind(queue="s", exchange="amq.topic", routing_key="news", arguments=arguments))
        assert len(bindings) == 1
    assert take(peer, "s") == [b"red"]


def test_a_subscription_in_use_keeps_its_selector(harness: Harness, peer: Client) -> None:
    subscribe(peer, "s", "news", selector="color = 'red'")
    peer.call(1, BasicConsume(queue="s", consumer_tag="1"))
    other = harness.peer(capabilities=(), vhost="carbon")
    subscribe(other, "s", "news", selector="color = 'blue'")
    [text] = closed(other)
    assert text.startswith("ACCESS_REFUSED - queue 's' in vhost 'carbon' in exclusive use")


@pytest.mark.parametrize(
    ("selector", "reason"),
    [
        ("a = = 1", "expected a value, found '=' at character 5"),
        (5, "argument 'x-filter-jms-selector' is no string"),
    ],
)
def test_a_wrong_selector_is_refused_and_changes_nothing(harness: Harness, selector: object, reason: str) -> None:
    arguments = FieldTable.of({"x-filter-jms-selector": selector})
    browser = FieldTable.of(
        {"x-filter-jms-selector": selector, "x-filter-no-consume": True, "x-filter-auto-close": True}
    )
    for method in (
        BasicConsume(queue="s", arguments=arguments),
        BasicConsume(queue="s", arguments=browser),
        QueueBind(queue="s", exchange="amq.topic", routing_key="news", arguments=arguments),
        QueueBind(queue="s", exchange="amq.direct", routing_key="s", arguments=arguments),
    ):
        peer = harness.peer(capabilities=(), vhost="carbon")
        subscribe(peer, "s", "news", selector="color = 'red'")
        publish(peer, "news", "red")
        peer.send(1, method)
        [close] = [each for _, each in peer.received() if isinstance(each, ChannelClose)]
        assert (close.reply_code, close.reply_text) == (409, f"INVALID_SELECTOR - {reason}")
    assert harness.broker.vhosts["carbon"].queues["s"].ready_count == 4


def test_the_selector_in_the_binding_of_a_queue_filters_nothing(harness: Harness, peer: Client) -> None:
    declare(peer)
    for selector in ("color = 'red'", "color = 'blue'"):
        arguments = FieldTable.of({"x-filter-jms-selector": selector})
        peer.call(1, QueueBind(queue="q", exchange="amq.direct", routing_key="q", arguments=arguments))
    assert len(harness.broker.vhosts["carbon"].exchanges["amq.direct"].bindings) == 1
    peer.send(1, BasicPublish(0, "amq.direct", "q"), colored("green"), b"green")
    assert take(peer, "q") == [b"green"]


def test_a_selector_for_other_exchanges_is_refused(peer: Client) -> None:
    declare(peer)
    arguments = FieldTable.of({"x-filter-jms-selector": "a = 1"})
    peer.send(1, QueueBind(queue="q", exchange="amq.fanout", arguments=arguments))
    text = "argument 'x-filter-jms-selector' is not served for exchange 'amq.fanout' in vhost 'carbon'"
    assert closed(peer) == [f"NOT_IMPLEMENTED - {text}"]


def test_a_binding_with_a_selector_is_unbound_by_it(harness: Harness, peer: Client) -> None:
    declare(peer)
    for selector in ("a = 1", ""):
        arguments = FieldTable.of({"x-filter-jms-selector": selector})
        peer.call(1, QueueBind(queue="q", exchange="amq.topic", routing_key="t", arguments=arguments))
        peer.call(1, QueueUnbind(queue="q", exchange="amq.topic", routing_key="t", arguments=arguments))
    assert not harness.broker.vhosts["carbon"].exchanges["amq.topic"].bindings


def test_a_selector_decides_in_a_transaction_and_for_further_keys_too(peer: Client) -> None:
    subscribe(peer, "s", "news", selector="color = 'red'")
    subscribe(peer, "copies", "old", selector="color = 'blue'")
    peer.call(1, TxSelect())
    for color in ("red", "blue"):
        headers = FieldTable.of({"color": color, "CC": ["old"]})
        peer.send(1, BasicPublish(0, "amq.topic", "news"), BasicProperties(headers=headers), color.encode())
    peer.call(1, TxCommit())
    assert (take(peer, "s"), take(peer, "copies")) == ([b"red"], [b"blue"])


def queues_for(harness: Harness, topic: str, message: RoutedMessage | None) -> list[str] | None:
    """Return the queues of a topic; without a message None where it decides."""
    routing = harness.broker.vhosts["carbon"].routing
    search = routing.search(routing.exchanges["amq.topic"], (topic,), message, TurnBudget())
    with pytest.raises(StopIteration) as done:
        next(search)
    return None if done.value.value is None else [queue.name for queue in done.value.value]


def test_topics_without_a_selector_keep_their_remembered_routes(harness: Harness, peer: Client) -> None:
    subscribe(peer, "plain", "weather")
    subscribe(peer, "s", "news", selector="color = 'red'")
    assert queues_for(harness, "weather", None) == ["plain"]
    assert queues_for(harness, "news", None) is None


def test_a_selector_is_there_after_a_restart(harness: Harness, peer: Client) -> None:
    subscribe(peer, "s", "news", selector="color = 'red'")
    again = Harness()
    assert again.live.restore(drive(harness.store.load())) == []
    found = [queues_for(again, "news", message({"color": color})) for color in ("red", "blue")]
    assert found == [["s"], []]


# What a connection publishes itself


def listen(peer: Client, name: str, *, durable: bool = False, tag: str = "1", **arguments: object) -> None:
    """Subscribe to the topic news as a client of JMS does with noLocal."""
    peer.send(1, QueueDeclare(queue=name, durable=durable, exclusive=True, auto_delete=not durable))
    peer.send(1, QueueBind(queue=name, exchange="amq.topic", routing_key="news", arguments=NO_SELECTOR))
    asks = FieldTable.of(arguments)
    consume = BasicConsume(queue=name, consumer_tag=tag, no_local=not arguments, exclusive=True, arguments=asks)
    assert peer.call(1, consume) == BasicConsumeOk(tag)


@pytest.mark.parametrize("durable", [False, True])
@pytest.mark.parametrize("arguments", [{}, {"x-qpid-no-local": True}])
def test_a_subscription_gets_nothing_that_its_own_connection_publishes(
    harness: Harness, peer: Client, durable: bool, arguments: dict[str, object]
) -> None:
    other = harness.peer(vhost="carbon")
    subscribe(other, "all", "news")
    publish(peer, "news", "before")
    listen(peer, "s", durable=durable, **arguments)
    peer.call(2, ChannelOpen())
    peer.send(2, BasicPublish(0, "amq.topic", "news"), PERSISTENT, b"own")
    publish(other, "news", "foreign")
    assert peer.bodies() == [b"foreign"]
    assert harness.broker.vhosts["carbon"].queues["s"].message_count == 0
    assert take(other, "all") == [b"before", b"own", b"foreign"]


def test_what_is_published_in_a_transaction_is_ones_own_too(harness: Harness, peer: Client) -> None:
    listen(peer, "s")
    peer.call(1, TxSelect())
    publish(peer, "news", "own")
    peer.call(1, TxCommit())
    assert peer.bodies() == []


@pytest.mark.parametrize("ends", ["consumer", "connection", "queue"])
def test_it_is_as_others_when_its_consumer_is_gone(harness: Harness, peer: Client, ends: str) -> None:
    listen(peer, "s", durable=True)
    other = harness.peer(capabilities=(), vhost="carbon")
    if ends == "consumer":
        peer.call(1, BasicCancel(consumer_tag="1"))
        publisher = peer
    elif ends == "connection":
        peer.lose()
        publisher = other
    else:
        harness.stage.spawn(_deleted(harness))
        harness.run()
        subscribe(other, "s", "news")
        publisher = peer
    assert not harness.broker.vhosts["carbon"].own_messages.unwanted
    publish(publisher, "news", "red")
    publisher.received()
    assert take(other, "s") == [b"red"]


async def _deleted(harness: Harness) -> None:
    await harness.broker.vhosts["carbon"].delete_queue("s", None, if_unused=False, if_empty=False)


def test_consumers_that_share_a_queue_get_everything(harness: Harness, peer: Client) -> None:
    declare(peer)
    peer.call(1, QueueBind(queue="q", exchange="amq.topic", routing_key="news"))
    assert peer.call(1, BasicConsume(queue="q", consumer_tag="1", no_local=True)) == BasicConsumeOk("1")
    publish(peer, "news", "own")
    assert peer.bodies() == [b"own"]


def test_elsewhere_no_local_has_no_effect(harness: Harness) -> None:
    peer = harness.peer()
    listen(peer, "s")
    publish(peer, "news", "own")
    assert peer.bodies() == [b"own"]


# Logins


@pytest.mark.parametrize(("capabilities", "told"), [((), "amq.direct"), (("connection.blocked",), "")])
def test_no_delivery_has_an_exchange_without_a_name(harness: Harness, capabilities: tuple[str, ...], told: str) -> None:
    peer = harness.peer(capabilities=capabilities, vhost="carbon")
    declare(peer)
    peer.publish("q", b"got", b"consumed")
    got = peer.call(1, BasicGet(queue="q", no_ack=True))
    assert isinstance(got, BasicGetOk)
    browse = FieldTable.of({"x-filter-no-consume": True, "x-filter-auto-close": True})
    peer.send(1, BasicConsume(queue="q", consumer_tag="b", no_ack=True, arguments=browse))
    peer.send(1, BasicConsume(queue="q", consumer_tag="c", no_ack=True))
    delivered = [each for _, each in peer.received() if isinstance(each, BasicDeliver)]
    assert [(each.exchange, each.routing_key) for each in (got, *delivered)] == [(told, "q")] * 3


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
