"""From octets to frames, and straight to the channel for the frames that make up the load.

Whole publishes and runs of acks are recognised in the buffer and handed on without an object in between (design §2);
everything else becomes (type, channel, payload). Input may be cut anywhere. Knows frames; knows no method's meaning.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final, Protocol

from broker.amqp.spec import FRAME_BODY, FRAME_END_OCTET, FRAME_HEADER, FRAME_HEARTBEAT, FRAME_METHOD
from broker.errors import AmqpError, FrameFault

_envelope: Final = struct.Struct(">BHI").unpack_from
_ack_run: Final = struct.Struct(">11sQH")
_BASIC_PUBLISH: Final = b"\x00\x3c\x00\x28"
_BASIC_ACK: Final = b"\x00\x3c\x00\x50"
_BASIC_CLASS_AND_WEIGHT: Final = b"\x00\x3c\x00\x00"
_SINGLE_ACK_END: Final = 0x00CE  # multiple=false, frame end
_ACK_SIZE: Final = 21
_KNOWN: Final = frozenset((FRAME_METHOD, FRAME_HEADER, FRAME_BODY, FRAME_HEARTBEAT))

AckRun = Iterator[tuple[bytes, int, int]]


class FastChannel(Protocol):
    """A channel that is open, idle and free to take content at once."""

    def publish(self, arguments: bytes, header: bytes, body: bytes, chunks: list[bytes] | None) -> None: ...

    def ack_run(self, acks: AckRun) -> int:
        """Acknowledge as long as the frames look like the first; return how many did."""
        ...


class FrameSink(Protocol):
    """Where everything goes that is not on the fast path."""

    def on_frame(self, frame_type: int, channel_id: int, payload: bytes) -> None: ...

    def on_error(self, error: Exception, channel_id: int, method: int) -> None:
        """Something was raised while a frame of `channel_id` was handled; `method` is its index, 0 if unknown."""
        ...


class FrameReader:
    """Splits the input of one connection."""

    __slots__ = ("_missing", "_parts", "_sink", "body_limit", "fast", "frame_max", "is_stopped")

    def __init__(self, sink: FrameSink, frame_max: int) -> None:
        self._sink = sink
        self._parts: list[bytes] = []
        self._missing = 0
        self.frame_max = frame_max
        self.body_limit = frame_max - 8
        """Bodies up to this size may take the fast path."""
        self.fast: dict[int, FastChannel] = {}
        self.is_stopped = False

    @property
    def buffered(self) -> int:
        """Octets of a frame that has not come whole."""
        return sum(map(len, self._parts))

    def receive(self, data: bytes) -> None:
        """Take input as it comes from the socket."""
        missing = self._missing
        if missing:
            if len(data) < missing:
                self._parts.append(data)
                self._missing = missing - len(data)
                return
            self._parts.append(data[:missing])
            first = b"".join(self._parts)
            self._parts = []
            self._missing = 0
            self._parse(first, 0)
            if len(data) > missing:
                self._parse(data, missing)
        elif self._parts:
            data = self._parts[0] + data
            self._parts = []
            self._parse(data, 0)
        else:
            self._parse(data, 0)

    def _parse(self, data: bytes, position: int) -> None:
        length = len(data)
        sink = self._sink
        fast = self.fast.get
        while not self.is_stopped:
            channel_id = method = 0
            try:
                while length - position >= 8:
                    method = 0
                    frame_type, channel_id, size = _envelope(data, position)
                    end = position + 7 + size
                    if end >= length or data[end] != FRAME_END_OCTET or size > self.frame_max - 8:
                        self._check(data, position, frame_type, size)
                        break
                    start = position + 7
                    if frame_type == FRAME_METHOD:
                        key = data[start : start + 4]
                        if key == _BASIC_PUBLISH:
                            channel = fast(channel_id)
                            if channel is not None:
                                # The header frame, and the body frame if there is one: whole, in order, same channel?
                                header_at = end + 1
                                body_at = 0
                                if length - header_at >= 22:
                                    header_type, header_channel, header_size = _envelope(data, header_at)
                                    body_at = header_at + header_size + 8
                                    if (
                                        body_at > length
                                        or header_type != FRAME_HEADER
                                        or header_channel != channel_id
                                        or header_size < 14
                                        or data[body_at - 1] != FRAME_END_OCTET
                                        or data[header_at + 7 : header_at + 11] != _BASIC_CLASS_AND_WEIGHT
                                    ):
                                        body_at = 0
                                if body_at:
                                    body_size = int.from_bytes(data[header_at + 11 : header_at + 19], "big")
                                    if body_size == 0:
                                        position = body_at
                                        method = 0x3C0028
                                        channel.publish(data[start + 4 : end], data[header_at + 3 : body_at], b"", None)
                                        continue
                                    if body_size <= self.body_limit and length - body_at >= body_size + 8:
                                        following = body_at + body_size + 8
                                        if (
                                            _envelope(data, body_at) == (FRAME_BODY, channel_id, body_size)
                                            and data[following - 1] == FRAME_END_OCTET
                                        ):
                                            position = following
                                            method = 0x3C0028
                                            channel.publish(
                                                data[start + 4 : end],
                                                data[header_at + 3 : body_at],
                                                data[body_at + 3 : following],
                                                None,
                                            )
                                            continue
                        elif key == _BASIC_ACK and size == 13 and not data[start + 12]:
                            channel = fast(channel_id)
                            if channel is not None:
                                whole = (length - position) // _ACK_SIZE * _ACK_SIZE
                                run = _ack_run.iter_unpack(memoryview(data)[position : position + whole])
                                position += _ACK_SIZE
                                method = 0x3C0050
                                position += _ACK_SIZE * (channel.ack_run(run) - 1)
                                continue
                        method = int.from_bytes(key, "big")
                    position = end + 1
                    sink.on_frame(frame_type, channel_id, data[start:end])
                    if self.has_stopped():
                        return
                break
            except AmqpError as error:
                sink.on_error(error, channel_id, method)
            except Exception as error:  # a bug of ours: the peer learns no more than 541
                sink.on_error(error, channel_id, method)
        if position < length and not self.is_stopped:
            self._keep(data, position)

    def has_stopped(self) -> bool:
        """Has a handler ended the connection?"""
        return self.is_stopped

    def _check(self, data: bytes, position: int, frame_type: int, size: int) -> None:
        """Raise what is wrong with the frame at `position`, if it is not just incomplete (contract C17 to C19)."""
        if frame_type not in _KNOWN:
            self.is_stopped = True
            raise FrameFault(f"unknown frame type {frame_type}")
        if size > self.frame_max - 8:
            self.is_stopped = True
            raise FrameFault(f"frame of {size + 8} octets is larger than the negotiated maximum of {self.frame_max}")
        end = position + 7 + size
        if end < len(data):
            self.is_stopped = True
            raise FrameFault(f"frame of type {frame_type} ends with octet {data[end]} instead of 206")

    def _keep(self, data: bytes, position: int) -> None:
        """Remember the start of a frame; when its size is known, only that frame is ever joined."""
        rest = data[position:] if position else data
        self._parts = [rest]
        if len(rest) >= 7:
            _, _, size = _envelope(rest, 0)
            self._missing = size + 8 - len(rest)
