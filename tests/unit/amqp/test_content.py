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
    assert content.chunks == [b"\0\0\0\x02ab\xce", b"\0\0\0\x01c\xce"]


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
