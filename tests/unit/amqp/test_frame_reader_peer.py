from __future__ import annotations

import pytest

from broker.codec import constants as spec
from broker.codec.method import frame
from broker.codec.methods import BasicDeliver, BasicGetOk, BasicPublish, ChannelOpen, ChannelOpenOk, ConnectionTune
from broker.codec.properties import BasicProperties, encode_header
from tests.support.peer import Content, Peer, command, raw_frame

DELIVER = BasicDeliver("c", 1, False, "x", "k")


@pytest.fixture
def sent():
    return []


@pytest.fixture
def peer(sent):
    return Peer(sent.append)


def header(body_size):
    return raw_frame(spec.FRAME_HEADER, 1, encode_header(body_size, BasicProperties()))


def body(payload):
    return raw_frame(spec.FRAME_BODY, 1, payload)


def test_constants_are_those_of_the_specification():
    assert spec.PROTOCOL_HEADER == b"AMQP\0\0\x09\x01"
    assert raw_frame(8, 0, b"") == spec.HEARTBEAT_FRAME
    assert spec.FRAME_END == bytes([spec.FRAME_END_OCTET]) == b"\xce"
    assert spec.FRAME_MIN_SIZE == 4096


def test_a_peer_sends_a_method_as_one_frame(peer, sent):
    peer.send(1, ChannelOpen())
    assert sent == [b"\x01\x00\x01\x00\x00\x00\x05\x00\x14\x00\x0a\x00\xce"]


def test_a_peer_sends_a_publish_with_its_header_and_body(peer, sent):
    peer.send(1, BasicPublish(exchange="x", routing_key="k"), BasicProperties(delivery_mode=2), b"hi")
    assert sent == [
        b"\x01\x00\x01\x00\x00\x00\x0b\x00\x3c\x00\x28\x00\x00\x01x\x01k\x00\xce"
        b"\x02\x00\x01\x00\x00\x00\x0f\x00\x3c\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x10\x00\x02\xce"
        b"\x03\x00\x01\x00\x00\x00\x02hi\xce"
    ]


def test_a_publish_without_a_body_has_a_header_and_no_body_frame(peer, sent):
    peer.send(1, BasicPublish())
    assert sent == [frame(1, BasicPublish().encode()) + header(0)]


def test_a_long_body_is_cut_to_frame_max(sent):
    Peer(sent.append, frame_max=10).send(1, BasicPublish(), body=b"abcde")
    assert sent[0].endswith(header(5) + body(b"ab") + body(b"cd") + body(b"e"))


def test_a_peer_sends_anything_raw(peer, sent):
    peer.send_raw(spec.PROTOCOL_HEADER)
    assert sent == [b"AMQP\x00\x00\x09\x01"]


def test_received_methods_are_told_once(peer):
    peer.feed(command(0, ConnectionTune(1, 2, 3)) + command(1, ChannelOpenOk()))
    assert peer.received() == [(0, ConnectionTune(1, 2, 3)), (1, ChannelOpenOk())]
    assert peer.received() == []


def test_received_content_comes_with_properties_and_body(peer):
    properties = BasicProperties(message_id="m")
    peer.feed(command(1, DELIVER, properties, b"abc", frame_max=10) + command(2, BasicGetOk(5)))
    assert peer.received() == [(1, DELIVER), (2, BasicGetOk(5))]
    assert peer.received_content() == [
        Content(1, DELIVER, properties, b"abc"),
        Content(2, BasicGetOk(5), BasicProperties(), b""),
    ]
    assert peer.received_content() == []


def test_contents_of_two_channels_may_interleave(peer):
    first, second = frame(1, DELIVER.encode()) + header(2), command(2, DELIVER, body=b"two")
    peer.feed(first + second + body(b"on"))
    assert [(content.channel, content.body) for content in peer.received_content()] == [(2, b"two"), (1, b"on")]


def test_heartbeats_are_counted(peer):
    peer.feed(spec.HEARTBEAT_FRAME * 2)
    assert peer.heartbeats == 2


def test_a_protocol_header_is_kept_apart(peer):
    peer.feed(b"AMQP\0\0")
    peer.feed(b"\x09\x01")
    assert peer.protocol_header == spec.PROTOCOL_HEADER
    assert peer.received() == []


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (frame(1, ChannelOpenOk().encode())[:-1] + b"\x00", "frame ends with octet 0x0"),
        (raw_frame(4, 0, b""), "frame of unknown type 4"),
        (raw_frame(8, 1, b""), "heartbeat off channel 0"),
        (raw_frame(8, 0, b"x"), "heartbeat off channel 0 or with a payload"),
        (b"\x01\x00\x01\xff\xff\xff\xff", "frame of 4294967303 octets"),
        (header(0), "content header without a method"),
        (body(b"x"), "body without a method"),
        (frame(1, DELIVER.encode()) + body(b"x"), "body before its header"),
        (frame(1, DELIVER.encode()) + header(1) + header(1), "second content header"),
        (frame(1, DELIVER.encode()) + header(1) + body(b"xy"), "body of 2 octets, 1 are missing"),
        (frame(1, DELIVER.encode()) + header(1) + body(b""), "body of 0 octets"),
        (frame(1, DELIVER.encode()) + frame(1, DELIVER.encode()), "basic.deliver amid a content"),
    ],
)
def test_a_violation_of_the_protocol_fails_the_test(peer, data, text):
    with pytest.raises(AssertionError, match=text):
        peer.feed(data)
