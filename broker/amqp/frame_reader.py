"""From octets to frames, and straight to the channel for the frames that make up the load.

Whole publishes and runs of acks are recognised in the buffer and handed on without an object in between (ADR 1);
everything else becomes (type, channel, payload). Input may be cut anywhere.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final, Protocol

from broker.codec.constants import FRAME_BODY, FRAME_END_OCTET, FRAME_HEADER, FRAME_HEARTBEAT, FRAME_METHOD
from broker.errors import AmqpError, FrameFault
from broker.topology.routing import Route

_envelope: Final = struct.Struct(">BHI").unpack_from
_method_head: Final = struct.Struct(">BHII").unpack_from
_header_head: Final = struct.Struct(">BHIIQ").unpack_from
_settlement_run: Final = struct.Struct(">11sQH")
_BASIC_PUBLISH: Final = 0x003C_0028
_BASIC_ACK: Final = 0x003C_0050
_REJECTS: Final = {(0x003C_005A, 0): False, (0x003C_005A, 1): True, (0x003C_0078, 0): False, (0x003C_0078, 2): True}
"""basic.reject and basic.nack of single deliveries by their bits: do they give the message back?"""
_BASIC_CLASS_AND_WEIGHT: Final = 0x003C_0000
_NOTHING: Final[tuple[bytes, ...]] = ()  # what no octets start with
_SINGLE_ACK_END: Final = 0x00CE  # multiple=false, frame end
_ACK_SIZE: Final = 21
_MOST_PARTS: Final = 1024
"""Pieces of a frame above which they are joined before it is whole: each costs an object, however small it is."""
_PIECE_OVERHEAD: Final = 64
_KNOWN: Final = frozenset((FRAME_METHOD, FRAME_HEADER, FRAME_BODY, FRAME_HEARTBEAT))

SettlementRun = Iterator[tuple[bytes, int, int]]
"""Frames of the size of basic.ack: what stands before the delivery tag, the tag, and bits with the frame's end."""


class DirectChannel(Protocol):
    """A channel that is open, idle and free to take content at once."""

    def resolve(self, arguments: bytes) -> Route:
        """Return where publishes with these argument octets go; good until the topology changes."""
        ...

    def publish(self, route: Route, header: bytes, body: bytes) -> bool:
        """Take one message: its header frame and its only body frame as tails. Return whether to read no further."""
        ...

    def ack_run(self, acks: SettlementRun) -> int:
        """Acknowledge as long as the frames look like the first; return how many did."""
        ...

    def reject_run(self, rejects: SettlementRun, requeue: bool) -> int:
        """Reject, or give back, as long as the frames look like the first; return how many did."""
        ...


class FrameSink(Protocol):
    """Where everything goes that is not in direct dispatch."""

    def on_frame(self, frame_type: int, channel_id: int, octets: bytes) -> None:
        """Handle a frame: `octets` is the payload of a method or heartbeat, the tail of a header or body."""
        ...

    def on_error(self, error: Exception, channel_id: int, method: int) -> None:
        """Something was raised while a frame of `channel_id` was handled; `method` is its index, 0 if unknown."""
        ...


def _frames_like_acks(data: bytes, position: int) -> SettlementRun:
    """Take what follows in `data` for frames of the size of basic.ack."""
    end = position + (len(data) - position) // _ACK_SIZE * _ACK_SIZE
    return _settlement_run.iter_unpack(memoryview(data)[position:end])


