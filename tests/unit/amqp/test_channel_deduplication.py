"""Messages that are published again, as clients see what becomes of them (docs/deduplication.md)."""

from __future__ import annotations

from typing import Any

import pytest

from broker.codec.field_table import FieldTable
from broker.codec.methods import (
    BasicAck,
    BasicConsume,
    BasicDeliver,
    BasicGet,
    BasicGetOk,
    BasicNack,
    BasicReject,
    BasicReturn,
    ChannelClose,
    ConfirmSelect,
    DtxCommit,
    DtxCommitOk,
    DtxPrepare,
    DtxPrepareOk,
    DtxRollback,
    DtxRollbackOk,
    ExchangeBind,
    ExchangeDeclare,
    ExchangeDeclareOk,
    QueueBind,
    QueueDeclare,
    QueueDelete,
    QueuePurge,
    TxCommit,
    TxCommitOk,
    TxRollback,
    TxSelect,
)
from broker.codec.properties import BasicProperties
from broker.queue.settings import QueueLimits
from tests.support.harness import Client, Harness
from tests.unit.amqp.dtx_bench import A, begin, connect, end
from tests.unit.amqp.test_channel_policy import drop, put
from tests.unit.amqp.test_channel_ttl import declare, everything, ready, stored


def key(value: object, delivery_mode: int = 2, name: str = "x-dedup-id", **properties: Any) -> BasicProperties:
    headers = FieldTable.of({name: value, **properties.pop("headers", {})})
    return BasicProperties(headers=headers, delivery_mode=delivery_mode, **properties)


def exchange(peer: Client, name: str = "x", type: str = "fanout", *, durable: bool = True, **arguments: Any) -> None:
    table = FieldTable.of({f"x-{each.replace('_', '-')}": value for each, value in arguments.items()})
    peer.received()
    peer.send(1, ExchangeDeclare(exchange=name, type=type, durable=durable, arguments=table))
    assert peer.received() == [(1, ExchangeDeclareOk())]


def bind(peer: Client, queue: str, source: str = "x") -> None:
    peer.send(1, QueueBind(queue=queue, exchange=source))


def answers(peer: Client) -> list[BasicAck | BasicNack]:
    return [method for _, method in peer.received() if isinstance(method, BasicAck | BasicNack)]


def take(peer: Client, queue: str = "q") -> bytes:
    """Fetch a message, to be settled later."""
    assert isinstance(peer.call(1, BasicGet(queue=queue)), BasicGetOk)
    (body,) = peer.bodies()
    return body


@pytest.fixture
def confirming(peer: Client) -> Client:
    peer.send(1, ConfirmSelect())
    return peer


IN_QUEUE = {"message_deduplication": True}
WINDOW = {"dedup_window": 1000}


@pytest.mark.parametrize("arguments", [IN_QUEUE, WINDOW, {"message_deduplication": True, "cache_size": 10}])
@pytest.mark.parametrize("delivery_mode", [1, 2])
def test_a_message_that_is_published_again_is_acked_and_left_out(
    harness: Harness, confirming: Client, arguments: dict[str, Any], delivery_mode: int
) -> None:
    declare(confirming, **arguments)
    confirming.publish("q", b"1", properties=key("a", delivery_mode))
    assert (answers(confirming), ready(confirming)) == ([], 0)
    harness.commit()
    assert answers(confirming) == [BasicAck(1)]
    confirming.publish("q", b"2", properties=key("a", delivery_mode))
    confirming.publish("q", b"3", properties=key("b", delivery_mode))
    assert answers(confirming) == []
    harness.commit()
    assert answers(confirming) == [BasicAck(3, True)]
    assert (stored(harness), everything(confirming)) == (2, [b"1", b"3"])


def test_a_message_with_a_key_is_handed_out_when_its_key_is_recorded(harness: Harness, confirming: Client) -> None:
    declare(confirming, **WINDOW)
    confirming.send(1, BasicConsume(queue="q", no_ack=True))
    confirming.publish("q", b"1", properties=key("a"))
    assert confirming.bodies() == []
    harness.commit()
    assert confirming.bodies() == [b"1"]


