"""The client side of our own codec, for tests without a socket.

Knows frames and methods, and checks what the broker writes as a strict client would: a violation is an AssertionError.
Knows nothing of the broker but a callable that takes bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

from broker.codec import constants as spec
from broker.codec.method import Method, decode, frame
from broker.codec.properties import BasicProperties, decode_properties, encode_header

FRAME_MAX = 131072
# Type, channel and size before the payload, the end octet after it.
FRAME_HEADER_SIZE = 7
FRAME_OVERHEAD = 8


@dataclass(frozen=True, slots=True)
class Content:
    """A method with content as it arrived: a return, a delivery or the answer to a get."""

    channel: int
    method: Method
    properties: BasicProperties
    body: bytes


def raw_frame(frame_type: int, channel: int, payload: bytes) -> bytes:
    """Return any frame, valid or not."""
    return struct.pack(">BHI", frame_type, channel, len(payload)) + payload + spec.FRAME_END


def command(
    channel: int,
    method: Method,
    properties: BasicProperties | None = None,
    body: bytes | None = None,
    frame_max: int = FRAME_MAX,
) -> bytes:
    """Return the frames of one method, with its content when it carries one or when a body or properties are given."""
    frames = [frame(channel, method.encode())]
    if method.has_content or properties is not None or body is not None:
        body, room = body or b"", frame_max - FRAME_OVERHEAD
        frames.append(raw_frame(spec.FRAME_HEADER, channel, encode_header(len(body), properties or BasicProperties())))
        chunks = [body[start : start + room] for start in range(0, len(body), room)]
        frames += [raw_frame(spec.FRAME_BODY, channel, chunk) for chunk in chunks]
    return b"".join(frames)


class Peer:
    """A client: `send` hands bytes to `deliver`, `feed` takes the broker's bytes, `received` tells what came."""

    def __init__(self, deliver: Callable[[bytes], None], frame_max: int = FRAME_MAX) -> None:
        self._deliver = deliver
        self._frame_max = frame_max
        self._buffer = b""
        self._methods: list[tuple[int, Method]] = []
        self._contents: list[Content] = []
        self._open: dict[int, _OpenContent] = {}
        self.heartbeats = 0
        self.protocol_header = b""

    def send(
        self, channel: int, method: Method, properties: BasicProperties | None = None, body: bytes | None = None
    ) -> None:
        self._deliver(command(channel, method, properties, body, self._frame_max))

    def send_raw(self, data: bytes) -> None:
        self._deliver(data)

    def feed(self, data: bytes) -> None:
        """Take bytes from the broker, in whatever pieces. A protocol header, its answer to a bad one, is kept apart."""
        self._buffer += data
        if self._buffer.startswith(b"AMQP") and len(self._buffer) >= 8:
            self.protocol_header, self._buffer = self._buffer[:8], self._buffer[8:]
        while len(self._buffer) >= FRAME_HEADER_SIZE and not self._buffer.startswith(b"AMQP"):
            frame_type, channel, size = struct.unpack_from(">BHI", self._buffer)
            end = FRAME_HEADER_SIZE + size
            assert end + 1 <= self._frame_max, f"frame of {end + 1} octets, frame_max is {self._frame_max}"
            if len(self._buffer) <= end:
                return
            assert self._buffer[end] == spec.FRAME_END_OCTET, f"frame ends with octet {self._buffer[end]:#x}"
            payload, self._buffer = self._buffer[FRAME_HEADER_SIZE:end], self._buffer[end + 1 :]
            self._on_frame(frame_type, channel, payload)

    def received(self) -> list[tuple[int, Method]]:
        """Return `(channel, method)` of everything since the last call, methods with content included."""
        methods, self._methods = self._methods, []
        return methods

    def received_content(self) -> list[Content]:
        """Return every complete content since the last call."""
        contents, self._contents = self._contents, []
        return contents

    def _on_frame(self, frame_type: int, channel: int, payload: bytes) -> None:
        if frame_type == spec.FRAME_METHOD:
            self._on_method(channel, decode(payload))
        elif frame_type == spec.FRAME_HEADER:
            self._on_header(channel, payload)
        elif frame_type == spec.FRAME_BODY:
            self._on_body(channel, payload)
        else:
            assert frame_type == spec.FRAME_HEARTBEAT, f"frame of unknown type {frame_type}"
            assert (channel, payload) == (0, b""), "heartbeat off channel 0 or with a payload"
            self.heartbeats += 1

    def _on_method(self, channel: int, method: Method) -> None:
        assert channel not in self._open, f"{method.name} amid a content on channel {channel}"
        self._methods.append((channel, method))
        if method.has_content:
            self._open[channel] = _OpenContent(method)

    def _on_header(self, channel: int, payload: bytes) -> None:
        content = self._open.get(channel)
        assert content is not None, f"content header without a method on channel {channel}"
        assert content.properties is None, f"second content header on channel {channel}"
        class_id, weight, content.missing = struct.unpack_from(">HHQ", payload)
        assert (class_id, weight) == (spec.BASIC_CLASS, 0), f"content header of class {class_id}, weight {weight}"
        content.properties = decode_properties(payload)
        self._close_content(channel, content)

    def _on_body(self, channel: int, payload: bytes) -> None:
        content = self._open.get(channel)
        assert content is not None, f"body without a method on channel {channel}"
        assert content.properties is not None, f"body before its header on channel {channel}"
        assert 0 < len(payload) <= content.missing, f"body of {len(payload)} octets, {content.missing} are missing"
        content.missing -= len(payload)
        content.body += payload
        self._close_content(channel, content)

    def _close_content(self, channel: int, content: _OpenContent) -> None:
        if content.missing == 0 and content.properties is not None:
            del self._open[channel]
            self._contents.append(Content(channel, content.method, content.properties, content.body))


@dataclass(slots=True)
class _OpenContent:
    method: Method
    properties: BasicProperties | None = None
    missing: int = 0
    body: bytes = b""
