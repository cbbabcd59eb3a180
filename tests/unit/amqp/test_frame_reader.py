"""The reader: contract C17 to C20; any cutting of the input gives the same frames."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

from broker.amqp.frame_reader import FrameReader
from broker.codec.constants import FRAME_BODY, FRAME_HEADER, FRAME_HEARTBEAT, FRAME_METHOD, HEARTBEAT_FRAME
from broker.codec.method import frame
from broker.codec.methods import (
    BasicAck,
    BasicConsume,
    BasicGet,
    BasicPublish,
    ChannelClose,
    ChannelFlow,
    ChannelOpen,
    ConfirmSelect,
    ConnectionClose,
    QueueDeclare,
)
from broker.codec.properties import BasicProperties
from tests.support.harness import Client, Harness
from tests.support.peer import FRAME_MAX, command, raw_frame

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


def publish_with(body_frames: list[bytes], properties: bytes = b"\0\0") -> list[bytes]:
    """Return the frames of a publish to `q` whose body is cut like this."""
    size = sum(map(len, body_frames))
    return [
        frame(1, BasicPublish(routing_key="q").encode()),
        raw_frame(FRAME_HEADER, 1, b"\0\x3c\0\0" + size.to_bytes(8, "big") + properties),
        *(raw_frame(FRAME_BODY, 1, octets) for octets in body_frames),
    ]


def properties_of(octets: int) -> bytes:
    """Return properties that have a table of headers and so many octets."""
    return (
        b"\x20\0"
        + (octets - 6).to_bytes(4, "big")
        + b"\x01hS"
        + (octets - 13).to_bytes(4, "big")
        + b"x" * (octets - 13)
    )


def whole(frames: list[bytes]) -> list[bytes]:
    return [b"".join(frames)]


def one_by_one(frames: list[bytes]) -> list[bytes]:
    return frames


def in_halves(frames: list[bytes]) -> list[bytes]:
    return [half for data in frames for half in (data[: len(data) // 2], data[len(data) // 2 :])]


def in_the_first_octets(frames: list[bytes]) -> list[bytes]:
    return [part for data in frames for part in (data[:7], data[7:])]


@pytest.mark.parametrize("pieces", [whole, one_by_one, in_halves, in_the_first_octets])
@pytest.mark.parametrize(
    "frames",
    [
        publish_with([b"x" * 4088]),
        publish_with([b"x" * 4096]),
        publish_with([b"x" * 4096, b"y" * 4096, b"z"]),
        publish_with([b"x"], properties_of(4096 - 12)),
        publish_with([b"x" * 4096], properties_of(4096 - 12)),
        publish_with([], properties_of(4096 - 12)),
    ],
    ids=["frame_max", "8 more", "8 more, twice", "8 more in the header", "8 more in both", "8 more without a body"],
)
def test_a_frame_may_be_eight_octets_larger_than_agreed(
    harness: Harness, frames: list[bytes], pieces: Callable[[list[bytes]], list[bytes]]
) -> None:
    peer = harness.peer(frame_max=4096)
    peer.send(1, QueueDeclare(queue="q"))
    peer.received()
    for piece in pieces(frames):
        peer.send_raw(piece)
    assert peer.received() == []
    (message,) = harness.vhost.queues["q"].ready
    assert message.payload == b"".join(data[7:-1] for data in frames[2:])
    assert message.header[4:-1] == frames[1][7:-1]


@pytest.mark.parametrize("pieces", [whole, one_by_one, in_halves, in_the_first_octets])
@pytest.mark.parametrize(
    "frames",
    [
        publish_with([b"x" * 4097]),
        publish_with([b"x", b"x" * 4097]),
        publish_with([b"x"], properties_of(4097 - 12)),
        publish_with([], properties_of(4097 - 12)),
        [raw_frame(FRAME_METHOD, 1, b"\0" * 4097)],
        [raw_frame(FRAME_HEARTBEAT, 0, b"\0" * 4097)],
    ],
    ids=["body", "second body frame", "header", "header without a body", "method", "heartbeat"],
)
def test_a_frame_nine_octets_larger_than_agreed_is_501(
    harness: Harness, frames: list[bytes], pieces: Callable[[list[bytes]], list[bytes]]
) -> None:
    peer = harness.peer(frame_max=4096)
    peer.send(1, QueueDeclare(queue="q"))
    peer.received()
    for piece in pieces(frames):
        peer.send_raw(piece)
    text = "FRAME_ERROR - frame of 4105 octets is larger than the negotiated maximum of 4096"
    assert peer.received() == [(0, ConnectionClose(501, text, 0, 0))]
    assert not harness.vhost.queues["q"].ready


def test_a_body_in_frames_larger_than_agreed_reaches_clients_in_frames_that_are_not(
    harness: Harness, peer: Client
) -> None:
    peer.send(1, QueueDeclare(queue="q"))
    bodies = [b"a" * FRAME_MAX, b"b" * (2 * FRAME_MAX + 1)]
    for body in bodies * 2:
        pieces = [body[start : start + FRAME_MAX] for start in range(0, len(body), FRAME_MAX)]
        peer.send_raw(b"".join(publish_with(pieces)))
    for _ in bodies:
        peer.send(1, BasicGet(queue="q", no_ack=True))
    peer.send(1, BasicConsume(queue="q", consumer_tag="c"))
    assert peer.bodies() == bodies * 2  # the client takes no frame above FRAME_MAX


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


def test_the_start_of_a_frame_does_not_keep_the_read_it_came_with(peer: Client) -> None:
    publish = command(1, BasicPublish(routing_key="nowhere"), BasicProperties(), b"x" * 100_000)
    tracemalloc.start()
    peer.send_raw(publish * 2 + publish[:10])
    held = sum(trace.size for trace in tracemalloc.take_snapshot().statistics("filename"))
    tracemalloc.stop()
    assert peer.connection.reader.buffered == 10
    assert held < 200_000


def test_a_frame_that_comes_octet_by_octet_takes_little_more_than_its_octets(peer: Client) -> None:
    body = bytes(range(100)) * 600
    publish = command(1, BasicPublish(routing_key="nowhere", mandatory=True), BasicProperties(), body)
    start = len(publish) - len(body)
    peer.send_raw(publish[:start])
    tracemalloc.start()
    for octet in range(start, len(publish) - 1):
        peer.connection.receive(publish[octet : octet + 1], 0.0)
    held = sum(trace.size for trace in tracemalloc.take_snapshot().statistics("filename"))
    tracemalloc.stop()
    assert held < 250_000
    peer.send_raw(publish[-1:])
    assert peer.bodies() == [body]


def test_nothing_that_was_held_is_kept_after_the_end() -> None:
    sink: Any = None
    reader = FrameReader(sink, FRAME_MAX)
    reader.hold()
    reader.receive(b"what comes meanwhile")
    assert reader.held_octets > 20

    reader.stop()
    reader.receive(b"what comes after it")

    assert reader.held_octets == 0


class Frames:
    """Takes frames and notes their types."""

    def __init__(self) -> None:
        self.types: list[int] = []

    def on_frame(self, frame_type: int, channel_id: int, octets: bytes) -> None:
        self.types.append(frame_type)

    def on_error(self, error: Exception, channel_id: int, method: int) -> None:
        raise error


def test_nothing_is_collected_after_the_end_of_a_frame_that_was_not_whole() -> None:
    reader = FrameReader(Frames(), FRAME_MAX)
    reader.receive(raw_frame(FRAME_BODY, 1, b"x" * 1000)[:100])
    assert reader.buffered > 0

    reader.stop()
    reader.receive(b"x" * 100)

    assert reader.buffered == 0


def test_another_sink_gets_whole_publishes_frame_by_frame_until_it_is_taken_away() -> None:
    channel: Any = None
    owner, other = Frames(), Frames()
    reader = FrameReader(owner, FRAME_MAX)
    reader.direct[1] = channel
    reader.divert(other)

    reader.receive(command(1, BasicPublish(routing_key="q"), body=b"one"))

    assert (owner.types, other.types) == ([], [FRAME_METHOD, FRAME_HEADER, FRAME_BODY])
    reader.divert(None)
    assert reader.publishers is reader.direct