def test_a_duplicate_of_what_is_not_recorded_yet_is_acked_with_it(harness: Harness, confirming: Client) -> None:
    declare(confirming, **WINDOW)
    confirming.publish("q", b"1", b"again", properties=key("a"))
    assert answers(confirming) == []
    harness.commit()
    assert answers(confirming) == [BasicAck(2, True)]
    assert everything(confirming) == [b"1"]


def test_while_a_message_is_in_the_queue_its_key_is_taken(harness: Harness, confirming: Client) -> None:
    declare(confirming, **IN_QUEUE)
    confirming.publish("q", b"1", properties=key("a"))
    harness.commit()
    take(confirming)
    confirming.publish("q", b"2", properties=key("a"))  # a consumer holds the first one
    harness.commit()
    assert ready(confirming) == 0
    confirming.send(1, BasicAck(1))
    confirming.publish("q", b"3", properties=key("a"))
    harness.commit()
    assert everything(confirming) == [b"3"]


def test_a_message_that_is_given_back_keeps_its_key(harness: Harness, confirming: Client) -> None:
    declare(confirming, **IN_QUEUE)
    confirming.publish("q", b"1", properties=key("a"))
    harness.commit()
    take(confirming)
    confirming.send(1, BasicReject(1, True))
    confirming.publish("q", b"2", properties=key("a"))
    harness.commit()
    assert everything(confirming) == [b"1"]


@pytest.mark.parametrize("how", ["purge", "expire", "drop"])
def test_whatever_takes_a_message_out_of_its_queue_frees_its_key(harness: Harness, peer: Client, how: str) -> None:
    declare(peer, **IN_QUEUE, max_length=1, message_ttl=5000)
    peer.publish("q", b"1", properties=key("a"))
    harness.commit()
    if how == "purge":
        peer.call(1, QueuePurge(queue="q"))
    elif how == "expire":
        harness.pass_time(5)
    else:
        peer.publish("q", b"other", properties=key("b"))
    harness.commit()
    peer.publish("q", b"2", properties=key("a"))
    harness.commit()
    assert everything(peer) == [b"2"]


def test_in_a_window_a_key_is_taken_though_its_message_is_gone(harness: Harness, peer: Client) -> None:
    declare(peer, **WINDOW)
    peer.publish("q", b"1", properties=key("a"))
    harness.commit()
    assert everything(peer) == [b"1"]
    harness.pass_time(0.999)
    peer.publish("q", b"2", properties=key("a"))
    harness.commit()
    assert everything(peer) == []
    harness.pass_time(0.001)
    peer.publish("q", b"3", properties=key("a"))
    harness.commit()
    assert everything(peer) == [b"3"]


@pytest.mark.parametrize("name", ["x-dedup-id", "x-deduplication-header"])
def test_the_key_is_in_a_header_of_either_name(harness: Harness, peer: Client, name: str) -> None:
    declare(peer, **WINDOW)
    peer.publish("q", b"1", b"2", properties=key("a", name=name))
    harness.commit()
    assert everything(peer) == [b"1"]


def test_another_header_may_be_named(harness: Harness, peer: Client) -> None:
    declare(peer, **WINDOW, deduplication_header="order")
    peer.publish("q", b"1", b"2", properties=key(17, name="order"))
    peer.publish("q", b"3", b"4", properties=key("a"))
    harness.commit()
    assert everything(peer) == [b"1", b"3", b"4"]


def test_a_property_may_hold_the_key_in_queues_and_exchanges(harness: Harness, peer: Client) -> None:
    declare(peer, **WINDOW, deduplication_property="message_id")
    declare(peer, "behind")
    exchange(peer, **WINDOW, deduplication_property="correlation_id")
    bind(peer, "behind")
    for number in range(4):
        peer.publish("q", b"%d" % number, properties=BasicProperties(message_id=f"m{number // 2}"))
        called = BasicProperties(correlation_id=f"c{number // 2}", delivery_mode=2)
        peer.publish("", b"%d" % number, exchange="x", properties=called)
    harness.commit()
    assert (everything(peer), everything(peer, "behind")) == ([b"0", b"2"], [b"0", b"2"])


