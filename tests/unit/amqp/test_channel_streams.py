"""Streams as clients see them (contract S1 to S6; docs/streams.md)."""

from __future__ import annotations

from typing import Any

import pytest

from broker.amqp.profile import RABBITMQ
from broker.codec.field_table import FieldTable, Timestamp
from broker.codec.methods import (
    BasicAck,
    BasicCancel,
    BasicConsume,
    BasicConsumeOk,
    BasicDeliver,
    BasicGet,
    BasicNack,
    BasicQos,
    BasicReject,
    ChannelClose,
    ChannelOpen,
    ConfirmSelect,
    ConnectionClose,
    ExchangeDeclare,
    QueueBind,
    QueueDeclare,
    QueueDeclareOk,
    QueueDelete,
    QueueDeleteOk,
    QueuePurge,
    TxCommit,
    TxCommitOk,
    TxRollback,
    TxSelect,
)
from broker.codec.properties import BasicProperties
from tests.support.harness import Client, Harness
from tests.unit.amqp.test_channel_policy import put

STREAM = "queue 's' in vhost '/'"
STREAM_TYPE = {"x-queue-type": "stream"}


def declare(peer: Client, name: str = "s", *, durable: bool = True, **arguments: Any) -> Any:
    table = FieldTable.of(STREAM_TYPE | {f"x-{key.replace('_', '-')}": value for key, value in arguments.items()})
    return peer.call(1, QueueDeclare(queue=name, durable=durable, arguments=table))


def consume(
    peer: Client, tag: str = "t", *, channel: int = 1, prefetch: int = 100, queue: str = "s", **arguments: Any
) -> Any:
    table = FieldTable.of({f"x-stream-{key.replace('_', '-')}": value for key, value in arguments.items()})
    peer.call(channel, BasicQos(0, prefetch, False))
    peer.send(channel, BasicConsume(queue=queue, consumer_tag=tag, arguments=table))


def delivered(peer: Client) -> list[tuple[int, bytes]]:
    """Return offset and body of what was delivered."""
    found = []
    for content in peer.contents():
        assert isinstance(content.method, BasicDeliver)
        assert content.properties.headers is not None
        assert content.properties.headers.types["x-stream-offset"] == "long"
        found.append((content.properties.headers.values["x-stream-offset"], content.body))
    return found


@pytest.fixture
def stream(harness: Harness, peer: Client) -> Client:
    """A client, and a stream with the messages 0 to 4."""
    assert declare(peer) == QueueDeclareOk("s", 0, 0)
    for number in range(5):
        peer.publish("s", b"%d" % number)
    harness.commit()
    return peer


ALL = [(number, b"%d" % number) for number in range(5)]


# Declaring


@pytest.mark.parametrize(
    ("properties", "wrong"),
    [
        ({"durable": False}, "non-durable"),
        ({"exclusive": True}, "exclusive-owner"),
        ({"auto_delete": True}, "auto-delete"),
    ],
)
def test_a_stream_is_durable_and_neither_exclusive_nor_auto_delete(
    peer: Client, properties: dict[str, bool], wrong: str
) -> None:
    declaration = QueueDeclare(queue="s", arguments=FieldTable.of(STREAM_TYPE), **{"durable": True, **properties})
    answer = peer.call(1, declaration)
    assert answer == ChannelClose(406, f"PRECONDITION_FAILED - invalid property '{wrong}' for {STREAM}", 50, 10)


