"""Blocking, heartbeats, handlers that wait and clients that do not read: contract C10, C15, C26, U10, U11."""

from __future__ import annotations

import pytest

from broker.amqp.output import Output
from broker.broker import Limits
from broker.codec.constants import FRAME_BODY, HEARTBEAT_FRAME
from broker.codec.method import Method
from broker.codec.methods import (
    BasicConsume,
    BasicGet,
    BasicGetOk,
    BasicPublish,
    ChannelClose,
    ChannelFlow,
    ChannelFlowOk,
    ChannelOpen,
    ConnectionBlocked,
    ConnectionClose,
    ConnectionUnblocked,
    QueueDeclare,
    QueueDeclareOk,
    TxCommit,
    TxCommitOk,
    TxSelect,
)
from broker.codec.properties import BasicProperties
from broker.errors import ResourceFault, StoreUnavailable
from broker.queue.settings import QueueLimits
from tests.support.harness import Client, Harness
from tests.support.peer import command, raw_frame

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
def test_any_octet_counts_as_incarnation(harness: Harness, data: bytes) -> None:
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


# A store that is away (ADR 14)


def wait_for_the_store(harness: Harness, peer: Client, seconds: float) -> None:
    harness.clock.advance(seconds)
    harness.is_store_away = True
    peer.tick()


def closed_for_want_of_the_store(class_id: int = 0, method_id: int = 0) -> list[tuple[int, Method]]:
    text = "INTERNAL_ERROR - the store is unavailable, try again later"
    return [(0, ConnectionClose(541, text, class_id, method_id))]


def test_a_handler_waits_30_seconds_for_a_store_that_is_away(harness: Harness, peer: Client) -> None:
    harness.gate.is_open = False
    peer.send(1, QueueDeclare(queue="q", durable=True))
    wait_for_the_store(harness, peer, 29.9)
    assert peer.received() == []
    wait_for_the_store(harness, peer, 0.1)
    assert peer.received() == closed_for_want_of_the_store()


def test_a_change_is_made_after_the_client_that_wanted_it_has_gone(harness: Harness, peer: Client) -> None:
    harness.gate.is_open = False
    peer.send(1, QueueDeclare(queue="q", durable=True))
    wait_for_the_store(harness, peer, 30.0)
    harness.gate.is_open = True
    harness.run()
    assert peer.received() == closed_for_want_of_the_store()
    assert harness.peer().call(1, QueueDeclare(queue="q", passive=True)) == QueueDeclareOk("q", 0, 0)


def test_a_handler_that_is_only_slow_may_take_its_time(harness: Harness, peer: Client) -> None:
    harness.gate.is_open = False
    peer.send(1, QueueDeclare(queue="q", durable=True))
    harness.clock.advance(600.0)
    peer.tick()
    assert peer.received() == []


def test_a_commit_waits_for_the_store_as_long_as_a_confirm_does(harness: Harness, peer: Client) -> None:
    peer.send(1, QueueDeclare(queue="q", durable=True))
    peer.send(1, TxSelect())
    peer.publish("q", b"m", properties=BasicProperties(delivery_mode=2))
    peer.received()
    harness.gate.is_open = False
    peer.send(1, TxCommit())
    wait_for_the_store(harness, peer, 600.0)
    assert peer.received() == []
    harness.gate.is_open = True
    harness.run()
    assert peer.received() == [(1, TxCommitOk())]


def test_a_client_that_waits_for_nothing_stays_while_the_store_is_away(harness: Harness, peer: Client) -> None:
    wait_for_the_store(harness, peer, 600.0)
    assert peer.received() == []


def test_a_change_that_the_store_cannot_take_now_is_answered_with_advice(harness: Harness, peer: Client) -> None:
    harness.topology.failure = StoreUnavailable("disk on fire at /var/lib")
    peer.send(1, QueueDeclare(queue="q", durable=True))
    assert peer.received() == closed_for_want_of_the_store(50, 10)


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


# What the socket is handed


def test_the_socket_is_handed_few_buffers_however_many_frames_a_body_has() -> None:
    output = Output(lambda: None, 0.0)
    pieces = [bytes([number % 251]) * (20_000 if number % 100 == 0 else 7) for number in range(100_000)]
    output.buffer += pieces
    output.has_large = True
    buffers, is_large = output.take(0.0)
    assert is_large
    assert len(buffers) <= 2 * 1000 + 1
    assert b"".join(buffers) == b"".join(pieces)