def test_a_text_is_another_key_than_a_number_and_a_void_is_none(harness: Harness, peer: Client) -> None:
    declare(peer, **WINDOW)
    for number, value in enumerate(["1", 1, 1.0, True, None, None, 1, "1"]):
        peer.publish("q", b"%d" % number, properties=key(value))
    harness.commit()
    assert everything(peer) == [b"%d" % number for number in range(6)]


def test_a_key_that_is_none_is_refused(peer: Client) -> None:
    declare(peer, **WINDOW)
    peer.publish("q", b"1", properties=key(FieldTable.of({"a": 1})))
    text = 'PRECONDITION_FAILED - invalid message: {unacceptable_type_in_header,"x-dedup-id",table}'
    assert peer.received() == [(1, ChannelClose(406, text, 60, 40))]


def test_messages_without_a_key_pass_by_but_keep_their_order(harness: Harness, peer: Client) -> None:
    declare(peer, **WINDOW)
    peer.publish("q", b"1", properties=BasicProperties(delivery_mode=2))
    assert ready(peer) == 1  # as in every queue, it is there at once
    peer.publish("q", b"2", properties=key("a"))
    peer.publish("q", b"3", properties=BasicProperties(delivery_mode=2))
    peer.publish("q", b"4", properties=BasicProperties(expiration="0"))
    peer.publish("q", b"5")
    assert ready(peer) == 1
    harness.commit()
    assert everything(peer) == [b"1", b"2", b"3", b"5"]


def test_what_is_held_is_in_no_slot(peer: Client) -> None:
    harness = Harness(queue_limits=QueueLimits(memory=4000, window_size=2, read_ahead=2))
    peer = harness.peer()
    declare(peer, **WINDOW)
    for number in range(10):
        peer.publish("q", b"%d" % number, properties=key(number))
        if number % 3 == 2:
            harness.commit()
        if number % 2:
            peer.publish("q", b"-", properties=key(number))
    harness.commit()
    assert harness.vhost.queues["q"].ready_count == 10
    assert everything(peer) == [b"%d" % number for number in range(10)]


def test_priorities_share_the_keys_of_their_queue(harness: Harness, peer: Client) -> None:
    declare(peer, **WINDOW, max_priority=3)
    peer.publish("q", b"low", properties=key("a", priority=1))
    peer.publish("q", b"high", properties=key("a", priority=3))
    peer.publish("q", b"higher", properties=key("b", priority=3))
    harness.commit()
    assert everything(peer) == [b"higher", b"low"]


def test_a_mandatory_duplicate_is_not_returned(harness: Harness, confirming: Client) -> None:
    declare(confirming, **WINDOW)
    exchange(confirming, **WINDOW)
    bind(confirming, "q")
    for _ in range(2):
        confirming.publish("", b"1", exchange="x", mandatory=True, properties=key("a"))
        harness.commit()
    methods = [method for _, method in confirming.received()]
    assert not any(isinstance(method, BasicReturn) for method in methods)
    assert answers(confirming) == []
    assert everything(confirming) == [b"1"]


def test_a_queue_that_has_no_room_refuses_a_repeat_too(harness: Harness, confirming: Client) -> None:
    declare(confirming, **WINDOW, max_length=1, overflow="reject-publish")
    confirming.publish("q", b"1", properties=key("a"))
    harness.commit()
    assert answers(confirming) == [BasicAck(1)]
    confirming.publish("q", b"2", properties=key("b"))
    assert answers(confirming) == [BasicNack(2, requeue=False)]


# What cannot be kept