def test_arguments_of_streams_are_accepted(peer: Client) -> None:
    answer = declare(
        peer,
        max_length_bytes=1_000_000,
        max_age="7D",
        stream_max_segment_size_bytes=500_000,
        stream_filter_size_bytes=32,
        initial_cluster_size=3,
        queue_leader_locator="balanced",
    )
    assert answer == QueueDeclareOk("s", 0, 0)


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("max_age", "7 days", f"invalid arg 'x-max-age' for {STREAM}: invalid_max_age"),
        ("max_age", "0s", f"invalid arg 'x-max-age' for {STREAM}: invalid_max_age"),
        ("max_age", 7, f"invalid arg 'x-max-age' for {STREAM}: {{unacceptable_type,signedint}}"),
        ("max_length_bytes", -1, f"invalid arg 'x-max-length-bytes' for {STREAM}: {{value_negative,-1}}"),
        ("initial_cluster_size", 0, f"invalid arg 'x-initial-cluster-size' for {STREAM}: {{value_zero,0}}"),
        ("stream_max_segment_size_bytes", 3_000_000_001, "Exceeded max value for x-stream-max-segment-size-bytes"),
        ("stream_filter_size_bytes", 15, "Invalid value for  x-stream-filter-size-bytes"),
        ("message_ttl", 1000, f"invalid arg 'x-message-ttl' for {STREAM} of queue type rabbit_stream_queue"),
        ("max_length", 10, f"invalid arg 'x-max-length' for {STREAM} of queue type rabbit_stream_queue"),
        ("expires", 10, f"invalid arg 'x-expires' for {STREAM} of queue type rabbit_stream_queue"),
        ("max_priority", 1, f"invalid arg 'x-max-priority' for {STREAM} of queue type rabbit_stream_queue"),
        ("overflow", "drop-head", f"invalid arg 'x-overflow' for {STREAM} of queue type rabbit_stream_queue"),
        (
            "single_active_consumer",
            True,
            f"invalid arg 'x-single-active-consumer' for {STREAM} of queue type rabbit_stream_queue",
        ),
    ],
)
def test_other_arguments_are_refused(peer: Client, name: str, value: Any, text: str) -> None:
    assert declare(peer, **{name: value}) == ChannelClose(406, f"PRECONDITION_FAILED - {text}", 50, 10)


def test_a_classic_queue_has_no_arguments_of_streams(peer: Client) -> None:
    answer = peer.call(1, QueueDeclare(queue="q", arguments=FieldTable.of({"x-max-age": "7D"})))
    assert "invalid arg 'x-max-age' for queue 'q'" in answer.reply_text  # type: ignore[attr-defined]


def test_another_declaration_tells_what_differs(stream: Client) -> None:
    answer = declare(stream, max_age="1h")
    assert answer == ChannelClose(
        406,
        f"PRECONDITION_FAILED - inequivalent arg 'x-max-age' for {STREAM}: received the value '1h' of type 'longstr'"
        " but current is none",
        50,
        10,
    )


def test_the_type_is_part_of_a_declaration(stream: Client) -> None:
    answer = stream.call(1, QueueDeclare(queue="s", durable=True))
    assert "inequivalent arg 'x-queue-type'" in answer.reply_text  # type: ignore[attr-defined]


def test_a_server_named_stream_is_refused(peer: Client) -> None:
    text = "PRECONDITION_FAILED - Cannot declare a server-named queue for type rabbit_stream_queue"
    assert declare(peer, "") == ChannelClose(406, text, 50, 10)


def test_a_declaration_tells_how_many_offsets_there_are(stream: Client) -> None:
    consume(stream, offset="first")
    assert len(delivered(stream)) == 5
    assert declare(stream) == QueueDeclareOk("s", 5, 1)


# What is not served


@pytest.mark.parametrize(
    ("method", "text", "ids"),
    [
        (BasicGet(queue="s"), f"basic.get not supported by stream queues {STREAM}", (60, 70)),
        (QueuePurge(queue="s"), f"queue.purge not supported by stream queues {STREAM}", (50, 30)),
    ],
)
def test_what_streams_do_not_have_is_540(stream: Client, method: Any, text: str, ids: tuple[int, int]) -> None:
    stream.received()
    stream.send(1, method)
    assert stream.received() == [(0, ConnectionClose(540, f"NOT_IMPLEMENTED - {text}", *ids))]