class FrameReader:
    """Splits the input of one connection."""

    __slots__ = (
        "_body_channel",
        "_held",
        "_missing",
        "_owner",
        "_parts",
        "_sink",
        "body_limit",
        "direct",
        "frame_max",
        "is_held",
        "is_stopped",
        "publishers",
    )

    def __init__(self, sink: FrameSink, frame_max: int) -> None:
        self._sink = self._owner = sink
        self._parts: list[bytes | memoryview] = []
        self._missing = 0
        self._body_channel = -1  # of the body frame whose tail is being collected
        self.frame_max = frame_max
        self.body_limit = frame_max
        """Bodies up to this size may be dispatched directly."""
        self.direct: dict[int, DirectChannel] = {}
        self.publishers = self.direct
        """The channels that get whole publishes: none while the frames of these go to another sink."""
        self.is_stopped = False
        self.is_held = False
        self._held: list[bytes] = []

    @property
    def buffered(self) -> int:
        """Octets of a frame that has not come whole."""
        return sum(map(len, self._parts))

    def receive(self, data: bytes) -> None:
        """Take input as it comes from the socket."""
        missing = self._missing
        if self.is_held:
            self._held.append(data)
        elif missing:
            if len(data) < missing:
                self._parts.append(data)
                self._missing = missing - len(data)
                if len(self._parts) > _MOST_PARTS:
                    self._parts = [b"".join(self._parts)]
                return
            self._parts.append(memoryview(data)[:missing])
            first = b"".join(self._parts)
            self._parts = []
            self._missing = 0
            if self._body_channel < 0:
                self._parse(first, 0)
            else:
                self._take_body(first)
            if len(data) > missing:
                self._parse(data, missing)
        elif self._parts:
            data = b"".join((*self._parts, data))
            self._parts = []
            self._parse(data, 0)
        else:
            self._parse(data, 0)

    def _parse(self, data: bytes, position: int) -> None:
        length = len(data)
        while not self.is_stopped:
            # Where the last publish went, if nothing but publishes came since: one like it need not be looked at.
            last_publish: bytes | tuple[bytes, ...] = _NOTHING
            channel_id = method = 0
            try:
                while length - position >= 8:
                    if data.startswith(last_publish, position):
                        start = position + len(last_publish)
                    else:
                        if self.has_stopped():  # the turn was used up to find out where the last publish goes
                            break
                        method = 0
                        if length - position >= 11:
                            frame_type, channel_id, size, method = _method_head(data, position)
                        else:
                            frame_type, channel_id, size = _envelope(data, position)
                        end = position + 7 + size
                        if end >= length or data[end] != FRAME_END_OCTET or size > self.frame_max:
                            method = 0
                            self._check(data, position, frame_type, size)
                            break
                        start = end + 1
                        if frame_type != FRAME_METHOD:
                            method = 0
                            if frame_type not in _KNOWN:
                                self._check(data, position, frame_type, size)
                        elif (
                            method == _BASIC_ACK
                            and size == 13
                            and not data[position + 19]
                            and channel_id in self.direct
                        ):
                            run = _frames_like_acks(data, position)
                            last_publish = _NOTHING
                            position = start
                            position += _ACK_SIZE * (self.direct[channel_id].ack_run(run) - 1)
                            continue
                        if method != _BASIC_PUBLISH or channel_id not in self.publishers:
                            last_publish = _NOTHING
                            following, position = position, start
                            if size == 13 and (method, data[end - 1]) in _REJECTS and channel_id in self.direct:
                                run = _frames_like_acks(data, following)
                                requeue = _REJECTS[method, data[end - 1]]
                                position += _ACK_SIZE * (self.direct[channel_id].reject_run(run, requeue) - 1)
                                continue
                            if frame_type in (FRAME_BODY, FRAME_HEADER):
                                self._sink.on_frame(frame_type, channel_id, data[following + 3 : start])
                            else:
                                self._sink.on_frame(frame_type, channel_id, data[following + 7 : end])
                            if self.has_stopped():
                                break
                            continue
                        channel = self.direct[channel_id]
                        arguments = data[position + 11 : end]
                        following = position
                        position = start  # for errors: this frame is read
                        route = channel.resolve(arguments)
                        position = following
                        last_publish = data[position:start]
                    # The header frame, and the body frame if there is one: whole, in order, on the same channel?
                    if length - start >= 22:
                        kind, its_channel, header_size, class_and_weight, body_size = _header_head(data, start)
                        body_at = start + header_size + 8
                        if (
                            body_at <= length
                            and kind == FRAME_HEADER
                            and its_channel == channel_id
                            and 14 <= header_size <= self.frame_max
                            and class_and_weight == _BASIC_CLASS_AND_WEIGHT
                            and data[body_at - 1] == FRAME_END_OCTET
                            and body_size <= self.body_limit
                        ):
                            if body_size == 0:
                                position = body_at
                                if channel.publish(route, data[start + 3 : body_at], b""):
                                    break
                                continue
                            following = body_at + body_size + 8
                            if (
                                following <= length
                                and data[following - 1] == FRAME_END_OCTET
                                and _envelope(data, body_at) == (FRAME_BODY, channel_id, body_size)
                            ):
                                position = following
                                if channel.publish(route, data[start + 3 : body_at], data[body_at + 3 : following]):
                                    break
                                continue
                    # Not (yet) in one piece: frame by frame.
                    last_publish = _NOTHING
                    following, position = position + 7, start
                    self._sink.on_frame(FRAME_METHOD, channel_id, data[following : start - 1])
                break
            except AmqpError as error:
                self._sink.on_error(error, channel_id, method)
            except Exception as error:  # a bug of ours: the peer learns no more than 541
                self._sink.on_error(error, channel_id, method)
        if position < length:
            if not self.is_stopped:
                self._keep(data, position)
            elif self.is_held:
                self._held.append(data[position:])

    def divert(self, sink: FrameSink | None) -> None:
        """From now on give `sink` every frame, those of publishes too; with None, all is as it was at first."""
        self._sink = self._owner if sink is None else sink
        self.publishers = self.direct if sink is None else {}

    # Pausing

    def hold(self) -> None:
        """Read nothing more until `resume`: a frame has to be dealt with first. What is left is kept."""
        self.is_stopped = self.is_held = True

    def keep(self, data: bytes) -> None:
        """Keep input while reading is on hold."""
        self._held.append(data)

    @property
    def held_octets(self) -> int:
        """Octets that wait for `resume`, and what each piece of them costs beside its octets."""
        return sum(map(len, self._held)) + _PIECE_OVERHEAD * len(self._held)

    def resume(self) -> None:
        """Read what has been kept, and then as before."""
        if self.is_held:
            self.is_stopped = self.is_held = False
            held, self._held = self._held, []
            if held:
                self.receive(b"".join(held))

    def stop(self) -> None:
        """Read nothing more at all: what comes from now on is dropped."""
        self.is_stopped = True
        self.is_held = False
        self._held = []
        self._parts = []
        self._missing = 0

    def close(self) -> None:
        """Nothing will come any more: let go of the sink and of what is incomplete."""
        self.stop()
        self._parts = []
        self.direct.clear()
        del self._sink, self._owner

    # Frames that are collected, or wrong

    def _take_body(self, tail: bytes) -> None:
        """Hand over a body frame that was collected: its octets are joined once and copied no more."""
        channel_id, self._body_channel = self._body_channel, -1
        try:
            if tail[-1] != FRAME_END_OCTET:
                self.is_stopped = True
                raise FrameFault(f"frame of type {FRAME_BODY} ends with octet {tail[-1]} instead of 206")
            self._sink.on_frame(FRAME_BODY, channel_id, tail)
        except AmqpError as error:
            self._sink.on_error(error, channel_id, 0)
        except Exception as error:  # a bug of ours: the peer learns no more than 541
            self._sink.on_error(error, channel_id, 0)

    def has_stopped(self) -> bool:
        """Must the rest of the input wait, or be dropped, because a handler has ended the connection or put it
        on hold?
        """
        return self.is_stopped

    def _check(self, data: bytes, position: int, frame_type: int, size: int) -> None:
        """Raise what is wrong with the frame at `position`, if it is not just incomplete (contract C17 to C19)."""
        if frame_type not in _KNOWN:
            self.is_stopped = True
            raise FrameFault(f"unknown frame type {frame_type}")
        if size > self.frame_max:
            self.is_stopped = True
            raise FrameFault(f"frame of {size + 8} octets is larger than the negotiated maximum of {self.frame_max}")
        end = position + 7 + size
        if end < len(data):
            self.is_stopped = True
            raise FrameFault(f"frame of type {frame_type} ends with octet {data[end]} instead of 206")

    def _keep(self, data: bytes, position: int) -> None:
        """Remember the start of a frame; when its size is known, only that frame is ever joined."""
        rest = memoryview(data)[position:]
        self._body_channel = -1
        if len(rest) >= 7:
            frame_type, channel_id, size = _envelope(rest, 0)
            try:
                self._check(data, position, frame_type, size)
            except AmqpError as error:
                self._sink.on_error(error, 0, 0)
                return
            self._missing = size + 8 - len(rest)
            if frame_type == FRAME_BODY:
                self._body_channel = channel_id
                rest = rest[3:]
        # A view keeps the whole read alive, which is not worth it for a small part of that.
        self._parts = [rest if 4 * len(rest) > len(data) else bytes(rest)]
