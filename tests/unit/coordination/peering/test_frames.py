"""Messages between peers on a stream."""

from __future__ import annotations

import pytest

from broker.coordination.peering.frames import MalformedFrame, PeerFrames, frame


def test_messages_arrive_whole_however_the_stream_is_cut() -> None:
    octets = frame(b"one") + frame(b"two")
    for size in range(1, len(octets)):
        frames, found = PeerFrames(100), []
        for start in range(0, len(octets), size):
            frames.feed(octets[start : start + size])
            while (message := frames.take()) is not None:
                found.append(message)
        assert (found, frames.is_empty) == ([b"one", b"two"], True)


@pytest.mark.parametrize("head", [b"\0\0\0\0", b"\0\0\0\x65", b"GET / HTTP/1.1"])
def test_a_size_that_is_not_allowed_is_refused_before_the_message_has_come(head: bytes) -> None:
    frames = PeerFrames(100)
    frames.feed(head)
    with pytest.raises(MalformedFrame, match="at most 100 are taken"):
        frames.take()