# Consuming


def test_a_consumer_without_prefetch_is_refused(stream: Client) -> None:
    answer = stream.call(1, BasicConsume(queue="s"))
    text = f"PRECONDITION_FAILED - consumer prefetch count is not set for stream {STREAM}"
    assert answer == ChannelClose(406, text, 60, 20)


def test_a_consumer_that_acknowledges_nothing_is_refused(stream: Client) -> None:
    stream.call(1, BasicQos(0, 10, False))
    stream.send(1, BasicConsume(queue="s", no_ack=True))
    text = f"NOT_IMPLEMENTED - automatic acknowledgement not supported by stream {STREAM}"
    assert stream.received() == [(0, ConnectionClose(540, text, 60, 20))]


def test_a_prefetch_of_the_whole_channel_is_refused(stream: Client) -> None:
    stream.call(1, BasicQos(0, 10, False))
    stream.call(1, BasicQos(0, 10, True))
    stream.send(1, BasicConsume(queue="s"))
    assert stream.received() == [
        (0, ConnectionClose(540, f"NOT_IMPLEMENTED - {STREAM} does not support global qos", 60, 20))
    ]


@pytest.mark.parametrize(
    ("offset", "first"),
    [
        ("first", 0),
        ("last", 4),
        ("next", 5),
        (3, 3),
        (0, 0),
        (99, 99),
        (-1, 0),
        (Timestamp(0), 0),
        ("1h", 0),
        ("1Y", 0),
    ],
)
def test_a_consumer_begins_where_it_says(harness: Harness, stream: Client, offset: Any, first: int) -> None:
    consume(stream, offset=offset)
    assert stream.received()[-5:][0] is not None
    assert delivered(stream) == [(number, body) for number, body in ALL if number >= first]
    stream.publish("s", b"5")
    harness.commit()
    assert delivered(stream) == ([(5, b"5")] if first <= 5 else [])


def test_a_consumer_that_says_nothing_begins_with_what_comes_next(harness: Harness, stream: Client) -> None:
    consume(stream)
    assert delivered(stream) == []
    stream.publish("s", b"5")
    assert delivered(stream) == []
    harness.commit()
    assert delivered(stream) == [(5, b"5")]


def test_a_consumer_begins_with_what_was_published_since_a_time(harness: Harness, stream: Client) -> None:
    harness.clock.advance(3600)
    harness.parts.ids.advance(harness.clock.wall_ms())
    stream.publish("s", b"5", b"6")
    harness.commit()
    consume(stream, offset="59m")
    assert delivered(stream) == [(5, b"5"), (6, b"6")]