@pytest.mark.parametrize("flags", [{"durable": False}, {"durable": True, "exclusive": True}])
@pytest.mark.parametrize("name", ["x-message-deduplication", "x-dedup-window"])
def test_a_queue_whose_messages_are_not_stored_has_no_keys(peer: Client, flags: dict[str, bool], name: str) -> None:
    arguments = FieldTable.of({name: True if name.startswith("x-m") else 1000})
    peer.received()
    peer.send(1, QueueDeclare(queue="q", arguments=arguments, **flags))
    ((_, answer),) = peer.received()
    assert answer == ChannelClose(
        406,
        f"PRECONDITION_FAILED - invalid arg '{name}' for queue 'q' in vhost '/': keys are kept in the database with"
        " their messages, so the queue must be durable and not exclusive",
        50,
        10,
    )


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"x-message-deduplication": "yes"}, "true or false is needed, not 'yes'"),
        ({"x-dedup-window": 0}, "a time in milliseconds, 1 to 315360000000, is needed, not 0"),
        ({"x-dedup-window": -1}, "a time in milliseconds, 1 to 315360000000, is needed, not -1"),
        (
            {"x-dedup-window": [1]},
            "a time in milliseconds, 1 to 315360000000, is needed, not a value of the type array",
        ),
        ({"x-cache-size": 0}, "a whole number from 1 on is needed, not 0"),
        ({"x-cache-ttl": 315_360_000_001}, "a time in milliseconds, 1 to 315360000000, is needed, not 315360000001"),
        ({"x-cache-ttl": "soon"}, "a time in milliseconds, 1 to 315360000000, is needed, not 'soon'"),
        ({"x-cache-persistence": "tape"}, "disk or memory is needed, not 'tape'"),
        ({"x-deduplication-header": ""}, "the name of a header, 1 to 255 octets, is needed, not ''"),
        ({"x-deduplication-property": "body"}, "message_id or correlation_id is needed, not 'body'"),
    ],
)
def test_arguments_of_queues_are_checked(peer: Client, arguments: dict[str, Any], text: str) -> None:
    peer.send(1, QueueDeclare(queue="q", durable=True, arguments=FieldTable.of(arguments)))
    ((_, answer),) = peer.received()
    assert isinstance(answer, ChannelClose)
    name = next(iter(arguments))
    assert answer.reply_text == f"PRECONDITION_FAILED - invalid arg '{name}' for queue 'q' in vhost '/': {text}"


@pytest.mark.parametrize(
    ("type", "arguments", "text"),
    [
        (
            "x-message-deduplication",
            {},
            "Missing or invalid argument, 'x-cache-size' must be an integer greater than 0",
        ),
        (
            "x-message-deduplication",
            {"x-cache-size": 0},
            "Missing or invalid argument, 'x-cache-size' must be an integer greater than 0",
        ),
        (
            "x-message-deduplication",
            {"x-cache-size": 9, "x-cache-ttl": 0},
            "Invalid argument, 'x-cache-ttl' must be an integer greater than 0",
        ),
        (
            "x-message-deduplication",
            {"x-cache-size": 9, "x-cache-persistence": "ram"},
            "Invalid argument, 'x-cache-persistence' must be either 'disk' or 'memory'",
        ),
        ("direct", {"x-message-deduplication": 1}, "Invalid argument, 'x-message-deduplication' must be a boolean"),
        (
            "direct",
            {"x-dedup-window": -5},
            "Invalid argument, 'x-dedup-window' must be an integer greater than 0: a time in milliseconds,"
            " 1 to 315360000000, is needed",
        ),
        (
            "direct",
            {"x-dedup-window": 5, "x-deduplication-header": 7},
            "Invalid argument, 'x-deduplication-header' must be the name of a header",
        ),
        (
            "direct",
            {"x-dedup-window": 5, "x-deduplication-property": "body"},
            "Invalid argument, 'x-deduplication-property' must be one of message_id, correlation_id",
        ),
        (
            "direct",
            {"x-message-deduplication": True},
            "Missing argument, 'x-message-deduplication' of an exchange needs one of 'x-dedup-window', 'x-cache-ttl',"
            " 'x-cache-size': an exchange does not know how long a message is in a queue",
        ),
    ],
)
def test_arguments_of_exchanges_are_checked(peer: Client, type: str, arguments: dict[str, Any], text: str) -> None:
    peer.send(1, ExchangeDeclare(exchange="x", type=type, durable=True, arguments=FieldTable.of(arguments)))
    assert peer.received() == [(1, ChannelClose(406, f"PRECONDITION_FAILED - {text}", 40, 10))]


# Exchanges


