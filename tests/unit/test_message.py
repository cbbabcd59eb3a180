"""Messages and their ids: ADR 6, andes §4.1."""

from __future__ import annotations

import tracemalloc

import pytest

from broker.message import PENDING, TRANSIENT, Message, MessageIdGenerator, body_tails, ids_between, lane_of, tail

EPOCH_MS = 1_292_976_000_000


class SomeQueue:
    queue_id = 1
    is_stream = False


def message(body: bytes = b"", chunks: list[bytes] | None = None, state: int = PENDING) -> Message:
    return Message(1, SomeQueue(), b"\0\0", tail(b"header"), body, chunks, state)


def test_a_tail_is_a_frame_without_type_and_channel() -> None:
    assert tail(b"abc") == b"\0\0\0\x03abc\xce"


@pytest.mark.parametrize(
    ("body", "chunks", "payload"),
    [
        (b"", None, b""),
        (tail(b"abc"), None, b"abc"),
        (b"", [tail(b"abc"), tail(b"de")], b"abcde"),
    ],
)
def test_payload_and_size_are_those_of_the_body(body: bytes, chunks: list[bytes] | None, payload: bytes) -> None:
    made = message(body, chunks)
    assert (made.payload, made.size) == (payload, len(payload))
    assert made.header_payload == b"header"


def test_only_transient_messages_are_not_persistent() -> None:
    assert message().is_persistent
    assert not message(state=TRANSIENT).is_persistent


@pytest.mark.parametrize(
    ("payload", "body", "chunks"),
    [
        (b"", b"", None),
        (b"abcd", tail(b"abcd"), None),
        (b"abcde", b"", [tail(b"abcd"), tail(b"e")]),
    ],
)
def test_a_payload_is_cut_into_frames(payload: bytes, body: bytes, chunks: list[bytes] | None) -> None:
    assert body_tails(payload, 12) == (body, chunks)


@pytest.mark.parametrize("header", [20, 100_000])
@pytest.mark.parametrize("frames", [(), (0,), (100,), (100_000,), (10_000,) * 10])
def test_a_message_weighs_what_it_occupies(header: int, frames: tuple[int, ...]) -> None:
    """With room for its places in a queue, in the journal and among what is not acknowledged."""
    queue = SomeQueue()
    count = 20
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    messages = []
    for number in range(count):
        tails = [tail(bytes(size)) for size in frames]
        body, chunks = (b"", tails) if len(tails) > 1 else (tails[0] if tails else b"", None)
        messages.append(Message(1000 + number, queue, bytes(2 + number), tail(bytes(header)), body, chunks, PENDING))
        del tails, body, chunks
    occupied = (tracemalloc.get_traced_memory()[0] - before) / count
    tracemalloc.stop()
    weight = sum(message.weight for message in messages) / count
    assert occupied < weight < occupied + 600


def test_clones_weigh_as_much_as_if_they_were_alone() -> None:
    body = tail(bytes(1000))
    assert message(body).weight == message(body).weight > 1000


def test_an_id_is_time_lane_and_counter() -> None:
    ids = MessageIdGenerator(lane=5)
    ids.advance(EPOCH_MS + 3)
    first = ids.next()
    assert (first >> 18, first >> 10 & 255, first & 1023) == (3, 5, 1)


def test_ids_grow_when_the_clock_stands_or_steps_back() -> None:
    ids = MessageIdGenerator(lane=0)
    made = []
    for wall_ms in (10, 10, 5, 11):
        ids.advance(EPOCH_MS + wall_ms)
        made += [ids.next(), ids.next()]
    assert made == sorted(set(made))


def test_ids_keep_their_lane_when_a_millisecond_is_used_up() -> None:
    ids = MessageIdGenerator(lane=255)
    ids.advance(EPOCH_MS + 1)
    made = [ids.next() for _ in range(5000)]
    assert made == sorted(set(made))
    assert {number >> 10 & 255 for number in made} == {255}


def test_a_lane_goes_on_after_its_last_id() -> None:
    last = (1000 << 18) + (7 << 10) + 3
    ids = MessageIdGenerator(7, last)
    ids.advance(EPOCH_MS)
    following = ids.next()
    assert following > last
    assert following >> 10 & 255 == 7


@pytest.mark.parametrize("lane", [-1, 256])
def test_a_lane_is_an_octet(lane: int) -> None:
    with pytest.raises(ValueError, match=f"lane {lane} is not between 0 and 255"):
        MessageIdGenerator(lane)


@pytest.mark.parametrize("lane", [0, 7, 255])
def test_an_id_says_whose_lane_it_is(lane: int) -> None:
    ids = MessageIdGenerator(lane)
    ids.advance(EPOCH_MS + 5)
    assert {lane_of(ids.next()) for _ in range(2000)} == {lane}


@pytest.mark.parametrize("lane", [0, 7, 255])
def test_ids_follow_one_that_was_seen_and_keep_their_lane(lane: int) -> None:
    ids = MessageIdGenerator(lane)
    ids.advance(EPOCH_MS + 5)
    seen = (9 << 18) + (8 << 10) + 1023
    ids.see(seen)
    following = [ids.next() for _ in range(3)]
    assert following == sorted(set(following))
    assert following[0] > seen
    assert {lane_of(each) for each in following} == {lane}


def test_an_id_that_is_older_than_the_last_one_changes_nothing() -> None:
    ids = MessageIdGenerator(lane=3)
    ids.advance(EPOCH_MS + 5)
    last = ids.next()
    ids.see((4 << 18) + (200 << 10))
    assert ids.next() == last + 1


def test_the_clock_goes_on_where_an_id_that_was_seen_was_ahead_of_it() -> None:
    ids = MessageIdGenerator(lane=3)
    ids.see((9 << 18) + (8 << 10))
    ids.advance(EPOCH_MS + 5)
    ahead = ids.next()
    ids.advance(EPOCH_MS + 20)
    assert (ahead >> 18, ids.next() >> 18) == (10, 20)


def test_ids_are_counted_over_the_end_of_a_millisecond() -> None:
    ids = MessageIdGenerator(7)
    ids.advance(1_700_000_000_000)
    first = ids.last
    for _ in range(2500):
        ids.next()
    assert ids_between(first, ids.last) == 2500
    assert ids_between(first, first + 3) == 3
