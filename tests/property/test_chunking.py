"""However TCP cuts a client's octets, the broker answers the same.

Whole sessions are sent in one piece, octet by octet and in pieces that hypothesis chooses. What may differ is what the
protocol lets differ: how confirms are grouped, and where deliveries lie between the replies of a channel.
"""

from __future__ import annotations

import asyncio
import struct
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.codec import methods as amqp
from broker.codec.constants import PROTOCOL_HEADER
from broker.codec.field_table import FieldTable
from broker.codec.method import decode
from broker.codec.properties import BasicProperties
from tests.support.peer import Peer, raw_frame
from tests.support.sessions import FRAME_MAX, Session, handshake, publish, running_bench, sessions

SESSIONS = sessions()
LARGE_TABLE = FieldTable.of({"a": "x" * FRAME_MAX})
LARGE_ENVELOPE = struct.pack(">BHI", 1, 0, 1 << 30)


@dataclass(slots=True)
class Answers:
    """What one channel was told: replies and deliveries in their orders, and which publishes were confirmed."""

    replies: list[tuple[int, bytes]] = field(default_factory=list)
    deliveries: list[tuple[int, bytes]] = field(default_factory=list)
    confirmed: list[int] = field(default_factory=list)


def answers(output: bytes) -> dict[int, Answers]:
    """Sort the broker's frames by channel and kind; a cumulative confirm counts as all it stands for."""
    Peer(lambda data: None).feed(output)  # a strict client finds nothing wrong with it
    channels: dict[int, Answers] = defaultdict(Answers)
    taking: dict[int, list[tuple[int, bytes]]] = {}
    position = 0
    while position < len(output):
        kind, channel, size = struct.unpack_from(">BHI", output, position)
        payload = output[position + 7 : position + 7 + size]
        position += size + 8
        seen = channels[channel]
        if kind == 1:
            method = decode(payload)
            if isinstance(method, amqp.BasicAck):
                first = seen.confirmed[-1] + 1 if seen.confirmed else 1
                seen.confirmed += range(first if method.multiple else method.delivery_tag, method.delivery_tag + 1)
                continue
            taking[channel] = seen.deliveries if isinstance(method, amqp.BasicDeliver) else seen.replies
        taking[channel].append((kind, payload))
    return channels


def played(stages: Iterable[Iterable[bytes]]) -> dict[int, Answers]:
    async def play() -> bytes:
        async with running_bench() as bench:
            output = await bench.play(stages)
            assert bench.failures == []
            return output

    return answers(asyncio.run(play()))


def pieces(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    edges = [0, *sorted(cuts), len(data)]
    return [data[start:end] for start, end in pairwise(edges) if end > start]


def in_one_piece(session: Session) -> dict[int, Answers]:
    return played([stage] for stage in session.stages)


EXPECTED = {session.name: in_one_piece(session) for session in SESSIONS}


def names(answer: Answers) -> list[str]:
    return [decode(payload).name for kind, payload in answer.replies if kind == 1]


def test_the_sessions_reach_what_they_are_for() -> None:
    assert names(EXPECTED["publish and get"][1]).count("basic.get-ok") == 15
    assert names(EXPECTED["publish and get"][1]).count("basic.return") == 1
    assert EXPECTED["consume"][1].deliveries
    assert EXPECTED["confirms"][1].confirmed == list(range(1, 49))
    assert names(EXPECTED["transaction"][1]).count("tx.commit-ok") == 2
    assert names(EXPECTED["channel error"][1]).count("channel.close") == 1
    assert names(EXPECTED["channel error"][1]).count("basic.get-ok") == 0
    assert names(EXPECTED["connection error"][0])[-1] == "connection.close"


@pytest.mark.parametrize("session", SESSIONS, ids=lambda session: session.name)
def test_octet_by_octet_is_the_same_as_in_one_piece(session: Session) -> None:
    octets = [[bytes((octet,)) for octet in stage] for stage in session.stages]

    assert played(octets) == EXPECTED[session.name]


@pytest.mark.parametrize("session", SESSIONS, ids=lambda session: session.name)
@pytest.mark.parametrize("size", [7, 8, 21, 1000, 4096, 65536])
def test_pieces_of_equal_size_are_the_same_as_one(session: Session, size: int) -> None:
    stages = [pieces(stage, range(size, len(stage), size)) for stage in session.stages]

    assert played(stages) == EXPECTED[session.name]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(data=st.data())
def test_any_cutting_is_the_same_as_one_piece(data: st.DataObject) -> None:
    session = data.draw(st.sampled_from(SESSIONS), label="session")
    stages = [
        pieces(stage, data.draw(st.lists(st.integers(1, len(stage) - 1), max_size=40), label="cuts"))
        for stage in session.stages
    ]

    assert played(stages) == EXPECTED[session.name]


BAD_ENDINGS = {
    "a frame of 1 GiB": LARGE_ENVELOPE + b"\0" * 64,
    "a frame nine octets too large": struct.pack(">BHI", 1, 1, FRAME_MAX + 1) + b"\0" * FRAME_MAX,
    "an unknown frame type": raw_frame(5, 1, b"\0" * 16),
    "an unknown frame type of 1 GiB": b"\x05" + LARGE_ENVELOPE[1:] + b"\0" * 64,
    "a wrong frame end": raw_frame(1, 1, b"\0\x3c\0\x0a")[:-1] + b"\xcd" + b"\0" * 16,
    "a content header larger than a frame": publish("q", b"", BasicProperties(headers=LARGE_TABLE)),
    "a body larger than a frame": publish("q", b"a" * FRAME_MAX).replace(
        struct.pack(">I", FRAME_MAX - 8), struct.pack(">I", FRAME_MAX + 1), 1
    ),
    "a body longer than announced": publish("q", b"ab").replace(b"\0\0\0\x02", b"\0\0\0\x01", 1),
    "a field table past the end of its frame": raw_frame(1, 1, b"\0\x32\0\x0a\0\0\x01q\0\0\0\0\x09\x01aS"),
}


@pytest.mark.parametrize("name", BAD_ENDINGS)
def test_what_is_wrong_is_found_whatever_the_cuts(name: str) -> None:
    opening, stage = handshake(), publish("nowhere", b"comes back") + BAD_ENDINGS[name]

    whole = played([[opening], [stage]])

    assert names(whole[0])[-1] == "connection.close"
    for size in (1, 7, 8, 15):
        assert played([[opening], pieces(stage, range(size, len(stage), size))]) == whole


async def most_buffered(stages: Sequence[bytes]) -> int:
    most = 0
    async with running_bench() as bench:
        client = bench.connect()
        for piece in stages:
            client.send(piece)
            await bench.settle()
            most = max(most, client.connection.reader.buffered)
    return most


@pytest.mark.parametrize("cut", range(1, 12))
async def test_no_more_than_a_frame_is_buffered_before_login(cut: int) -> None:
    data = PROTOCOL_HEADER + LARGE_ENVELOPE + b"\0" * 60

    assert await most_buffered([*pieces(data, [8, 8 + cut]), *[b"\0" * 4096] * 8]) <= 8192


@pytest.mark.parametrize("cut", range(1, 12))
async def test_no_more_than_a_frame_is_buffered_after_tuning(cut: int) -> None:
    data = LARGE_ENVELOPE + b"\0" * 60

    assert await most_buffered([handshake(), *pieces(data, [cut]), *[b"\0" * 4096] * 8]) <= FRAME_MAX
