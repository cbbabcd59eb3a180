"""An open connection: contract §1.0, C10 and C13 to C22, H1, H2, H8; reliability.md 4.A."""

from __future__ import annotations

import pytest

from broker.amqp.method import Method, frame
from broker.amqp.methods import (
    BasicAck,
    BasicConsume,
    BasicGet,
    BasicGetOk,
    BasicPublish,
    ChannelClose,
    ChannelCloseOk,
    ChannelFlow,
    ChannelFlowOk,
    ChannelOpen,
    ChannelOpenOk,
    ConnectionBlocked,
    ConnectionClose,
    ConnectionCloseOk,
    ConnectionOpen,
    ConnectionTuneOk,
    ConnectionUnblocked,
    ConnectionUpdateSecret,
    ConnectionUpdateSecretOk,
    ExchangeDeclare,
    QueueBind,
    QueueDeclare,
    QueueDeclareOk,
    QueueDelete,
)
from broker.amqp.spec import FRAME_BODY, FRAME_HEADER, FRAME_METHOD, HEARTBEAT_FRAME
from broker.broker import Limits
from broker.errors import StoreUnavailable
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
        (b"\x01\0\x01\0\x02\0\0\0", "frame of 131080 octets is larger than the negotiated maximum of 131072"),
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


def test_a_channel_number_above_the_tuned_maximum_closes_the_connection(harness: Harness) -> None:
    peer = Harness(limits=Limits(channel_max=3)).peer()
    peer.send(3, ChannelOpen())
    peer.send(4, ChannelOpen())
    assert peer.received() == [
        (3, ChannelOpenOk()),
        (
            0,
            ConnectionClose(
                530,
                "NOT_ALLOWED - number of channels opened (2) has reached the negotiated channel_max (3)",
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


# connection.close


def test_close_is_answered_and_ends_the_connection(peer: Client) -> None:
    peer.send(0, ConnectionClose(200, "Normal shutdown"))
    assert peer.received() == [(0, ConnectionCloseOk())]
    assert peer.is_closed


def test_close_ok_comes_after_exclusive_queues_are_gone_and_messages_are_back(harness: Harness, peer: Client) -> None:
    other = harness.peer()
    peer.send(1, QueueDeclare(queue="mine", exclusive=True))
    peer.send(1, QueueDeclare(queue="q"))
    peer.publish("q", b"m")
    peer.send(1, BasicGet(queue="q"))
    peer.received()
    peer.send(0, ConnectionClose(200, "bye"))
    assert peer.received() == [(0, ConnectionCloseOk())]
    assert other.call(1, BasicGet(queue="q")) == BasicGetOk(1, True, "", "q", 0)
    assert other.call(1, QueueDeclare(queue="mine", passive=True)) == ChannelClose(
        404, "NOT_FOUND - no queue 'mine' in vhost '/'", 50, 10
    )


def test_close_ok_waits_for_the_store_and_nothing_more_is_heard(harness: Harness, peer: Client) -> None:
    peer.send(1, ExchangeDeclare(exchange="x", durable=True, auto_delete=True))
    peer.send(1, QueueDeclare(queue="mine", exclusive=True))
    peer.send(1, QueueBind(queue="mine", exchange="x"))
    peer.received()
    harness.gate.is_open = False
    peer.send(0, ConnectionClose(200, "bye"))
    peer.send(1, QueueDeclare(queue="late"))
    assert peer.received() == []
    harness.gate.is_open = True
    harness.run()
    assert peer.received() == [(0, ConnectionCloseOk())]
    assert list(harness.vhost.queues) == []
    assert "x" not in harness.vhost.exchanges


def test_a_lost_connection_frees_what_it_held(harness: Harness, peer: Client) -> None:
    other = harness.peer()
    peer.send(1, QueueDeclare(queue="mine", exclusive=True))
    peer.send(1, QueueDeclare(queue="q"))
    peer.publish("q", b"m")
    peer.send(1, BasicGet(queue="q"))
    peer.lose()
    assert list(harness.vhost.queues) == ["q"]
    assert other.call(1, BasicGet(queue="q")) == BasicGetOk(1, True, "", "q", 0)


def test_an_exclusive_queue_whose_declaration_ends_after_its_connection_is_deleted(
    harness: Harness, peer: Client
) -> None:
    peer.send(2, ChannelOpen())
    harness.gate.is_open = False
    peer.send(1, ExchangeDeclare(exchange="x", durable=True))
    peer.send(2, QueueDeclare(queue="mine", exclusive=True))
    peer.lose()
    harness.gate.is_open = True
    harness.run()
    assert list(harness.vhost.queues) == []
    assert "x" in harness.vhost.exchanges


def test_names_of_exclusive_queues_that_are_gone_are_not_kept(harness: Harness, peer: Client) -> None:
    for _ in range(100):
        peer.send(1, QueueDeclare(queue="mine", exclusive=True))
        peer.send(1, QueueDelete(queue="mine"))
    assert len(peer.connection._owned) < 50


def test_what_waits_behind_a_handler_is_done_before_close_ok(harness: Harness, peer: Client) -> None:
    harness.gate.is_open = False
    peer.send(1, QueueDeclare(queue="q", durable=True))
    peer.publish("q", b"m")
    peer.send(0, ConnectionClose(200, "bye"))
    assert peer.received() == []
    harness.gate.is_open = True
    harness.run()
    assert peer.received() == [(1, QueueDeclareOk("q", 0, 0)), (0, ConnectionCloseOk())]
    assert harness.vhost.queues["q"].ready_count == 1


def test_what_waits_behind_an_error_is_lost_when_the_connection_closes_too(harness: Harness, peer: Client) -> None:
    harness.gate.is_open = False
    peer.send(1, QueueDeclare(queue="q", durable=True))
    peer.publish("q", b"m", exchange="nope")
    peer.publish("q", b"m")
    peer.send(0, ConnectionClose(200, "bye"))
    harness.gate.is_open = True
    harness.run()
    assert [type(method) for _, method in peer.received()] == [QueueDeclareOk, ConnectionCloseOk]
    assert harness.vhost.queues["q"].ready_count == 0


def test_a_client_that_does_not_read_close_ok_is_cut_off(harness: Harness, peer: Client) -> None:
    peer.reads = False
    peer.send(0, ConnectionClose(200, "bye"))
    harness.clock.advance(9.9)
    assert not peer.tick()
    harness.clock.advance(0.2)
    assert peer.tick()


# The node's side


def test_a_shutdown_is_told_with_320(peer: Client) -> None:
    peer.connection.force_close("broker forced connection closure with reason 'shutdown'")
    peer.tick()
    assert peer.received() == hard(320, "CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'")


def test_a_shutdown_before_the_login_ends_without_a_word(harness: Harness) -> None:
    client = harness.connect()
    client.connection.force_close("shutdown")
    harness.run()
    assert client.received() == []
    assert client.is_closed


def test_a_shutdown_is_told_once(peer: Client) -> None:
    peer.connection.force_close("shutdown")
    peer.connection.force_close("shutdown")
    peer.tick()
    assert len(peer.received()) == 1


def test_an_unexpected_fault_is_told_without_details(harness: Harness, peer: Client) -> None:
    harness.topology.failure = StoreUnavailable("disk on fire at /var/lib")
    peer.send(1, QueueDeclare(queue="q", durable=True))
    assert peer.received() == hard(541, "INTERNAL_ERROR - internal error", (50, 10))


def test_a_reply_text_is_cut_to_a_short_string_between_characters(peer: Client) -> None:
    peer.send(1, QueueDeclare(queue="ü" * 127, passive=True))
    ((_, close),) = peer.received()
    assert isinstance(close, ChannelClose)
    assert close.reply_text == "NOT_FOUND - no queue '" + "ü" * 116
    assert len(close.reply_text.encode()) == 254


def test_an_updated_secret_is_accepted(peer: Client) -> None:
    assert peer.call(0, ConnectionUpdateSecret(b"new", "expired")) == ConnectionUpdateSecretOk()


# connection.blocked


def test_a_blocked_client_is_told_why_and_when_it_ends(peer: Client) -> None:
    peer.connection.set_blocked("low on memory")
    peer.connection.set_blocked("low on memory")
    peer.connection.set_blocked("")
    peer.tick()
    assert peer.received() == [(0, ConnectionBlocked("low on memory")), (0, ConnectionUnblocked())]


def test_a_client_that_was_not_blocked_is_not_unblocked(peer: Client) -> None:
    peer.connection.set_blocked("")
    peer.tick()
    assert peer.received() == []


def test_a_client_without_the_capability_is_not_told(harness: Harness) -> None:
    peer = harness.peer(["basic.nack"])
    peer.connection.set_blocked("low on disk")
    peer.connection.set_blocked("")
    peer.tick()
    assert peer.received() == []


# Heartbeats


def test_a_heartbeat_goes_out_after_half_the_interval_of_silence(harness: Harness) -> None:
    peer = harness.peer(heartbeat=10)
    harness.clock.advance(4.5)
    peer.tick()
    assert peer.heartbeats == 0
    harness.clock.advance(0.5)
    peer.tick()
    peer.tick()
    assert peer.heartbeats == 1


def test_whatever_is_sent_puts_off_the_heartbeat(harness: Harness) -> None:
    peer = harness.peer(heartbeat=10)
    harness.clock.advance(4.0)
    peer.send(1, ChannelFlow(True))
    harness.clock.advance(4.0)
    peer.tick()
    assert peer.heartbeats == 0


def test_two_intervals_of_silence_close_the_socket(harness: Harness) -> None:
    peer = harness.peer(heartbeat=10)
    harness.clock.advance(20.0)
    assert not peer.tick()
    harness.clock.advance(0.1)
    assert peer.tick()


def test_how_much_silence_is_allowed_can_be_configured() -> None:
    harness = Harness(limits=Limits(heartbeat_timeout_factor=3.0))
    peer = harness.peer(heartbeat=10)
    harness.clock.advance(30.0)
    assert not peer.tick()
    harness.clock.advance(0.1)
    assert peer.tick()


@pytest.mark.parametrize("data", [HEARTBEAT_FRAME, command(1, ChannelFlow(True)), b"\x01"])
def test_any_octet_counts_as_life(harness: Harness, data: bytes) -> None:
    peer = harness.peer(heartbeat=10)
    harness.clock.advance(19.0)
    peer.send_raw(data)
    harness.clock.advance(19.0)
    assert not peer.tick()


def test_without_heartbeats_silence_is_allowed_and_none_are_sent(harness: Harness) -> None:
    peer = harness.peer(heartbeat=0)
    harness.clock.advance(100_000.0)
    assert not peer.tick()
    assert peer.heartbeats == 0


def test_the_clients_interval_holds_even_above_the_offer(harness: Harness) -> None:
    peer = harness.peer(heartbeat=600)
    harness.clock.advance(1199.0)
    assert not peer.tick()


def test_a_late_node_gives_everybody_another_tick(harness: Harness) -> None:
    peer = harness.peer(heartbeat=10)
    harness.clock.advance(25.0)
    assert not peer.tick(may_expire=False)
    assert peer.tick()


# Waiting handlers


def test_frames_behind_a_busy_handler_keep_their_order(harness: Harness, peer: Client) -> None:
    harness.gate.is_open = False
    peer.send(1, QueueDeclare(queue="q", durable=True))
    peer.publish("q", b"one", b"two")
    peer.send(1, QueueDeclare(queue="q", passive=True))
    peer.send(1, BasicGet(queue="q", no_ack=True))
    assert peer.received() == []
    harness.gate.is_open = True
    harness.run()
    assert [method for _, method in peer.received()] == [
        QueueDeclareOk("q", 0, 0),
        QueueDeclareOk("q", 2, 0),
        BasicGetOk(1, False, "", "q", 1),
    ]
    assert peer.bodies() == [b"one"]


def test_a_second_handler_that_waits_keeps_the_frames_behind_it(harness: Harness, peer: Client) -> None:
    harness.gate.is_open = False
    peer.send(1, QueueDeclare(queue="a", durable=True))
    peer.send(1, QueueDeclare(queue="b", durable=True))
    peer.publish("b", b"m")
    peer.send(1, QueueDeclare(queue="b", passive=True))
    harness.gate.is_open = True
    harness.run()
    assert [method for _, method in peer.received()] == [
        QueueDeclareOk("a", 0, 0),
        QueueDeclareOk("b", 0, 0),
        QueueDeclareOk("b", 1, 0),
    ]


def test_other_channels_go_on_while_one_waits(harness: Harness, peer: Client) -> None:
    peer.send(2, ChannelOpen())
    harness.gate.is_open = False
    peer.send(1, QueueDeclare(queue="q", durable=True))
    peer.received()
    assert peer.call(2, ChannelFlow(True)) == ChannelFlowOk(True)


def test_an_error_of_a_waiting_handler_discards_the_frames_behind_it(harness: Harness, peer: Client) -> None:
    harness.gate.is_open = False
    peer.send(1, QueueDeclare(queue="q", durable=True))
    peer.send(1, QueueDeclare(queue="q", passive=True, durable=True))
    peer.send(1, QueueDeclare(queue="q", durable=False))
    peer.send(1, QueueDeclare(queue="late"))
    harness.gate.is_open = True
    harness.run()
    assert [type(method) for _, method in peer.received()] == [QueueDeclareOk, QueueDeclareOk, ChannelClose]
    assert "late" not in harness.vhost.queues


def test_a_publish_error_behind_a_busy_handler_names_basic_publish(harness: Harness, peer: Client) -> None:
    harness.gate.is_open = False
    peer.send(1, QueueDeclare(queue="q", durable=True))
    peer.publish("k", b"m", exchange="nope")
    harness.gate.is_open = True
    harness.run()
    assert peer.received()[1:] == [(1, ChannelClose(404, "NOT_FOUND - no exchange 'nope' in vhost '/'", 60, 40))]


def test_reading_stops_when_too_much_waits_behind_a_handler(harness: Harness, peer: Client) -> None:
    harness.gate.is_open = False
    peer.send(1, QueueDeclare(queue="q", durable=True))
    assert peer.connection.wants_input
    for _ in range(5):
        peer.publish("q", b"x" * 1_000_000)
    assert not peer.connection.wants_input
    harness.gate.is_open = True
    harness.run()
    assert peer.connection.wants_input


# Output


def test_a_client_that_does_not_read_gets_no_more_deliveries(harness: Harness, peer: Client) -> None:
    other = harness.peer()
    peer.send(1, QueueDeclare(queue="q"))
    peer.send(1, BasicConsume(queue="q", no_ack=True))
    peer.reads = False
    harness.run()
    other.publish("q", b"m", b"n")
    assert other.call(1, QueueDeclare(queue="q", passive=True)) == QueueDeclareOk("q", 2, 1)
    peer.reads = True
    harness.run()
    assert peer.bodies() == [b"m", b"n"]