@pytest.mark.parametrize(
    ("type", "arguments"),
    [
        ("x-message-deduplication", {"cache_size": 100}),
        ("x-message-deduplication", {"cache_size": "100", "cache_ttl": 1000, "cache_persistence": "disk"}),
        ("fanout", {"message_deduplication": True, "cache_size": 100}),
        ("fanout", WINDOW),
    ],
)
def test_an_exchange_leaves_out_what_is_published_again(
    harness: Harness, confirming: Client, type: str, arguments: dict[str, Any]
) -> None:
    declare(confirming, "one")
    declare(confirming, "two")
    exchange(confirming, type=type, **arguments)
    bind(confirming, "one")
    bind(confirming, "two")
    for number in range(3):
        confirming.publish("k", b"%d" % number, exchange="x", properties=key("a", name="x-deduplication-header"))
        harness.commit()
        assert answers(confirming) == [BasicAck(number + 1)]
    assert (everything(confirming, "one"), everything(confirming, "two")) == ([b"0"], [b"0"])


def test_an_exchange_that_is_not_durable_has_keys_too(harness: Harness, peer: Client) -> None:
    exchange(peer, durable=False, **WINDOW)
    peer.send(1, QueueDeclare(queue="t"))
    bind(peer, "t")
    peer.publish("", b"1", b"2", exchange="x", properties=key("a", 1))
    assert everything(peer, "t") == []
    harness.commit()
    assert everything(peer, "t") == [b"1"]


def test_a_key_of_an_exchange_is_not_one_of_a_queue(harness: Harness, peer: Client) -> None:
    declare(peer, **WINDOW)
    exchange(peer, **WINDOW)
    bind(peer, "q")
    peer.publish("q", b"1", properties=key("a"))
    peer.publish("", b"2", exchange="x", properties=key("a"))  # the queue has it
    peer.publish("", b"3", exchange="x", properties=key("b"))
    peer.publish("q", b"4", properties=key("b"))
    harness.commit()
    assert everything(peer) == [b"1", b"3"]


def test_what_leads_to_no_queue_has_no_key(harness: Harness, confirming: Client) -> None:
    declare(confirming)
    exchange(confirming, **WINDOW)
    confirming.publish("", b"1", exchange="x", mandatory=True, properties=key("a"))
    assert [type(method) for _, method in confirming.received()] == [BasicReturn, BasicAck]
    confirming.contents()
    bind(confirming, "q")
    confirming.publish("", b"2", exchange="x", properties=key("a"))
    harness.commit()
    assert everything(confirming) == [b"2"]


def test_a_message_says_itself_how_long_an_exchange_is_to_remember_it(harness: Harness, peer: Client) -> None:
    declare(peer)
    exchange(peer, type="x-message-deduplication", cache_size=10, cache_ttl=1000)
    bind(peer, "q")
    for number in range(3):
        peer.publish("", b"%d" % number, exchange="x", properties=key("a", headers={"x-cache-ttl": 5000}))
        harness.commit()
        harness.pass_time(2.5)
    assert everything(peer) == [b"0", b"2"]


def test_exchanges_on_the_way_are_asked_one_after_the_other(harness: Harness, peer: Client) -> None:
    declare(peer, "behind")
    declare(peer, "beside")
    exchange(peer, "first", dedup_window=1000)
    exchange(peer, "second", dedup_window=3000)
    peer.send(1, ExchangeBind(destination="second", source="first"))
    bind(peer, "behind", "second")
    bind(peer, "beside", "first")
    for number in range(3):
        peer.publish("", b"%d" % number, exchange="first", properties=key("a"))
        harness.commit()
        harness.pass_time(1.5)
    assert everything(peer, "beside") == [b"0", b"1", b"2"]
    assert everything(peer, "behind") == [b"0", b"2"]


@pytest.mark.parametrize("order", [("x", "plain"), ("plain", "x")])
def test_a_way_around_the_exchange_needs_no_key(harness: Harness, peer: Client, order: tuple[str, str]) -> None:
    declare(peer, "around")
    declare(peer, "through")
    exchange(peer, "in")
    exchange(peer, "x", **WINDOW)
    exchange(peer, "plain")
    exchange(peer, "last")
    for name in order:
        peer.send(1, ExchangeBind(destination=name, source="in"))
        peer.send(1, ExchangeBind(destination="last", source=name))
    bind(peer, "around", "last")
    bind(peer, "through", "x")
    peer.publish("", b"1", b"2", exchange="in", properties=key("a"))
    harness.commit()
    assert (everything(peer, "around"), everything(peer, "through")) == ([b"1", b"2"], [b"1"])