def test_a_time_in_the_midst_of_a_segment_is_found(harness: Harness, peer: Client) -> None:
    declare(peer)
    for number in range(4):
        harness.clock.advance(10)
        harness.parts.ids.advance(harness.clock.wall_ms())
        peer.publish("s", b"%d" % number)
    harness.commit()
    consume(peer, offset=Timestamp(harness.clock.wall_ms() // 1000 - 15))
    assert [body for _, body in delivered(peer)] == [b"2", b"3"]


@pytest.mark.parametrize(("offset", "shown"), [("soon", '{longstr,<<"soon">>}'), (True, "{bool,True}")])
def test_an_offset_that_is_none_is_refused(stream: Client, offset: Any, shown: str) -> None:
    stream.received()
    consume(stream, offset=offset)
    text = f"PRECONDITION_FAILED - invalid arg 'x-stream-offset' for {STREAM}: {{invalid_stream_offset_arg,{shown}}}"
    assert stream.received()[-1] == (1, ChannelClose(406, text, 60, 20))


def test_consume_ok_comes_before_the_first_delivery(stream: Client) -> None:
    stream.received()
    consume(stream, offset="first")
    kinds = [type(method) for _, method in stream.received()]
    assert kinds == [BasicConsumeOk] + 5 * [BasicDeliver]


def test_prefetch_bounds_what_is_unacknowledged_and_acks_give_credit(stream: Client) -> None:
    consume(stream, offset="first", prefetch=2)
    assert delivered(stream) == ALL[:2]
    stream.send(1, BasicAck(1, False))
    assert delivered(stream) == ALL[2:3]
    stream.send(1, BasicAck(3, True))
    assert delivered(stream) == ALL[3:]


@pytest.mark.parametrize("answer", [BasicNack(1, False, True), BasicNack(1, False, False), BasicReject(1, True)])
def test_whatever_the_answer_is_the_next_message_follows(stream: Client, answer: Any) -> None:
    consume(stream, offset="first", prefetch=1)
    assert delivered(stream) == ALL[:1]
    stream.send(1, answer)
    assert delivered(stream) == ALL[1:2]


def test_each_consumer_has_its_own_place(harness: Harness, stream: Client) -> None:
    other = harness.peer()
    consume(stream, offset="first")
    consume(other, offset=3)
    assert (delivered(stream), delivered(other)) == (ALL, ALL[3:])
    stream.publish("s", b"5")
    harness.commit()
    assert (delivered(stream), delivered(other)) == ([(5, b"5")], [(5, b"5")])


def test_messages_stay_when_they_are_acknowledged_or_their_consumer_goes(harness: Harness, stream: Client) -> None:
    consume(stream, offset="first")
    stream.send(1, BasicAck(3, True))
    stream.lose()
    again = harness.peer()
    consume(again, offset="first")
    assert delivered(again) == ALL


def test_nothing_is_delivered_after_cancel(harness: Harness, stream: Client) -> None:
    consume(stream)
    stream.call(1, BasicCancel("t"))
    stream.publish("s", b"5")
    harness.commit()
    assert delivered(stream) == []
    assert declare(stream) == QueueDeclareOk("s", 6, 0)


def test_a_message_keeps_its_headers_beside_its_offset(harness: Harness, stream: Client) -> None:
    consume(stream)
    headers = FieldTable.of({"a": 1, "x-stream-offset": "a lie"})
    stream.publish("s", b"5", properties=BasicProperties(content_type="text/plain", headers=headers, priority=3))
    harness.commit()
    (content,) = stream.contents()
    properties = content.properties
    assert (properties.content_type, properties.priority) == ("text/plain", 3)
    assert properties.headers is not None
    assert properties.headers.values == {"a": 1, "x-stream-offset": 5}


# Publishing


@pytest.mark.parametrize("delivery_mode", [1, 2])
def test_a_message_is_confirmed_when_it_is_in_the_store_persistent_or_not(
    harness: Harness, stream: Client, delivery_mode: int
) -> None:
    stream.call(1, ConfirmSelect())
    stream.publish("s", b"5", properties=BasicProperties(delivery_mode=delivery_mode))
    assert stream.received() == []
    harness.commit()
    assert stream.received() == [(1, BasicAck(1, False))]


def test_a_stream_gets_messages_by_exchanges_beside_queues(harness: Harness, stream: Client) -> None:
    stream.call(1, ExchangeDeclare(exchange="x", type="fanout"))
    stream.call(1, QueueDeclare(queue="q"))
    for name in ("s", "q"):
        stream.call(1, QueueBind(queue=name, exchange="x"))
    consume(stream)
    stream.publish("", b"both", exchange="x")
    harness.commit()
    assert delivered(stream) == [(5, b"both")]
    assert stream.call(1, QueueDeclare(queue="q")).message_count == 1  # type: ignore[attr-defined]


def test_a_transaction_appends_when_it_is_committed(harness: Harness, stream: Client) -> None:
    consume(stream)
    stream.send(2, ChannelOpen())
    stream.send(2, TxSelect())
    stream.publish("s", b"5", channel=2)
    stream.send(2, TxRollback())
    stream.publish("s", b"6", b"7", channel=2)
    stream.received()
    stream.send(2, TxCommit())
    assert (2, TxCommitOk()) in stream.received()
    assert delivered(stream) == [(5, b"6"), (6, b"7")]


def test_acks_of_a_transaction_give_credit_at_its_commit(harness: Harness, stream: Client) -> None:
    consume(stream, offset="first", prefetch=2)
    stream.send(1, TxSelect())
    stream.send(1, BasicAck(2, True))
    assert delivered(stream) == ALL[:2]
    stream.send(1, TxCommit())
    assert delivered(stream) == ALL[2:4]


def test_dead_letters_go_to_a_stream(harness: Harness, stream: Client) -> None:
    arguments = FieldTable.of({"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "s", "x-max-length": 0})
    stream.call(1, QueueDeclare(queue="q", durable=True, arguments=arguments))
    consume(stream)
    stream.publish("q", b"dead")
    harness.commit()
    assert delivered(stream) == [(5, b"dead")]


def test_a_delayed_message_comes_when_it_is_due(harness: Harness, stream: Client) -> None:
    consume(stream)
    stream.publish("s", b"late", properties=BasicProperties(headers=FieldTable.of({"x-delay": 1000})))
    harness.commit()
    assert delivered(stream) == []
    harness.pass_time(1.001)
    harness.commit()
    assert delivered(stream) == [(5, b"late")]


def test_a_deleted_stream_is_gone_with_all_it_had(harness: Harness, stream: Client) -> None:
    consume(stream, offset="first")
    stream.received()
    stream.send(1, QueueDelete(queue="s"))
    assert [type(method) for _, method in stream.received()] == [QueueDeleteOk, BasicCancel]
    assert declare(stream) == QueueDeclareOk("s", 0, 0)
    consume(stream, "again", offset="first")
    stream.contents()
    stream.publish("s", b"new")
    harness.commit()
    assert delivered(stream) == [(0, b"new")]


# Filters


def publish_filtered(harness: Harness, peer: Client, *values: str | None) -> None:
    for number, value in enumerate(values):
        headers = None if value is None else FieldTable.of({"x-stream-filter-value": value})
        peer.publish("s", b"%d" % number, properties=BasicProperties(headers=headers))
    harness.commit()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"filter": "eu"}, [0, 3]),
        ({"filter": ["eu", "us"]}, [0, 1, 3]),
        ({"filter": "eu", "match_unfiltered": True}, [0, 2, 3]),
        ({"filter": "asia"}, []),
        ({}, [0, 1, 2, 3]),
    ],
)
def test_a_filter_lets_through_what_has_one_of_its_values(
    harness: Harness, peer: Client, arguments: dict[str, Any], expected: list[int]
) -> None:
    declare(peer)
    publish_filtered(harness, peer, "eu", "us", None, "eu")
    consume(peer, offset="first", **arguments)
    assert [offset for offset, _ in delivered(peer)] == expected
    publish_filtered(harness, peer, "eu", "us", None, "eu")
    assert [offset - 4 for offset, _ in delivered(peer)] == expected