def test_a_few_large_buffers_are_handed_over_as_they_are() -> None:
    output = Output(lambda: None, 0.0)
    output.buffer += [b"head", b"x" * 100_000]
    output.has_large = True
    assert output.take(0.0) == ([b"head", b"x" * 100_000], True)


def test_a_body_in_frames_of_one_octet_reaches_its_consumer_in_large_ones(peer: Client) -> None:
    peer.send(1, QueueDeclare(queue="q"))
    peer.send(1, BasicConsume(queue="q"))
    body = bytes(range(250)) * 400
    frames = b"".join(raw_frame(FRAME_BODY, 1, body[at : at + 1]) for at in range(len(body)))
    peer.received()
    whole = command(1, BasicPublish(routing_key="q"), BasicProperties(), body)
    peer.send_raw(whole[: whole.index(bytes([FRAME_BODY, 0, 1]))] + frames)
    (content,) = peer.contents()
    assert content.body == body
    assert len(peer.connection.channels[1].deliveries.unacked[1].chunks or ()) == 2


# What a client has begun


def test_what_a_client_has_begun_counts_until_it_is_finished(harness: Harness, peer: Client) -> None:
    connection = peer.connection
    peer.send(1, QueueDeclare(queue="q"))
    publish = command(1, BasicPublish(routing_key="q"), BasicProperties(), b"x" * 200_000)
    peer.send_raw(publish[:150_000])  # one body frame and a part of the next
    assert 149_000 < connection.unfinished_octets < 150_000
    peer.send_raw(publish[150_000:])
    assert connection.unfinished_octets == 0
    peer.send(2, ChannelOpen())
    peer.send(2, TxSelect())
    peer.publish("q", b"x" * 1000, b"", channel=2)
    assert connection.unfinished_octets > 2000
    peer.send(2, TxCommit())
    assert connection.unfinished_octets == 0
    harness.gate.is_open = False
    peer.send(1, QueueDeclare(queue="d", durable=True))
    peer.publish("q", b"x" * 5000)
    assert connection.unfinished_octets > 5000
    harness.gate.is_open = True
    harness.run()
    assert connection.unfinished_octets == 0
    assert harness.vhost.queues["q"].ready_count == 4


def test_a_connection_that_is_closed_holds_no_more_than_a_part_of_a_frame(harness: Harness, peer: Client) -> None:
    publish = command(1, BasicPublish(routing_key="q"), BasicProperties(), b"x" * 200_000)
    peer.send_raw(publish[:150_000])
    peer.send(2, ChannelOpen())
    peer.connection.on_error(ResourceFault("too much"), 0, 0)
    harness.run()
    assert peer.connection.unfinished_octets == peer.connection.reader.buffered < 131_072


def test_requests_that_wait_for_slots_do_not_fill_the_output_of_a_client_that_does_not_read() -> None:
    limits = QueueLimits(memory=100_000, transient_memory=100_000, window_size=3, read_ahead=3)
    harness = Harness(queue_limits=limits)
    peer = harness.peer()
    peer.send(1, QueueDeclare(queue="q"))
    peer.publish("q", *[b"x" * 20_000] * 100)
    peer.received()
    peer.reads = False
    harness.run()  # the edge finds that the socket takes no more
    peer.send_raw(command(1, BasicGet(queue="q", no_ack=True)) * 100)
    harness.run()
    assert sum(map(len, peer.connection.output.buffer)) < 600_000
    assert not peer.contents()
    peer.reads = True
    harness.run()
    assert len(peer.contents()) == 100


def test_many_small_requests_take_many_turns(harness: Harness, peer: Client) -> None:
    peer.call(1, QueueDeclare(queue="q"))
    requests = [command(1, BasicConsume(queue="q", no_wait=True)) for _ in range(2000)]
    peer.connection.receive(b"".join(requests), 0.0)
    first = harness.vhost.queues["q"].consumer_count
    assert first < 1000
    harness.run()
    assert harness.vhost.queues["q"].consumer_count == 2000
