"""Contract B4, C20; invariant I82."""

from __future__ import annotations

import pytest

from broker.amqp.content import HARD_MAX_MESSAGE_SIZE, Content
from broker.codec.constants import FRAME_BODY, FRAME_HEADER, FRAME_METHOD
from broker.errors import FrameFault, PreconditionFailed, UnexpectedFrame
from broker.message import tail

CLASS_AND_WEIGHT = b"\0\x3c\0\0"


def header(size: int, start: bytes = CLASS_AND_WEIGHT) -> bytes:
    return start + size.to_bytes(8, "big") + b"\0\0"


@pytest.fixture
def content() -> Content:
    return Content(b"arguments", 100)


def test_a_content_without_a_body_is_complete_with_its_header(content: Content) -> None:
    assert content.add(FRAME_HEADER, tail(header(0)))
    assert content.header == b"\0\0\0\x0e" + header(0) + b"\xce"
    assert (content.arguments, content.chunks) == (b"arguments", [])


def test_a_content_is_complete_with_the_last_octet_of_its_body(content: Content) -> None:
    assert not content.add(FRAME_HEADER, tail(header(3)))
    assert not content.add(FRAME_BODY, tail(b"ab"))
    assert not content.add(FRAME_BODY, tail(b""))
    assert content.add(FRAME_BODY, tail(b"c"))
    assert content.chunks == [b"\0\0\0\x03abc\xce"]


def collected(*sizes: int) -> list[bytes]:
    """Return the chunks of a body that comes in frames of these sizes."""
    content = Content(b"", 1 << 30)
    content.add(FRAME_HEADER, tail(header(sum(sizes))))
    for number, size in enumerate(sizes):
        content.add(FRAME_BODY, tail(bytes([number % 251]) * size))
    return content.chunks


def test_a_body_in_one_frame_stays_as_it_came() -> None:
    assert collected(1) == [tail(b"\0")]


def test_large_frames_stay_as_they_came() -> None:
    assert collected(8193, 100_000) == [tail(b"\0" * 8193), tail(b"\1" * 100_000)]


def test_a_body_in_small_frames_is_kept_in_large_ones() -> None:
    chunks = collected(*[1] * 1_000_000)
    assert b"".join(chunk[4:-1] for chunk in chunks) == bytes(number % 251 for number in range(1_000_000))
    assert all(chunk == tail(chunk[4:-1]) for chunk in chunks)
    assert len(chunks) <= 1_000_000 // 50_000


def test_small_frames_between_large_ones_keep_their_place() -> None:
    assert collected(10_000, 1, 2, 10_000, 3) == [
        tail(b"\0" * 10_000),
        tail(b"\1\2\2"),
        tail(b"\3" * 10_000),
        tail(b"\4\4\4"),
    ]


def test_merged_frames_are_no_larger_than_64_kib() -> None:
    chunks = collected(*[8192] * 100, *[4088] * 100)
    assert max(map(len, chunks)) <= 65_536 + 5


@pytest.mark.parametrize("frame_type", [FRAME_METHOD, FRAME_BODY])
def test_a_header_comes_first(content: Content, frame_type: int) -> None:
    with pytest.raises(UnexpectedFrame, match="expected content header for class 60"):
        content.add(frame_type, tail(b"x"))


@pytest.mark.parametrize("frame_type", [FRAME_METHOD, FRAME_HEADER])
def test_bodies_follow(content: Content, frame_type: int) -> None:
    content.add(FRAME_HEADER, tail(header(3)))
    with pytest.raises(UnexpectedFrame, match="expected content body"):
        content.add(frame_type, tail(header(3)))


@pytest.mark.parametrize(
    ("payload", "error", "text"),
    [
        (header(0)[:13], FrameFault, "content header of 13 octets is too short"),
        (header(0, b"\0\x32\0\0"), UnexpectedFrame, "got one for class 50 instead"),
        (header(0, b"\0\x3c\0\x01"), FrameFault, "weight of a content header must be zero"),
        (header(101), PreconditionFailed, "message size 101 is larger than configured max size 100"),
        (header(HARD_MAX_MESSAGE_SIZE + 1), FrameFault, "message size 536870913 is larger than 536870912"),
        (header(2**64 - 1), FrameFault, "is larger than 536870912"),
    ],
)
def test_a_header_that_cannot_be_is_refused(
    content: Content, payload: bytes, error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        content.add(FRAME_HEADER, tail(payload))


def test_a_body_cannot_be_longer_than_announced(content: Content) -> None:
    content.add(FRAME_HEADER, tail(header(3)))
    with pytest.raises(FrameFault, match="content body is 2 octets longer than announced"):
        content.add(FRAME_BODY, tail(b"abcde"))


def test_empty_frames_end_some_day(content: Content) -> None:
    content.add(FRAME_HEADER, tail(header(3)))
    for _ in range(1000):
        assert not content.add(FRAME_BODY, tail(b""))
    with pytest.raises(FrameFault, match="more than 1000 empty body frames"):
        content.add(FRAME_BODY, tail(b""))
