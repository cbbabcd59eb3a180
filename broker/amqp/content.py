"""Content in more than one frame: it is collected from a publisher, and cut for a consumer (0-9-1 §4.2.6)."""

from __future__ import annotations

from typing import Final

from broker.codec.constants import BASIC_CLASS, FRAME_BODY, FRAME_END, FRAME_HEADER
from broker.codec.method import Method, frame
from broker.errors import ContentExpected, FrameFault, PreconditionFailed

HARD_MAX_MESSAGE_SIZE: Final = 512 * 1024 * 1024
_MAX_EMPTY_FRAMES: Final = 1000
_SMALL_FRAME: Final = 8192
"""Octets up to which body frames are merged: each that is kept costs objects, and two buffers at each delivery."""
_MERGED_FRAME: Final = 65_536
"""Octets above which a merged frame does not grow."""


class Content:
    """One publish on its way in."""

    __slots__ = ("_empty_frames", "_max_size", "_merged", "_missing", "_size", "arguments", "chunks", "header")

    def __init__(self, arguments: bytes, max_size: int) -> None:
        """`arguments` are those of basic.publish, `max_size` the largest body allowed in octets."""
        self.arguments = arguments
        self.header = b""
        self.chunks: list[bytes] = []
        """The body so far, as frame tails: those that came, small ones merged. Whole when the content is complete."""
        self._merged = bytearray()
        self._max_size = max_size
        self._size = 0
        self._missing = 0
        self._empty_frames = 0

    @property
    def octets(self) -> int:
        """Octets that have come so far."""
        return len(self.header) + self._size - self._missing

    def add(self, frame_type: int, tail: bytes) -> bool:
        """Take the tail of the next frame; return whether the content is complete now."""
        if not self.header:
            self._add_header(frame_type, tail)
        else:
            self._add_body(frame_type, tail)
        return self._missing == 0

    def _add_header(self, frame_type: int, tail: bytes) -> None:
        if frame_type != FRAME_HEADER:
            raise ContentExpected("expected content header for class 60, got non content header frame instead")
        if len(tail) < 19:
            raise FrameFault(f"content header of {len(tail) - 5} octets is too short")
        class_id = int.from_bytes(tail[4:6], "big")
        if class_id != BASIC_CLASS:
            raise ContentExpected(f"expected content header for class 60, got one for class {class_id} instead")
        if tail[6:8] != b"\0\0":
            raise FrameFault("weight of a content header must be zero")
        size = int.from_bytes(tail[8:16], "big")
        if size > HARD_MAX_MESSAGE_SIZE:
            raise FrameFault(f"message size {size} is larger than {HARD_MAX_MESSAGE_SIZE}")
        if size > self._max_size:
            raise PreconditionFailed(f"message size {size} is larger than configured max size {self._max_size}")
        self.header = tail
        self._size = self._missing = size

    def _add_body(self, frame_type: int, tail: bytes) -> None:
        if frame_type != FRAME_BODY:
            raise ContentExpected("expected content body, got non content body frame instead")
        size = len(tail) - 5
        if not size:
            self._empty_frames += 1
            if self._empty_frames > _MAX_EMPTY_FRAMES:
                raise FrameFault(f"more than {_MAX_EMPTY_FRAMES} empty body frames in one message")
            return
        if size > self._missing:
            raise FrameFault(f"content body is {size - self._missing} octets longer than announced")
        self._missing -= size
        if size > _SMALL_FRAME or (self._missing == 0 and not self._merged):
            self._end_merging()
            self.chunks.append(tail)
            return
        self._merged += memoryview(tail)[4:-1]
        if self._missing == 0 or len(self._merged) > _MERGED_FRAME - _SMALL_FRAME:
            self._end_merging()

    def _end_merging(self) -> None:
        if self._merged:
            self.chunks.append(b"".join((len(self._merged).to_bytes(4, "big"), self._merged, FRAME_END)))
            self._merged.clear()


def content_frames(channel_id: int, method: Method, header: bytes, bodies: list[bytes], frame_max: int) -> list[bytes]:
    """Return the octets of a method with its content; `header` and `bodies` are frame tails, cut again if too long."""
    start = channel_id.to_bytes(2, "big")
    body_start = bytes((FRAME_BODY,)) + start
    octets = [frame(channel_id, method.encode()), bytes((FRAME_HEADER,)), start, header]
    for body in filter(None, bodies):
        if len(body) + 3 <= frame_max:
            octets += (body_start, body)
            continue
        payload = body[4:-1]
        room = frame_max - 8
        for at in range(0, len(payload), room):
            piece = payload[at : at + room]
            octets += (body_start, len(piece).to_bytes(4, "big"), piece, FRAME_END)
    return octets
