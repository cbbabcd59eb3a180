"""basic.publish and what the broker looks at in a message: contract B1 to B8, invariant I82."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest

from broker.broker import Limits
from broker.codec import constants as spec
from broker.codec.field_table import FieldTable, Int64, Timestamp
from broker.codec.method import Method, frame
from broker.codec.methods import (
    BasicConsume,
    BasicGet,
    BasicGetEmpty,
    BasicGetOk,
    BasicPublish,
    BasicReturn,
    ChannelClose,
    ChannelOpen,
    ConnectionClose,
    ExchangeBind,
    ExchangeDeclare,
    QueueBind,
    QueueDeclare,
    QueuePurge,
    QueuePurgeOk,
)
from broker.codec.properties import BasicProperties, encode_header
from broker.ports.records import ExchangeRecord, Put
from tests.support.harness import Client, Harness
from tests.support.peer import Content, command, raw_frame


def sized(octets: bytes) -> bytes:
    """Return a table or a long string."""
    return len(octets).to_bytes(4, "big") + octets


PUBLISH = frame(1, BasicPublish(routing_key="q").encode())
EVERY_PROPERTY = BasicProperties(
    content_type="text/plain",
    content_encoding="",
    headers=FieldTable.of({"a": Int64(1), "b": [True, None, {"c": b"\xff"}], "t": Timestamp(5)}),
    delivery_mode=2,
    priority=255,
    correlation_id="c",
    reply_to="r",
    expiration="1000",
    message_id="m",
    timestamp=2**63,
    type="t",
    user_id="guest",
    app_id="a",
    cluster_id="",
)


def header(size: int, class_id: int = 60, weight: int = 0) -> bytes:
    payload = class_id.to_bytes(2, "big") + weight.to_bytes(2, "big") + size.to_bytes(8, "big") + b"\0\0"
    return raw_frame(spec.FRAME_HEADER, 1, payload)


def body(data: bytes, channel: int = 1) -> bytes:
    return raw_frame(spec.FRAME_BODY, channel, data)


def soft(code: int, text: str, method: type[Method]) -> ChannelClose:
    return ChannelClose(code, text, *method.ids)


def headers(**values: Any) -> BasicProperties:
    return BasicProperties(headers=FieldTable.of(values))


@pytest.fixture
def peer(harness: Harness) -> Client:
    peer = harness.peer()
    peer.send(1, QueueDeclare(queue="q"))
    peer.received()
    return peer


# publish


def test_publishing_to_an_unknown_exchange_closes_the_channel(peer: Client) -> None:
    peer.send(1, BasicPublish(exchange="nope", routing_key="k"), body=b"hi")
    assert peer.received() == [(1, ChannelClose(404, "NOT_FOUND - no exchange 'nope' in vhost '/'", 60, 40))]


def test_publishing_to_an_exchange_of_a_type_that_is_unknown_closes_the_channel(harness: Harness, peer: Client) -> None:
    harness.live.apply(Put(ExchangeRecord("/", "x", "x-future")))
    peer.send(1, BasicPublish(exchange="x", routing_key="k"), body=b"hi")
    text = "PRECONDITION_FAILED - cannot route through exchange 'x' in vhost '/': its type 'x-future' is unknown"
    assert peer.received() == [(1, ChannelClose(406, text, 60, 40))]


def test_publishing_to_an_unknown_exchange_frame_by_frame_closes_the_channel_as_well(peer: Client) -> None:
    peer.send_raw(frame(1, BasicPublish(exchange="nope").encode()))
    peer.send_raw(header(2))
    peer.send_raw(body(b"h"))
    peer.send_raw(body(b"i"))
    assert peer.received() == [(1, ChannelClose(404, "NOT_FOUND - no exchange 'nope' in vhost '/'", 60, 40))]


def test_a_message_without_a_body_is_a_message(peer: Client) -> None:
    peer.send_raw(PUBLISH + header(0))
    assert peer.call(1, BasicGet(queue="q")) == BasicGetOk(1, False, "", "q", 0)
    assert peer.contents() == [Content(1, BasicGetOk(1, False, "", "q", 0), BasicProperties(), b"")]


@pytest.mark.parametrize("properties", [BasicProperties(), BasicProperties(content_type=""), EVERY_PROPERTY])
def test_properties_come_back_as_they_went_in(peer: Client, properties: BasicProperties) -> None:
    peer.publish("q", b"m", properties=properties)
    peer.send(1, BasicGet(queue="q"))
    ((_, content_properties),) = [(content.body, content.properties) for content in peer.contents()]
    assert encode_header(1, content_properties) == encode_header(1, properties)


@pytest.mark.parametrize("size", [1, 4088, 4089, 100_000])
def test_a_body_is_cut_to_the_frame_size_of_its_receiver(harness: Harness, peer: Client, size: int) -> None:
    small = harness.peer(frame_max=4096)
    small.send(1, BasicConsume(queue="q", no_ack=True))
    peer.publish("q", b"x" * size)
    assert small.bodies() == [b"x" * size]


@pytest.mark.parametrize("size", [5000, 20_000])
def test_a_body_that_is_returned_is_cut_to_the_frame_size_of_its_publisher(harness: Harness, size: int) -> None:
    small = harness.peer(frame_max=4096)
    pieces = [body(b"x" * 1000) for _ in range(size // 1000)]
    small.send_raw(frame(1, BasicPublish(0, "", "nobody", True).encode()) + header(size) + b"".join(pieces))
    assert small.bodies() == [b"x" * size]


def test_a_body_may_come_in_any_pieces(peer: Client) -> None:
    data = PUBLISH + header(6) + body(b"abc") + body(b"") + body(b"def")
    for octet in data:
        peer.send_raw(bytes([octet]))
    peer.send(1, BasicGet(queue="q"))
    assert peer.bodies() == [b"abcdef"]


def test_contents_of_two_channels_may_interleave(peer: Client) -> None:
    peer.send(2, ChannelOpen())
    one = command(1, BasicPublish(routing_key="q"), body=b"one")
    two = command(2, BasicPublish(routing_key="q"), body=b"two")
    cut = len(PUBLISH)
    peer.send_raw(one[:cut] + two[:cut] + one[cut:] + two[cut:])
    peer.send(1, BasicGet(queue="q"))
    peer.send(1, BasicGet(queue="q"))
    assert peer.bodies() == [b"one", b"two"]


NO_HEADER = "UNEXPECTED_FRAME - expected content header for class 60, got non content header frame instead"
NO_BODY = "UNEXPECTED_FRAME - expected content body, got non content body frame instead"


@pytest.mark.parametrize(
    ("data", "code", "text"),
    [
        (header(0), 505, "UNEXPECTED_FRAME - expected method frame, got non method frame instead"),
        (PUBLISH + body(b"x"), 505, NO_HEADER),
        (PUBLISH + PUBLISH, 505, NO_HEADER),
        (PUBLISH + header(2) + PUBLISH, 505, NO_BODY),
        (PUBLISH + header(2) + header(2), 505, NO_BODY),
        (
            PUBLISH + header(2, class_id=50),
            505,
            "UNEXPECTED_FRAME - expected content header for class 60, got one for class 50 instead",
        ),
        (PUBLISH + header(2, weight=1), 501, "FRAME_ERROR - weight of a content header must be zero"),
        (
            PUBLISH + raw_frame(spec.FRAME_HEADER, 1, b"\0\x3c\0\0"),
            501,
            "FRAME_ERROR - content header of 4 octets is too short",
        ),
        (PUBLISH + header(2) + body(b"abc"), 501, "FRAME_ERROR - content body is 1 octets longer than announced"),
        (PUBLISH + header(2**63), 501, f"FRAME_ERROR - message size {2**63} is larger than 536870912"),
        (PUBLISH + header(536870913), 501, "FRAME_ERROR - message size 536870913 is larger than 536870912"),
        (
            PUBLISH + header(1) + body(b"") * 1001,
            501,
            "FRAME_ERROR - more than 1000 empty body frames in one message",
        ),
    ],
)
def test_content_that_makes_no_sense_closes_the_connection(peer: Client, data: bytes, code: int, text: str) -> None:
    peer.send_raw(data)
    ((channel, close),) = peer.received()
    assert isinstance(close, ConnectionClose)
    assert (channel, close.reply_code, close.reply_text) == (0, code, text)


@pytest.mark.parametrize(
    "flags_and_properties",
    [
        b"\0\2",
        b"\x10\2\1",
        b"\x20\0" + sized(b"\x01aD\xff\0\0\x30\x39"),
        b"\x20\0" + sized(b"\x02\xff\xfeV"),
        b"\x20\0" + sized(b"\x01aF" + sized(b"\x01\xffV")),
        b"\x20\0" + sized(b"\x01ad\x7f\xf8\0\0\0\0\0\0"),
        b"\x20\0" + sized(b"\x01at\7"),
        b"\x80\0\1\xff",
        b"\xa0\0\1\xff" + sized(b"\x01aV"),
    ],
    ids=[
        "unused flag",
        "unused flag and mode",
        "decimal",
        "name",
        "name further in",
        "not a number",
        "boolean 7",
        "content type",
        "content type beside headers",
    ],
)
@pytest.mark.parametrize("exchange", ["", "amq.headers"])
@pytest.mark.parametrize("is_whole", [True, False])
def test_unusual_properties_are_delivered_as_they_came(
    harness: Harness, peer: Client, flags_and_properties: bytes, exchange: str, is_whole: bool
) -> None:
    peer.send(1, QueueDeclare(queue="q"))
    peer.send(1, QueueBind(queue="q", exchange="amq.headers"))
    peer.received()
    publish = frame(1, BasicPublish(exchange=exchange, routing_key="q").encode())
    content = raw_frame(spec.FRAME_HEADER, 1, b"\0\x3c\0\0" + bytes(8) + flags_and_properties)
    for data in [publish + content] if is_whole else [publish, content]:
        peer.send_raw(data)
    assert peer.received() == []
    (message,) = harness.vhost.queues["q"].ready
    assert message.header[16:-1] == flags_and_properties


@pytest.mark.parametrize(
    ("flags_and_properties", "code", "text"),
    [
        (b"\x80\0\x05ab", 502, "SYNTAX_ERROR - content header: the properties do not end where the frame does"),
        (b"\0\0abc", 502, "SYNTAX_ERROR - content header: the properties do not end where the frame does"),
        (b"\x20\0\0\0\xff\xff", 502, "SYNTAX_ERROR - content header: the properties do not end where the frame does"),
        (b"\0\1\0\1\0\0", 501, "FRAME_ERROR - content header: property flags go on past the fourteen properties"),
    ],
)
@pytest.mark.parametrize("is_whole", [True, False])
def test_properties_that_make_no_sense_close_the_connection_and_reach_no_queue(
    harness: Harness, peer: Client, flags_and_properties: bytes, code: int, text: str, is_whole: bool
) -> None:
    content = raw_frame(spec.FRAME_HEADER, 1, b"\0\x3c\0\0" + bytes(8) + flags_and_properties)
    for data in [PUBLISH + content] if is_whole else [PUBLISH, content[:20], content[20:]]:
        peer.send_raw(data)
    ((channel, close),) = peer.received()
    assert isinstance(close, ConnectionClose)
    assert (channel, close.reply_code, close.reply_text) == (0, code, text)
    assert harness.vhost.queues["q"].ready_count == 0


def test_a_body_that_follows_a_complete_content_closes_the_connection(peer: Client) -> None:
    peer.send_raw(PUBLISH + header(1) + body(b"x") + body(b"y"))
    assert [type(method) for _, method in peer.received()] == [ConnectionClose]


def test_a_message_that_is_too_large_closes_the_channel_as_soon_as_it_is_announced() -> None:
    harness = Harness(limits=Limits(max_message_size=10))
    peer = harness.peer()
    peer.send(1, QueueDeclare(queue="q"))
    peer.publish("q", b"x" * 10)
    peer.received()
    peer.send_raw(PUBLISH + header(11))
    assert peer.received() == [
        (1, ChannelClose(406, "PRECONDITION_FAILED - message size 11 is larger than configured max size 10", 60, 40))
    ]
    peer.send_raw(body(b"x" * 11))
    assert peer.received() == []
    assert harness.vhost.queues["q"].ready_count == 1


def test_the_immediate_flag_is_not_implemented(peer: Client) -> None:
    peer.send(1, BasicPublish(routing_key="q", immediate=True), body=b"m")
    assert peer.received() == [(0, ConnectionClose(540, "NOT_IMPLEMENTED - immediate=true", 60, 40))]


def test_the_immediate_flag_is_not_implemented_frame_by_frame_either(peer: Client) -> None:
    for octet in command(1, BasicPublish(routing_key="q", immediate=True), body=b"m"):
        peer.send_raw(bytes([octet]))
    assert peer.received() == [(0, ConnectionClose(540, "NOT_IMPLEMENTED - immediate=true", 60, 40))]


def test_a_mandatory_message_without_a_queue_comes_back_whole(peer: Client) -> None:
    peer.publish("nobody", b"x" * 300_000, mandatory=True, properties=EVERY_PROPERTY)
    method = BasicReturn(312, "NO_ROUTE", "", "nobody")
    assert peer.received() == [(1, method)]
    assert peer.contents() == [Content(1, method, EVERY_PROPERTY, b"x" * 300_000)]


def test_a_message_without_a_queue_is_dropped_when_it_is_not_mandatory(peer: Client) -> None:
    peer.publish("nobody", b"m")
    assert peer.received() == []


def test_a_message_comes_once_to_each_queue_it_is_routed_to(peer: Client) -> None:
    peer.send(1, QueueDeclare(queue="p"))
    for queue in ("q", "p"):
        for key in ("a", "#"):
            peer.send(1, QueueBind(queue=queue, exchange="amq.topic", routing_key=key))
    peer.publish("a", b"m", exchange="amq.topic")
    for queue in ("q", "p"):
        assert peer.call(1, BasicGet(queue=queue, no_ack=True)) != BasicGetEmpty()
        assert peer.call(1, BasicGet(queue=queue)) == BasicGetEmpty()


def test_a_large_stored_body_is_stored_once_for_all_its_queues(harness: Harness, peer: Client) -> None:
    for queue in ("a", "b"):
        peer.send(1, QueueDeclare(queue=queue, durable=True))
        peer.send(1, QueueBind(queue=queue, exchange="amq.fanout"))
    peer.publish("", b"x" * 5000, exchange="amq.fanout", properties=BasicProperties(delivery_mode=2))
    harness.commit()
    assert len(harness.store.state.rows) == 2
    assert list(harness.store.state.contents.values()) == [b"x" * 5000]
    peer.send(1, BasicGet(queue="a", no_ack=True))
    peer.send(1, BasicGet(queue="b", no_ack=True))
    harness.commit()
    assert (harness.store.state.rows, harness.store.state.contents) == ({}, {})
    assert peer.bodies() == [b"x" * 5000] * 2


@pytest.mark.parametrize(
    ("durable", "properties", "stored"),
    [
        (True, BasicProperties(delivery_mode=2), 1),
        (True, BasicProperties("text/plain", "gzip", FieldTable.of({"a": 1}), 2), 1),
        (True, BasicProperties(delivery_mode=1), 0),
        (True, BasicProperties(), 0),
        (False, BasicProperties(delivery_mode=2), 0),
    ],
)
def test_persistent_messages_of_durable_queues_are_stored(
    harness: Harness, peer: Client, durable: bool, properties: BasicProperties, stored: int
) -> None:
    peer.send(1, QueueDeclare(queue="d", durable=durable))
    peer.publish("d", b"m", properties=properties)
    harness.commit()
    assert len(harness.store.state.rows) == stored


# What the broker looks at in the properties


def test_the_user_id_must_be_the_user(peer: Client) -> None:
    peer.publish("q", b"m", properties=BasicProperties(user_id="guest"))
    assert peer.received() == []
    peer.publish("q", b"m", properties=BasicProperties(user_id="somebody"))
    text = "PRECONDITION_FAILED - user_id property set to 'somebody' but authenticated user was 'guest'"
    assert peer.received() == [(1, soft(406, text, BasicPublish))]


@pytest.mark.parametrize("expiration", ["0", "1", "86400000", "+5", "-0", "315360000000"])
def test_an_expiration_is_a_number_of_milliseconds(peer: Client, expiration: str) -> None:
    peer.publish("q", b"m", properties=BasicProperties(expiration=expiration))
    assert peer.received() == []


@pytest.mark.parametrize(
    ("expiration", "reason"),
    [
        ("", "no_integer"),
        ("soon", "no_integer"),
        ("٣", "no_integer"),
        (" 1", "no_integer"),
        ("-1", "{value_negative,-1}"),
        ("1.5", '{leftover_string,".5"}'),
        ("1 ", '{leftover_string," "}'),
        ("0x10", '{leftover_string,"x10"}'),
        ("315360000001", "{value_too_large,315360000001}"),
        ("9" * 40, "{value_too_large," + "9" * 40 + "}"),
    ],
)
def test_another_expiration_closes_the_channel(peer: Client, expiration: str, reason: str) -> None:
    peer.publish("q", b"m", properties=BasicProperties(expiration=expiration))
    text = f"PRECONDITION_FAILED - invalid expiration '{expiration}': {reason}"
    assert peer.received() == [(1, soft(406, text, BasicPublish))]


def test_cc_and_bcc_add_routing_keys_and_bcc_does_not_travel(peer: Client) -> None:
    for queue in ("cc", "bcc"):
        peer.send(1, QueueDeclare(queue=queue))
    peer.publish("q", b"m", properties=headers(CC=["cc", "q"], BCC=["bcc"], other=1))
    for queue in ("q", "cc", "bcc"):
        assert peer.call(1, BasicGet(queue=queue, no_ack=True)) == BasicGetOk(
            peer.connection.channels[1].deliveries.last_tag, False, "", "q", 0
        )
    for content in peer.contents():
        assert content.properties == headers(CC=["cc", "q"], other=1)


def ready(harness: Harness, queue: str = "q") -> int:
    return harness.vhost.queues[queue].ready_count


def test_keys_lead_on_together_where_an_exchange_is_bound_to_an_exchange(harness: Harness, peer: Client) -> None:
    peer.send(1, ExchangeDeclare(exchange="d", type="direct"))
    peer.send(1, ExchangeDeclare(exchange="t", type="topic"))
    peer.send(1, ExchangeBind(0, "t", "d", "k1"))
    peer.send(1, QueueBind(queue="q", exchange="t", routing_key="k2"))
    peer.publish("nowhere", b"m", exchange="d", properties=headers(CC=["k1"], BCC=["k2"]))
    peer.publish("k1", b"n", exchange="d", properties=headers(CC=["k2"]))
    assert ready(harness) == 2


def test_an_alternate_exchange_gets_a_message_that_no_key_finds_a_queue_for(harness: Harness, peer: Client) -> None:
    peer.send(1, ExchangeDeclare(exchange="a", type="fanout"))
    peer.send(1, QueueDeclare(queue="lost"))
    peer.send(1, QueueBind(queue="lost", exchange="a"))
    arguments = FieldTable.of({"alternate-exchange": "a"})
    peer.send(1, ExchangeDeclare(exchange="x", type="direct", arguments=arguments))
    peer.send(1, QueueBind(queue="q", exchange="x", routing_key="k"))
    peer.publish("other", b"m", exchange="x", properties=headers(CC=["another"], BCC=["k"]))
    assert (ready(harness), ready(harness, "lost")) == (1, 0)
    peer.publish("other", b"m", exchange="x", properties=headers(CC=["another"]))
    assert (ready(harness), ready(harness, "lost")) == (1, 1)


def test_each_exchange_is_asked_once_for_all_keys(harness: Harness, peer: Client) -> None:
    for number in range(30):
        peer.send(1, ExchangeDeclare(exchange=f"f{number}", type="fanout"))
        if number:
            peer.send(1, ExchangeBind(0, f"f{number}", f"f{number - 1}"))
    peer.send(1, ExchangeBind(0, "amq.headers", "f29"))
    for number in range(300):
        arguments = FieldTable.of({"x-match": "any", "CC": None, "n": number})
        peer.send(1, QueueBind(queue="q", exchange="amq.headers", routing_key=str(number), arguments=arguments))
    harness.turns.taken.clear()
    harness.turns.work.begin_turn()
    peer.publish("k", b"m", exchange="f0", properties=headers(CC=[str(number) for number in range(500)]))
    assert ready(harness) == 1
    assert sum(harness.turns.taken) + harness.turns.work.done < 1000


@pytest.mark.parametrize(
    ("name", "keys", "kind"),
    [("CC", "q", "longstr"), ("BCC", 5, "signedint"), ("CC", None, "void"), ("BCC", {"a": 1}, "table")],
)
def test_cc_and_bcc_are_lists(peer: Client, name: str, keys: object, kind: str) -> None:
    peer.publish("q", b"m", properties=headers(**{name: keys}))
    text = f'PRECONDITION_FAILED - invalid message: {{unacceptable_type_in_header,"{name}",{kind}}}'
    assert peer.received() == [(1, soft(406, text, BasicPublish))]


def test_what_is_no_text_in_cc_is_no_key(peer: Client) -> None:
    peer.publish("nobody", b"m", properties=headers(CC=[1, "q", None]))
    assert peer.call(1, QueuePurge(queue="q")) == QueuePurgeOk(1)


def test_a_mandatory_message_that_only_cc_can_route_is_not_returned(peer: Client) -> None:
    peer.publish("nobody", b"m", mandatory=True, properties=headers(CC=["q"]))
    assert peer.received() == []


def test_a_headers_exchange_routes_each_message_by_its_own_headers(peer: Client) -> None:
    peer.send(1, QueueBind(queue="q", exchange="amq.headers", arguments=FieldTable.of({"color": "red"})))
    peer.publish("", b"no", exchange="amq.headers", properties=headers(color="blue"))
    peer.publish("", b"yes", exchange="amq.headers", properties=headers(color="red"))
    peer.publish("", b"none", exchange="amq.headers")
    assert peer.call(1, QueuePurge(queue="q")) == QueuePurgeOk(1)


def test_headers_count_behind_another_exchange_too(peer: Client) -> None:
    peer.send(1, ExchangeDeclare(exchange="x", type="fanout"))
    peer.send(1, ExchangeBind(destination="amq.headers", source="x"))
    peer.send(1, QueueBind(queue="q", exchange="amq.headers", arguments=FieldTable.of({"color": "red"})))
    peer.publish("", b"no", exchange="x", properties=headers(color="blue"))
    peer.publish("", b"yes", exchange="x", properties=headers(color="red"))
    assert peer.call(1, QueuePurge(queue="q")) == QueuePurgeOk(1)


def test_channels_do_not_keep_large_properties(harness: Harness) -> None:
    """Properties have up to a frame, a connection 2047 channels."""
    peer = harness.peer()
    channels = range(2, 42)
    tracemalloc.start()
    for channel in channels:
        peer.send(channel, ChannelOpen())
        peer.publish("nowhere", b"", channel=channel, properties=headers(large="x" * 100_000))
    peer.received()
    held = sum(trace.size for trace in tracemalloc.take_snapshot().statistics("lineno"))
    tracemalloc.stop()
    assert held < 20 * 100_000


def test_routes_to_many_queues_stay_within_the_budget_of_caches() -> None:
    harness = Harness(max_queues=200)
    peer = harness.peer()
    for number in range(100):
        peer.send(1, QueueDeclare(queue=f"q{number}"))
        peer.send(1, QueueBind(queue=f"q{number}", exchange="amq.fanout"))
    for number in range(50):
        peer.publish(str(number), b"m", exchange="amq.fanout")
    assert harness.broker.caches.spent > 50 * 100 * 8


@pytest.mark.parametrize(
    ("flags_and_properties", "text"),
    [
        (b"\0\x10\x01\xff", "user_id property set to '?' but authenticated user was 'guest'"),
        (b"\1\0\x01\xff", "invalid expiration '?': no_integer"),
    ],
)
def test_a_text_that_is_not_utf8_is_refused_where_it_means_something(
    peer: Client, flags_and_properties: bytes, text: str
) -> None:
    header = raw_frame(spec.FRAME_HEADER, 1, b"\0\x3c\0\0" + bytes(8) + flags_and_properties)
    peer.send_raw(PUBLISH + header)
    assert peer.received() == [(1, ChannelClose(406, f"PRECONDITION_FAILED - {text}", 60, 40))]


def test_bcc_is_removed_beside_what_is_not_utf8(harness: Harness, peer: Client) -> None:
    peer.send(1, QueueDeclare(queue="q"))
    peer.received()
    kept = b"\x01\xffV"
    bcc = b"\x03BCCA" + sized(b"S" + sized(b"q"))
    for table in (kept + bcc, bcc + kept):
        header = raw_frame(spec.FRAME_HEADER, 1, b"\0\x3c\0\0" + bytes(8) + b"\xa0\0\1\xff" + sized(table))
        peer.send_raw(PUBLISH + header)
    assert peer.received() == []
    for message in harness.vhost.queues["q"].ready:
        assert message.header[16:-1] == b"\xa0\0\1\xff" + sized(kept)