@pytest.mark.parametrize(
    ("name", "value", "wrong"),
    [
        ("filter", 7, "{unacceptable_type,signedint}"),
        ("filter", True, "{unacceptable_type,bool}"),
        ("filter", b"\xff", "{unacceptable_type,binary}"),
        ("filter", None, "{unacceptable_type,void}"),
        ("filter", ["eu", 7], "each value of the array must be a text"),
        ("match_unfiltered", "yes", "{unacceptable_type,longstr}"),
        ("automatic_offset_tracking", "yes", "true or false is needed, not 'yes'"),
    ],
)
def test_a_filter_of_a_wrong_type_is_refused(stream: Client, name: str, value: Any, wrong: str) -> None:
    consume(stream, **{name: value})
    argument = f"x-stream-{name.replace('_', '-')}"
    ((_, answer),) = stream.received()
    assert isinstance(answer, ChannelClose)
    assert answer.reply_code == 406
    assert answer.reply_text == f"PRECONDITION_FAILED - invalid arg '{argument}' for {STREAM}: {wrong}"


def test_arguments_of_streams_are_refused_for_other_queues(peer: Client) -> None:
    peer.call(1, QueueDeclare(queue="q"))
    consume(peer, queue="q", offset="first")
    queue = "queue 'q' in vhost '/' of queue type rabbit_classic_queue"
    text = f"PRECONDITION_FAILED - invalid arg 'x-stream-offset' for {queue}"
    assert peer.received()[-1] == (1, ChannelClose(406, text, 60, 20))


