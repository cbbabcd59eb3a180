"""Frames and methods out of place, and after an error: contract G1 to G10, C17 to C22, H1, H2, H8; invariant I86."""

from __future__ import annotations

import pytest

from broker.broker import Limits
from broker.codec.constants import FRAME_BODY, FRAME_HEADER, FRAME_METHOD
from broker.codec.method import Method, frame
from broker.codec.methods import (
    BasicAck,
    BasicConsume,
    BasicPublish,
    ChannelClose,
    ChannelCloseOk,
    ChannelFlow,
    ChannelFlowOk,
    ChannelOpen,
    ChannelOpenOk,
    ConnectionClose,
    ConnectionCloseOk,
    ConnectionOpen,
    ConnectionTuneOk,
    QueueDeclare,
    QueueDeclareOk,
)
from tests.support.harness import Client, Harness, start_ok
from tests.support.peer import command, raw_frame


def hard(code: int, text: str, ids: tuple[int, int] = (0, 0)) -> list[tuple[int, Method]]:
    return [(0, ConnectionClose(code, text, *ids))]


# Frames


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"\x01\0\x01\0\0\0\x01x\0", "frame of type 1 ends with octet 0 instead of 206"),
        (raw_frame(4, 0, b""), "unknown frame type 4"),
        (raw_frame(0, 0, b""), "unknown frame type 0"),
        (b"\x01\0\x01\0\x02\0\x01\0", "frame of 131081 octets is larger than the negotiated maximum of 131072"),
    ],
)
def test_a_broken_frame_closes_the_connection_and_nothing_more_is_read(peer: Client, data: bytes, text: str) -> None:
    peer.send_raw(data + command(1, QueueDeclare(queue="q")))
    assert peer.received() == hard(501, f"FRAME_ERROR - {text}")
    assert peer.is_closed


@pytest.mark.parametrize(
    ("data", "code", "text"),
    [
        (raw_frame(8, 1, b""), 505, "UNEXPECTED_FRAME - heartbeat frame on channel 1"),
        (raw_frame(8, 0, b"x"), 501, "FRAME_ERROR - heartbeat frame with a payload"),
        (raw_frame(FRAME_HEADER, 0, b"x" * 14), 505, "UNEXPECTED_FRAME - content on channel 0"),
        (raw_frame(FRAME_BODY, 0, b"x"), 505, "UNEXPECTED_FRAME - content on channel 0"),
        (raw_frame(FRAME_HEADER, 7, b"x" * 14), 504, "CHANNEL_ERROR - expected 'channel.open'"),
        (
            raw_frame(FRAME_BODY, 1, b"x"),
            505,
            "UNEXPECTED_FRAME - expected method frame, got non method frame instead",
        ),
        (
            raw_frame(FRAME_METHOD, 1, b"\0\x14\0"),
            502,
            "SYNTAX_ERROR - method frame of 3 octets has no room for class and method id",
        ),
        (
            raw_frame(FRAME_METHOD, 0, b"\0\x0a"),
            502,
            "SYNTAX_ERROR - method frame of 2 octets has no room for class and method id",
        ),
    ],
)
def test_a_frame_out_of_place_closes_the_connection(peer: Client, data: bytes, code: int, text: str) -> None:
    peer.send_raw(data)
    ((channel, close),) = peer.received()
    assert isinstance(close, ConnectionClose)
    assert (channel, close.reply_code, close.reply_text) == (0, code, text)


@pytest.mark.parametrize(
    ("channel", "payload", "code", "text", "ids"),
    [
        (0, b"\0\x0a\0\xff", 540, "NOT_IMPLEMENTED - unknown method 10,255", (10, 255)),
        (1, b"\0\x0a\0\xff", 540, "NOT_IMPLEMENTED - unknown method 10,255", (10, 255)),
        (1, b"\x03\xe7\0\x01", 540, "NOT_IMPLEMENTED - unknown method 999,1", (999, 1)),
        (0, QueueDeclare(queue="q").encode(), 503, "COMMAND_INVALID - unimplemented method", (50, 10)),
        (0, ChannelOpen().encode(), 503, "COMMAND_INVALID - unimplemented method", (20, 10)),
        (1, QueueDeclareOk("q").encode(), 503, "COMMAND_INVALID - unimplemented method", (50, 11)),
        (1, ConnectionOpen().encode(), 503, "COMMAND_INVALID - unimplemented method", (10, 40)),
        (0, ConnectionOpen().encode(), 504, "CHANNEL_ERROR - connection.open is not expected now", (10, 40)),
        (0, ConnectionTuneOk().encode(), 504, "CHANNEL_ERROR - connection.tune-ok is not expected now", (10, 31)),
        (1, ChannelOpen().encode(), 504, "CHANNEL_ERROR - second 'channel.open' seen", (20, 10)),
        (9, QueueDeclare(queue="q").encode(), 504, "CHANNEL_ERROR - expected 'channel.open'", (50, 10)),
        (9, ChannelClose().encode(), 504, "CHANNEL_ERROR - expected 'channel.open'", (20, 40)),
        (1, b"\0\x32\0\x0a\0\0\x05q", 502, "SYNTAX_ERROR - queue.declare: the frame ends inside the arguments", None),
        (1, b"\0\x32\0\x0a\0\0\x01\xff\0\0\0\0\0", 502, "SYNTAX_ERROR - queue.declare: queue is not UTF-8", (50, 10)),
    ],
)
def test_a_method_out_of_place_closes_the_connection(
    peer: Client, channel: int, payload: bytes, code: int, text: str, ids: tuple[int, int] | None
) -> None:
    peer.send_raw(frame(channel, payload))
    assert peer.received() == hard(code, text, ids or (50, 10))