@pytest.mark.parametrize("order", [("x", "plain"), ("plain", "x")])
def test_a_way_around_the_exchange_by_an_alternate_needs_no_key(
    harness: Harness, peer: Client, order: tuple[str, str]
) -> None:
    declare(peer, "there")
    exchange(peer, "in")
    exchange(peer, "last")
    for name, rule in (("x", {"x-dedup-window": 1000}), ("plain", {})):
        arguments = FieldTable.of({"alternate-exchange": "last", **rule})
        peer.send(1, ExchangeDeclare(exchange=name, type="fanout", durable=True, arguments=arguments))
    for name in order:
        peer.send(1, ExchangeBind(destination=name, source="in"))
    bind(peer, "there", "last")
    peer.publish("", b"1", b"2", exchange="in", properties=key("a"))
    harness.commit()
    assert everything(peer, "there") == [b"1", b"2"]


def test_a_topic_exchange_still_routes_by_its_keys(harness: Harness, peer: Client) -> None:
    declare(peer, "a")
    declare(peer, "all")
    exchange(peer, type="topic", **WINDOW)
    peer.send(1, QueueBind(queue="a", exchange="x", routing_key="a.*"))
    peer.send(1, QueueBind(queue="all", exchange="x", routing_key="#"))
    peer.publish("b.1", b"1", exchange="x", properties=key("k1"))
    peer.publish("a.1", b"2", exchange="x", properties=key("k2"))
    peer.publish("a.2", b"3", exchange="x", properties=key("k2"))
    peer.publish("a.3", b"4", exchange="x")
    harness.commit()
    assert (everything(peer, "a"), everything(peer, "all")) == ([b"2", b"4"], [b"1", b"2", b"4"])


def test_a_message_for_many_queues_has_one_key() -> None:
    harness = Harness(max_queues=300)
    confirming = harness.peer()
    confirming.send(1, ConfirmSelect())
    names = [f"q{number}" for number in range(300)]
    exchange(confirming, **WINDOW)
    for name in names:
        confirming.send(1, QueueDeclare(queue=name, durable=True))
        bind(confirming, name)
    confirming.received()
    confirming.publish("", b"1", b"2", exchange="x", properties=key("a"))
    harness.commit()
    assert answers(confirming) == [BasicAck(2, True)]
    assert all(harness.vhost.queues[name].ready_count == 1 for name in names)


# Transactions


def test_a_transaction_asks_for_its_keys_when_it_is_committed(harness: Harness, peer: Client) -> None:
    declare(peer, **WINDOW)
    declare(peer, "plain")
    other = harness.peer()
    peer.send(1, TxSelect())
    peer.publish("q", b"1", b"again", properties=key("a"))
    peer.publish("plain", b"with it", properties=key("a"))
    other.publish("q", b"faster", properties=key("a"))
    harness.commit()
    assert peer.call(1, TxCommit()) == TxCommitOk()
    assert everything(other) == [b"faster"]
    assert everything(other, "plain") == [b"with it"]
    peer.publish("q", b"2", properties=key("b"))
    peer.call(1, TxCommit())
    assert everything(other) == [b"2"]


def test_a_transaction_that_is_rolled_back_takes_no_key(harness: Harness, peer: Client) -> None:
    declare(peer, **WINDOW)
    peer.send(1, TxSelect())
    peer.publish("q", b"1", properties=key("a"))
    peer.call(1, TxRollback())
    peer.publish("q", b"2", properties=key("a"))
    peer.call(1, TxCommit())
    assert everything(harness.peer()) == [b"2"]


def test_keys_of_exchanges_count_in_transactions(harness: Harness, peer: Client) -> None:
    exchange(peer, **WINDOW)
    peer.send(1, QueueDeclare(queue="t"))
    declare(peer, "q")
    bind(peer, "t")
    bind(peer, "q")
    peer.send(1, TxSelect())
    for number in range(2):
        peer.publish("", b"%d" % number, exchange="x", properties=key("a", 1))
        assert peer.call(1, TxCommit()) == TxCommitOk()
    other = harness.peer()
    assert (everything(other, "t"), everything(other, "q")) == ([b"0"], [b"0"])
    assert harness.vhost.queues["q"].can_hand_off


