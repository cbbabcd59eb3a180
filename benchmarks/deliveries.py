"""Counts deliveries in a stream of bytes exactly, without parsing each one. Pure: does no I/O.

All deliveries of one measurement have the same length: consumer tag, exchange, key, header and body do not change, and
a delivery tag is always eight octets. So the length of a buffer divided by that length is the count. The last delivery
in the buffer verifies it: it must lie at the expected offset, have the expected tag and end with a frame end. If it
does not, frames are parsed one by one.
"""

from array import array
from dataclasses import dataclass

from benchmarks.frames import (
    FRAME_BODY,
    FRAME_END,
    FRAME_HEADER,
    FRAME_HEARTBEAT,
    FRAME_METHOD,
    FRAME_OVERHEAD,
    FRAME_START,
    TAG,
)

DELIVER = b"\x00\x3c\x00\x3c"
CHANNEL_CLOSE = b"\x00\x14\x00\x28"
CONNECTION_CLOSE = b"\x00\x0a\x00\x32"
CANCEL = b"\x00\x3c\x00\x1e"
HEAD = 11


class PeerFault(Exception):
    """The broker sent an answer after which the measurement cannot continue."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The offsets inside one whole delivery: its method, header and body frames."""

    head: bytes
    tag: int
    body: int
    length: int


def describe_close(payload: bytes) -> str:
    """Return code and text of a channel or connection close."""
    code = int.from_bytes(payload[4:6], "big")
    text = payload[7 : 7 + payload[6]].decode(errors="replace")
    return f"closed by the broker: {code} {text}"


def find_layout(buffer: bytes | bytearray, start: int, end: int) -> Layout | None:
    """Parse the delivery at `start` exactly; None while it is incomplete."""
    bounds = _frame_end(buffer, start, end, FRAME_METHOD)
    if bounds is None:
        return None
    tag = HEAD + 1 + buffer[start + HEAD]
    header = bounds
    at = _frame_end(buffer, header, end, FRAME_HEADER)
    if at is None:
        return None
    left = int.from_bytes(buffer[header + 11 : header + 19], "big")
    body = at + FRAME_START.size - start
    while left > 0:
        after = _frame_end(buffer, at, end, FRAME_BODY)
        if after is None:
            return None
        left -= after - at - FRAME_OVERHEAD
        at = after
    return Layout(bytes(buffer[start : start + HEAD]), tag, body, at - start)


def _frame_end(buffer: bytes | bytearray, start: int, end: int, expected: int) -> int | None:
    if end - start < FRAME_START.size:
        return None
    frame_type, _, size = FRAME_START.unpack_from(buffer, start)
    if frame_type != expected:
        raise PeerFault(f"frame type {frame_type} where {expected} was expected")
    after = int(start + size + FRAME_OVERHEAD)
    if after > end:
        return None
    if buffer[after - 1] != FRAME_END:
        raise PeerFault("frame without its end octet")
    return after


class DeliveryCounter:
    """Counts the deliveries in `buffer[:filled]` and keeps an incomplete one for the next read."""

    __slots__ = ("buffer", "filled", "latencies", "layout", "parsed", "received")

    def __init__(self, capacity: int, *, keep_latencies: bool = False) -> None:
        self.buffer = bytearray(capacity)
        self.filled = 0
        self.received = 0
        self.parsed = 0
        self.layout: Layout | None = None
        self.latencies: array[int] | None = array("q") if keep_latencies else None

    def take(self, size: int, now_ns: int = 0) -> int:
        """Return how many deliveries `size` new octets complete, which were read into the buffer at `filled`."""
        self.filled += size
        before, at = self.received, 0
        while at < self.filled:
            step = self._take_run(at, now_ns) or self._take_one(at, now_ns)
            if step == 0:
                break
            at += step
        rest = self.filled - at
        if at and rest:
            self.buffer[:rest] = self.buffer[at : self.filled]
        self.filled = rest
        return self.received - before

    def _take_run(self, at: int, now_ns: int) -> int:
        layout = self.layout
        if layout is None:
            return 0
        count = (self.filled - at) // layout.length
        last = at + (count - 1) * layout.length
        if count == 0 or not self._holds(layout, last, self.received + count):
            return 0
        self._record(at, count, layout, now_ns)
        return count * layout.length

    def _holds(self, layout: Layout, at: int, tag: int) -> bool:
        buffer = self.buffer
        return (
            buffer.startswith(layout.head, at)
            and TAG.unpack_from(buffer, at + layout.tag)[0] == tag
            and buffer[at + layout.length - 1] == FRAME_END
        )

    def _take_one(self, at: int, now_ns: int) -> int:
        if self.filled - at < HEAD:
            return FRAME_OVERHEAD if self.buffer.startswith(b"\x08\x00\x00\x00\x00\x00\x00\xce", at) else 0
        frame_type, _, size = FRAME_START.unpack_from(self.buffer, at)
        if frame_type == FRAME_HEARTBEAT:
            return FRAME_OVERHEAD
        kind = bytes(self.buffer[at + 7 : at + HEAD])
        if kind != DELIVER:
            return self._refuse(kind, at, int(size))
        layout = find_layout(self.buffer, at, self.filled)
        if layout is None:
            return 0
        tag = TAG.unpack_from(self.buffer, at + layout.tag)[0]
        if tag != self.received + 1:
            raise PeerFault(f"delivery tag {tag} where {self.received + 1} was expected")
        self.layout = layout
        self.parsed += 1
        self._record(at, 1, layout, now_ns)
        return layout.length

    def _refuse(self, kind: bytes, at: int, size: int) -> int:
        if self.filled - at < size + FRAME_OVERHEAD:
            return 0
        payload = bytes(self.buffer[at + 7 : at + 7 + size])
        if kind in (CHANNEL_CLOSE, CONNECTION_CLOSE):
            raise PeerFault(describe_close(payload))
        if kind == CANCEL:
            raise PeerFault("the broker cancelled the consumer")
        raise PeerFault(f"method {kind.hex()} among deliveries")

    def _record(self, at: int, count: int, layout: Layout, now_ns: int) -> None:
        self.received += count
        if self.latencies is None:
            return
        first = at + layout.body
        for offset in range(first, first + count * layout.length, layout.length):
            self.latencies.append(now_ns - TAG.unpack_from(self.buffer, offset)[0])