def test_a_time_to_answer_is_refused_because_nothing_comes_again(stream: Client) -> None:
    stream.call(1, BasicQos(0, 10, False))
    answer = stream.call(1, BasicConsume(queue="s", arguments=FieldTable.of({"x-consumer-timeout": 1000})))
    text = f"PRECONDITION_FAILED - invalid arg 'x-consumer-timeout' for {STREAM} of queue type rabbit_stream_queue"
    assert answer == ChannelClose(406, text, 60, 20)


# Places that are kept


KEPT = {"automatic_offset_tracking": True}


def test_a_consumer_whose_place_is_kept_goes_on_behind_what_it_has_answered(harness: Harness, stream: Client) -> None:
    consume(stream, "reader", offset="first", **KEPT)
    stream.send(1, BasicAck(3, True))
    stream.lose()
    again = harness.peer()
    consume(again, "reader", offset="first", **KEPT)
    assert delivered(again) == ALL[3:]


def test_what_is_answered_out_of_turn_comes_again_from_the_first_that_is_not(harness: Harness, stream: Client) -> None:
    consume(stream, "reader", offset="first", **KEPT)
    for tag in (1, 2, 4):
        stream.send(1, BasicAck(tag, False))
    stream.lose()
    again = harness.peer()
    consume(again, "reader", **KEPT)
    assert delivered(again) == ALL[2:]


def test_another_name_has_another_place(harness: Harness, stream: Client) -> None:
    consume(stream, "reader", offset="first", **KEPT)
    stream.send(1, BasicAck(5, True))
    consume(stream, "other", offset=3, **KEPT)
    stream.contents()
    stream.lose()
    again = harness.peer()
    consume(again, "other", **KEPT)
    assert delivered(again) == ALL[3:]


def test_what_a_client_gives_back_comes_to_the_next_consumer_of_its_name(harness: Harness, stream: Client) -> None:
    consume(stream, "reader", offset="first", **KEPT)
    stream.send(1, BasicAck(1, False))
    stream.send(1, BasicNack(3, False, True))
    stream.send(1, BasicReject(2, False))
    stream.send(1, BasicAck(5, True))
    stream.lose()
    again = harness.peer()
    consume(again, "reader", offset="first", **KEPT)
    assert delivered(again) == ALL[2:]


def test_a_place_needs_a_tag_of_the_clients_own(stream: Client) -> None:
    stream.received()
    consume(stream, "", **KEPT)
    assert stream.received()[-1][1].reply_text.endswith("the consumer needs a tag, under which it is kept")  # type: ignore[attr-defined]


# Policies


def test_policies_say_what_of_a_stream_stays(harness: Harness, stream: Client) -> None:
    put(harness, {"max-length-bytes": 1000, "max-age": "1h"}, apply_to="streams")
    retention = harness.vhost.queues["s"].settings.retention
    assert retention is not None
    assert (retention.max_octets, retention.max_age_ms) == (1000, 3_600_000)


def test_rabbitmqs_profile_serves_streams_alike(harness: Harness) -> None:
    peer = harness.peer(profile=RABBITMQ)
    declare(peer)
    peer.publish("s", b"0")
    harness.commit()
    consume(peer, offset="first")
    assert delivered(peer) == [(0, b"0")]