def test_an_ack_and_a_publish_of_one_transaction_pass_the_key_on(harness: Harness, peer: Client) -> None:
    declare(peer, **IN_QUEUE)
    other = harness.peer()
    other.publish("q", b"1", properties=key("a"))
    harness.commit()
    peer.send(1, TxSelect())
    take(peer)
    peer.send(1, BasicAck(1))
    peer.publish("q", b"2", properties=key("a"))
    assert peer.call(1, TxCommit()) == TxCommitOk()
    assert everything(other) == [b"2"]


@pytest.fixture
def dtx(harness: Harness) -> Client:
    peer = connect(harness)
    peer.send(1, QueueDeclare(queue="q", durable=True, arguments=FieldTable.of({"x-message-deduplication": True})))
    peer.received()
    return peer


@pytest.mark.parametrize("is_prepared", [False, True])
def test_a_branch_asks_for_its_keys_when_it_is_committed(harness: Harness, dtx: Client, is_prepared: bool) -> None:
    for number in range(2):
        begin(dtx)
        dtx.publish("q", b"%d" % number, properties=key("a"))
        end(dtx)
        if is_prepared:
            assert isinstance(dtx.call(1, DtxPrepare(*A)), DtxPrepareOk)
        assert isinstance(dtx.call(1, DtxCommit(*A, not is_prepared)), DtxCommitOk)
    assert everything(harness.peer(vhost="carbon")) == [b"0"]


def test_a_prepared_branch_that_is_rolled_back_gives_back_a_message_with_its_key(harness: Harness, dtx: Client) -> None:
    other = harness.peer(vhost="carbon")
    other.publish("q", b"1", properties=key("a"))
    harness.commit()
    begin(dtx)
    take(dtx)
    dtx.send(1, BasicAck(1))
    end(dtx)
    dtx.call(1, DtxPrepare(*A))
    assert isinstance(dtx.call(1, DtxRollback(*A)), DtxRollbackOk)
    other.publish("q", b"2", properties=key("a"))
    harness.commit()
    assert everything(other) == [b"1"]


def test_a_branch_with_a_key_of_an_exchange_cannot_be_prepared(harness: Harness, dtx: Client) -> None:
    exchange(dtx, **WINDOW)
    bind(dtx, "q")
    begin(dtx)
    dtx.publish("", b"1", exchange="x", properties=key("a"))
    end(dtx)
    dtx.received()
    dtx.send(1, DtxPrepare(*A))
    ((_, answer),) = dtx.received()
    assert "keys of exchanges" in answer.reply_text  # type: ignore[attr-defined]
    assert everything(harness.peer()) == []


# Dead letters


def test_a_dead_letter_is_never_left_out_and_its_key_counts(harness: Harness, peer: Client) -> None:
    declare(peer, "first")
    declare(peer, "dead", **IN_QUEUE)
    declare(peer, "from", dead_letter_exchange="", dead_letter_routing_key="dead")
    peer.publish("dead", b"there", properties=key("a"))
    peer.publish("from", b"a letter", properties=key("a", 1))
    peer.publish("from", b"another", properties=key("b"))
    harness.commit()
    for tag in (1, 2):
        take(peer, "from")
        peer.send(1, BasicReject(tag, False))
    harness.commit()
    peer.publish("dead", b"again", properties=key("b"))
    harness.commit()
    assert everything(peer, "dead") == [b"there", b"a letter", b"another"]


def test_a_message_comes_back_from_where_it_waits_within_its_window(harness: Harness, peer: Client) -> None:
    declare(peer, "q", dedup_window=60_000, dead_letter_exchange="", dead_letter_routing_key="wait")
    declare(peer, "wait", message_ttl=1000, dead_letter_exchange="", dead_letter_routing_key="q")
    peer.publish("q", b"1", properties=key("a"))
    harness.commit()
    take(peer)
    peer.send(1, BasicReject(1, False))
    harness.commit()
    harness.pass_time(1)
    harness.commit()
    peer.publish("q", b"again", properties=key("a"))
    harness.commit()
    assert everything(peer) == [b"1"]