def test_a_stray_close_ok_on_an_unopened_channel_is_ignored(peer: Client) -> None:
    peer.send(9, ChannelCloseOk())
    assert peer.received() == []


# Channel numbers


def test_a_channel_may_have_any_number(peer: Client) -> None:
    for number in (2047, 2048, 65535):
        assert peer.call(number, ChannelOpen()) == ChannelOpenOk()
        assert isinstance(peer.call(number, QueueDeclare(queue="q")), QueueDeclareOk)


def test_a_channel_that_is_closed_makes_room_for_another() -> None:
    peer = Harness(limits=Limits(channel_max=2)).peer()
    for number in (9, 4, 65535):
        assert peer.call(number, ChannelOpen()) == ChannelOpenOk()
        assert peer.call(number, ChannelClose()) == ChannelCloseOk()


def test_more_open_channels_than_agreed_close_the_connection() -> None:
    peer = Harness(limits=Limits(channel_max=3)).peer()
    peer.send(3, ChannelOpen())
    peer.send(65535, ChannelOpen())
    peer.send(2, ChannelOpen())
    assert peer.received() == [
        (3, ChannelOpenOk()),
        (65535, ChannelOpenOk()),
        (
            0,
            ConnectionClose(
                530,
                "NOT_ALLOWED - number of channels opened (3) has reached the negotiated channel_max (3)",
                20,
                10,
            ),
        ),
    ]


def test_the_client_may_agree_on_fewer_channels(harness: Harness) -> None:
    client = harness.peer()
    other = harness.connect()
    other.send_raw(b"AMQP\0\0\x09\x01")
    other.send(0, start_ok())
    other.send(0, ConnectionTuneOk(1, 0, 0))
    other.send(0, ConnectionOpen())
    other.send(1, ChannelOpen())
    other.send(2, ChannelOpen())
    assert [type(method) for _, method in other.received()][-2:] == [ChannelOpenOk, ConnectionClose]
    assert client.call(2, ChannelOpen()) == ChannelOpenOk()


# After a close


def test_a_channel_error_leaves_other_channels_alone(peer: Client) -> None:
    peer.send(2, ChannelOpen())
    peer.send(1, BasicAck(5))
    peer.received()
    assert peer.call(2, ChannelFlow(True)) == ChannelFlowOk(True)


def test_all_but_close_and_close_ok_is_discarded_after_a_channel_error(peer: Client) -> None:
    peer.send(1, BasicAck(5))
    assert peer.received() == [(1, ChannelClose(406, "PRECONDITION_FAILED - unknown delivery tag 5", 60, 80))]
    peer.send(1, QueueDeclare(queue="q"))
    peer.publish("q", b"m")
    peer.send(1, BasicAck(5))
    peer.send(1, ChannelOpen())
    peer.send_raw(raw_frame(FRAME_BODY, 1, b"x"))
    assert peer.received() == []


def test_a_channel_number_is_free_again_after_close_ok(peer: Client) -> None:
    peer.send(1, BasicAck(5))
    peer.send(1, ChannelCloseOk())
    peer.received()
    assert peer.call(1, ChannelOpen()) == ChannelOpenOk()
    assert peer.call(1, QueueDeclare(queue="q")) == QueueDeclareOk("q", 0, 0)


def test_two_closes_of_a_channel_may_cross(peer: Client) -> None:
    peer.send(1, BasicAck(5))
    peer.received()
    peer.send(1, ChannelClose(200, "OK"))
    assert peer.received() == [(1, ChannelCloseOk())]
    peer.send(1, ChannelCloseOk())
    assert peer.call(1, ChannelOpen()) == ChannelOpenOk()


def test_what_was_sent_behind_an_error_is_lost_without_a_word(harness: Harness, peer: Client) -> None:
    peer.send_raw(
        command(1, BasicAck(5))
        + command(1, QueueDeclare(queue="q"))
        + command(1, BasicPublish(routing_key="q"), body=b"m")
    )
    assert peer.received() == [(1, ChannelClose(406, "PRECONDITION_FAILED - unknown delivery tag 5", 60, 80))]
    assert "q" not in harness.vhost.queues


def test_after_a_connection_error_only_close_ok_is_heard(harness: Harness, peer: Client) -> None:
    peer.send(1, ChannelOpen())
    peer.received()
    peer.send(1, QueueDeclare(queue="q"))
    peer.send(2, ChannelOpen())
    peer.send(0, ConnectionOpen())
    assert peer.received() == []
    assert not peer.is_closed
    peer.send(0, ConnectionCloseOk())
    assert peer.is_closed
    assert "q" not in harness.vhost.queues


def test_two_closes_of_a_connection_may_cross(peer: Client) -> None:
    peer.send(1, ChannelOpen())
    peer.received()
    peer.send(0, ConnectionClose(200, "Goodbye"))
    assert peer.received() == [(0, ConnectionCloseOk())]
    assert peer.is_closed


def test_a_client_that_does_not_answer_a_close_is_cut_off(harness: Harness, peer: Client) -> None:
    harness.clock.advance(20.0)
    assert not peer.tick()
    peer.connection.force_close("shutdown")
    harness.clock.advance(2.9)
    assert not peer.tick()
    harness.clock.advance(0.2)
    assert peer.tick()


def test_the_consumers_and_messages_of_a_connection_are_free_when_its_close_is_sent(
    harness: Harness, peer: Client
) -> None:
    other = harness.peer()
    peer.send(1, QueueDeclare(queue="q"))
    peer.publish("q", b"m")
    peer.send(1, BasicConsume(queue="q"))
    peer.send(1, ChannelOpen())
    assert other.call(1, QueueDeclare(queue="q", passive=True)) == QueueDeclareOk("q", 1, 0)
