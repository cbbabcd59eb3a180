"""The reader: contract C17 to C20; any cutting of the input gives the same frames."""

from __future__ import annotations

import pytest

from broker.codec.constants import HEARTBEAT_FRAME
from broker.codec.method import frame
from broker.codec.methods import (
    BasicAck,
    BasicConsume,
    BasicPublish,
    ChannelClose,
    ChannelFlow,
    ChannelOpen,
    ConfirmSelect,
    QueueDeclare,
)
from broker.codec.properties import BasicProperties
from tests.support.harness import Client, Harness
from tests.support.peer import command

PUBLISHES = (
    HEARTBEAT_FRAME
    + command(2, BasicPublish(routing_key="q"), body=b"one")
    + command(2, BasicPublish(routing_key="q"), BasicProperties(delivery_mode=2), b"two")
    + command(2, BasicPublish(routing_key="q"), body=b"")
    + command(2, BasicPublish(routing_key="nobody", mandatory=True), body=b"back")
    + command(1, ChannelFlow(True))
    + command(2, BasicPublish(routing_key="q"), body=b"x" * 300, frame_max=108)
)
ACKS = (
    b"".join(command(1, BasicAck(tag)) for tag in (2, 1))
    + command(2, ChannelFlow(True))
    + command(1, BasicAck(4, True))
    + command(2, ChannelClose())
)


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


def check_session(harness: Harness, publishes: list[bytes], acks: list[bytes]) -> None:
    """Publish and acknowledge in these pieces, and hold what comes of it to what must come of it."""
    peer = harness.peer()
    peer.send(1, QueueDeclare(queue="q"))
    peer.send(1, BasicConsume(queue="q", consumer_tag="c"))
    peer.send(2, ChannelOpen())
    peer.send(2, ConfirmSelect())
    peer.received()
    for piece in publishes:
        peer.send_raw(piece)
    assert sorted(content.body for content in peer.contents()) == [b"", b"back", b"one", b"two", b"x" * 300]
    methods = peer.received()
    assert [method.name for channel, method in methods if channel == 1].count("basic.deliver") == 4
    confirmed = [method.delivery_tag for _, method in methods if isinstance(method, BasicAck)]
    assert confirmed[-1] == 5
    for piece in acks:
        peer.send_raw(piece)
    assert [method.name for _, method in peer.received()] == ["channel.flow-ok", "channel.close-ok"]
    assert len(peer.connection.channels[1].deliveries.unacked) == 0
    assert peer.connection.reader.buffered == 0


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 11, 20, 21, 22, 29, 50, 64, 100, 333, 10_000])
def test_the_input_may_be_cut_into_pieces_of_any_size(harness: Harness, size: int) -> None:
    check_session(harness, cut(PUBLISHES, size), cut(ACKS, size))


@pytest.mark.parametrize("at", range(1, len(PUBLISHES), 9))
def test_publishes_may_be_cut_anywhere(harness: Harness, at: int) -> None:
    check_session(harness, [PUBLISHES[:at], PUBLISHES[at:]], [ACKS])


@pytest.mark.parametrize("at", range(1, len(ACKS)))
def test_acks_may_be_cut_anywhere(harness: Harness, at: int) -> None:
    check_session(harness, [PUBLISHES], [ACKS[:at], ACKS[at:]])


def test_publishes_to_changing_places_go_where_they_should(harness: Harness, peer: Client) -> None:
    for queue in ("a", "b"):
        peer.send(1, QueueDeclare(queue=queue))
    peer.send(2, ChannelOpen())
    publishes = [(1, "a", b"1"), (1, "a", b"2"), (1, "b", b"3"), (2, "a", b"4"), (2, "a", b""), (1, "a", b"5" * 90)]
    peer.send_raw(
        b"".join(command(channel, BasicPublish(routing_key=key), body=body) for channel, key, body in publishes)
    )
    assert [message.payload for message in harness.vhost.queues["a"].ready] == [b"1", b"2", b"4", b"", b"5" * 90]
    assert [message.payload for message in harness.vhost.queues["b"].ready] == [b"3"]


def test_a_queue_declared_between_two_equal_publishes_gets_the_second(harness: Harness, peer: Client) -> None:
    publish = command(1, BasicPublish(routing_key="q"), body=b"m")
    peer.send(2, ChannelOpen())
    peer.send_raw(publish + publish + command(2, QueueDeclare(queue="q")) + publish)
    peer.send_raw(publish + publish)
    assert harness.vhost.queues["q"].ready_count >= 2


def test_nothing_is_published_behind_an_error(harness: Harness, peer: Client) -> None:
    peer.send(1, QueueDeclare(queue="q"))
    publish = command(1, BasicPublish(routing_key="q"), body=b"m")
    peer.send_raw(publish + command(1, BasicPublish(exchange="nope", routing_key="q"), body=b"m") + publish)
    assert harness.vhost.queues["q"].ready_count == 1


def test_other_channels_go_on_behind_an_error_in_one_read(harness: Harness, peer: Client) -> None:
    peer.send(1, QueueDeclare(queue="q"))
    peer.send(2, ChannelOpen())
    peer.send_raw(
        command(1, BasicPublish(exchange="nope", routing_key="q"), body=b"m")
        + command(2, BasicPublish(routing_key="q"), body=b"m")
    )
    assert harness.vhost.queues["q"].ready_count == 1


def test_a_large_frame_is_joined_once_it_is_whole(harness: Harness, peer: Client) -> None:
    peer.send(1, QueueDeclare(queue="q"))
    data = command(1, BasicPublish(routing_key="q"), body=b"x" * 100_000)
    for start in range(0, len(data), 1000):
        peer.send_raw(data[start : start + 1000])
    (message,) = harness.vhost.queues["q"].ready
    assert message.payload == b"x" * 100_000


def test_a_frame_of_exactly_frame_max_is_accepted_and_one_more_is_not(harness: Harness) -> None:
    peer = harness.peer(frame_max=4096)
    peer.send(1, QueueDeclare(queue="q"))
    peer.received()
    peer.send_raw(command(1, BasicPublish(routing_key="q"), body=b"x" * 4088))
    assert peer.received() == []
    peer.send_raw(command(1, BasicPublish(routing_key="q"), body=b"x" * 4089))
    assert peer.is_closed


@pytest.mark.parametrize("size", [1, 5, 6, 7])
def test_the_start_of_a_frame_waits_for_the_rest(peer: Client, size: int) -> None:
    data = frame(1, ChannelFlow(True).encode())
    peer.send_raw(data[:size])
    assert peer.connection.reader.buffered == size
    assert peer.received() == []
    peer.send_raw(data[size:])
    assert len(peer.received()) == 1


def test_nothing_is_kept_of_what_follows_a_broken_frame(peer: Client) -> None:
    peer.send_raw(b"\x01\0\x01\0\0\0\x01x\0" + b"\x01" * 1000)
    peer.send_raw(b"\x01" * 1000)
    assert peer.connection.reader.buffered == 0