def test_a_dead_letter_passes_an_exchange_without_a_look_at_its_key(harness: Harness, peer: Client) -> None:
    exchange(peer, **WINDOW)
    declare(peer, "dead")
    bind(peer, "dead")
    declare(peer, "from", dead_letter_exchange="x")
    for value in ("a", "a", FieldTable.of({})):
        peer.publish("from", b"m", properties=key(value))
    harness.commit()
    for tag in (1, 2, 3):
        take(peer, "from")
        peer.send(1, BasicReject(tag, False))
    harness.commit()
    assert everything(peer, "dead") == [b"m"] * 3


# Policies


@pytest.mark.parametrize(
    "definition",
    [
        {"message-deduplication": True},
        {"dedup-window": 5000},
        {"x-message-deduplication": True},
        {"x-message-deduplication": True, "x-cache-size": 100, "x-cache-ttl": 5000, "x-cache-persistence": "disk"},
        {"message-deduplication": True, "cache-size": 100, "cache-ttl": 5000},
    ],
)
def test_a_policy_holds_for_queues_that_are_there_at_once(
    harness: Harness, peer: Client, definition: dict[str, Any]
) -> None:
    declare(peer)
    peer.publish("q", b"1", b"2", properties=key("a"))
    put(harness, definition, apply_to="queues")
    peer.publish("q", b"3", b"4", properties=key("a"))
    harness.commit()
    drop(harness)
    peer.publish("q", b"5", properties=key("a"))
    harness.commit()
    assert everything(peer) == [b"1", b"2", b"3", b"5"]


def test_a_policy_wins_over_arguments_and_spares_queues_that_are_not_stored(harness: Harness, peer: Client) -> None:
    declare(peer, **WINDOW)
    peer.send(1, QueueDeclare(queue="t"))
    put(harness, {"message-deduplication": False}, apply_to="queues")
    peer.publish("q", b"1", b"2", properties=key("a"))
    harness.commit()
    assert everything(peer) == [b"1", b"2"]
    put(harness, {"dedup-window": 5000}, apply_to="queues")
    peer.publish("t", b"1", b"2", properties=key("a"))
    assert everything(peer, "t") == [b"1", b"2"]


def test_a_policy_holds_for_exchanges(harness: Harness, peer: Client) -> None:
    declare(peer)
    exchange(peer)
    bind(peer, "q")
    peer.publish("", b"1", b"2", exchange="x", properties=key("a"))
    put(harness, {"dedup-window": 5000, "deduplication-header": "order"}, apply_to="exchanges")
    peer.publish("", b"3", b"4", exchange="x", properties=key("a", name="order"))
    harness.commit()
    drop(harness)
    peer.publish("", b"5", exchange="x", properties=key("a", name="order"))
    harness.commit()
    assert everything(peer) == [b"1", b"2", b"3", b"5"]


# When a queue goes


def test_what_waits_for_its_key_goes_with_its_queue(harness: Harness, confirming: Client) -> None:
    declare(confirming, **WINDOW)
    confirming.publish("q", b"1", properties=key("a"))
    confirming.send(1, QueueDelete(queue="q"))
    harness.commit()
    harness.commit()
    assert answers(confirming)[-1:] == [BasicAck(1)]
    assert stored(harness) == 0
    declare(confirming, **WINDOW)
    confirming.publish("q", b"2", properties=key("a"))
    harness.commit()
    assert everything(confirming) == [b"2"]


def test_a_consumer_gets_what_was_held_in_the_order_of_publishing(harness: Harness, peer: Client) -> None:
    declare(peer, **WINDOW)
    peer.send(1, BasicConsume(queue="q", no_ack=True))
    peer.received()
    for number in range(6):
        peer.publish("q", b"%d" % number, properties=key(number // 2) if number % 3 else BasicProperties())
    harness.commit()
    assert [method for _, method in peer.received() if not isinstance(method, BasicDeliver)] == []
    assert peer.bodies() == [b"0", b"1", b"2", b"3", b"4"]
