"""Ways to spoil a recorded session.

Each mutation takes octets and a seeded generator and returns other octets. They know where frames begin, so that they
can go for sizes, ids and tables; they know nothing of what an answer should be.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

_ENVELOPE = struct.Struct(">BHI")
_SIZES = (
    0,
    1,
    3,
    4,
    6,
    7,
    8,
    13,
    14,
    255,
    4087,
    4088,
    4096,
    4097,
    8184,
    8192,
    8193,
    65536,
    1 << 24,
    1 << 30,
    (1 << 31) - 1,
    0xFFFFFFFF,
)
_CLASSES = (0, 10, 20, 30, 40, 50, 60, 70, 80, 85, 90, 91, 0xFFFF)
_METHODS = (0, 1, 10, 11, 20, 21, 30, 31, 40, 41, 50, 51, 60, 70, 71, 72, 80, 90, 100, 110, 111, 120, 0xFFFF)
_TAGS = b"tbBsuIilLfdDSATFVx\x00Z"
_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


@dataclass(slots=True)
class Frame:
    """One frame in pieces. `size` and `end` say what is written, whatever `payload` is."""

    kind: int
    channel: int
    payload: bytes
    size: int
    end: int = 0xCE

    def encode(self) -> bytes:
        return _ENVELOPE.pack(self.kind & 0xFF, self.channel & 0xFFFF, self.size) + self.payload + bytes((self.end,))


def split(data: bytes) -> tuple[bytes, list[Frame]]:
    """Return the protocol header and the frames of a valid session."""
    frames = []
    position = 8
    while position < len(data):
        kind, channel, size = _ENVELOPE.unpack_from(data, position)
        end = position + 7 + size
        frames.append(Frame(kind, channel, data[position + 7 : end], size, data[end]))
        position = end + 1
    return data[:8], frames


def _with_frames(data: bytes, change: Callable[[list[Frame]], None]) -> bytes:
    header, frames = split(data)
    change(frames)
    return header + b"".join(frame.encode() for frame in frames)


def flip(data: bytes, rng: random.Random, other: bytes) -> bytes:
    """Flip single bits anywhere."""
    spoilt = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        spoilt[rng.randrange(len(spoilt))] ^= 1 << rng.randrange(8)
    return bytes(spoilt)


def truncate(data: bytes, rng: random.Random, other: bytes) -> bytes:
    """Stop in the middle."""
    return data[: rng.randrange(len(data))]


def cut_out(data: bytes, rng: random.Random, other: bytes) -> bytes:
    """Lose some octets."""
    start = rng.randrange(len(data))
    return data[:start] + data[start + rng.choice((1, 2, 7, 8, 30)) :]


def splice(data: bytes, rng: random.Random, other: bytes) -> bytes:
    """Go on with another session, at any octet or at the border of a frame."""
    if rng.random() < 0.5:
        return data[: rng.randrange(len(data))] + other[rng.randrange(len(other)) :]
    header, frames = split(data)
    _, others = split(other)
    kept = frames[: rng.randrange(len(frames))] + others[rng.randrange(len(others)) :]
    return header + b"".join(frame.encode() for frame in kept)


def repeat(data: bytes, rng: random.Random, other: bytes) -> bytes:
    """Say something twice or many times: octets, or whole frames."""
    if rng.random() < 0.3:
        start = rng.randrange(len(data))
        piece = data[start : start + rng.randrange(1, 64)]
        return data[:start] + piece * rng.choice((2, 3, 20)) + data[start:]

    def change(frames: list[Frame]) -> None:
        start = rng.randrange(len(frames))
        frames[start:start] = frames[start : start + rng.choice((1, 1, 2, 3))] * rng.choice((1, 2, 10))

    return _with_frames(data, change)


def shuffle(data: bytes, rng: random.Random, other: bytes) -> bytes:
    """Lose a frame or let two frames change places."""

    def change(frames: list[Frame]) -> None:
        first, second = rng.randrange(len(frames)), rng.randrange(len(frames))
        if rng.random() < 0.5:
            del frames[first]
        else:
            frames[first], frames[second] = frames[second], frames[first]

    return _with_frames(data, change)


def envelope(data: bytes, rng: random.Random, other: bytes) -> bytes:
    """Lie in a frame's type, channel, size or end octet."""

    def change(frames: list[Frame]) -> None:
        frame = rng.choice(frames)
        match rng.randrange(5):
            case 0:
                frame.size = rng.choice(_SIZES)
            case 1:
                frame.size = max(frame.size + rng.choice((-8, -1, 1, 8)), 0)
            case 2:
                frame.kind = rng.choice((0, 1, 2, 3, 4, 8, 206, 255))
            case 3:
                frame.channel = rng.choice((0, 1, 2, 3, 2047, 2048, 65535))
            case _:
                frame.end = rng.randrange(256)

    return _with_frames(data, change)


def method_id(data: bytes, rng: random.Random, other: bytes) -> bytes:
    """Turn a method into another one that reads the same arguments."""

    def change(frames: list[Frame]) -> None:
        frame = rng.choice([frame for frame in frames if frame.kind == 1])
        ids = struct.pack(">HH", rng.choice(_CLASSES), rng.choice(_METHODS))
        frame.payload = (
            ids[:2] + frame.payload[2:4] + frame.payload[4:] if rng.random() < 0.3 else ids + frame.payload[4:]
        )

    return _with_frames(data, change)


def payload(data: bytes, rng: random.Random, other: bytes) -> bytes:
    """Spoil arguments, properties or tables inside an otherwise good frame."""

    def change(frames: list[Frame]) -> None:
        frame = rng.choice([frame for frame in frames if frame.payload])
        spoilt = bytearray(frame.payload)
        at = rng.randrange(len(spoilt))
        match rng.randrange(6):
            case 0:
                spoilt[at] = rng.randrange(256)
            case 1:
                spoilt[at] = rng.choice(_TAGS)
            case 2:
                spoilt[at : at + 4] = struct.pack(">I", rng.choice(_NUMBERS))
            case 3:
                spoilt[at:at] = table_garbage(rng)
            case 4:
                del spoilt[at : at + rng.choice((1, 2, 4))]
            case _:
                spoilt[at:] = rng.randbytes(rng.randrange(64))
        frame.payload, frame.size = bytes(spoilt), len(spoilt)

    return _with_frames(data, change)


def header(data: bytes, rng: random.Random, other: bytes) -> bytes:
    """Spoil a content header: class, weight, body size, property flags."""

    def change(frames: list[Frame]) -> None:
        headers = [frame for frame in frames if frame.kind == 2]
        if not headers:
            return
        frame = rng.choice(headers)
        spoilt = bytearray(frame.payload)
        match rng.randrange(4):
            case 0:
                spoilt[rng.choice((0, 1, 2, 3))] ^= 1 << rng.randrange(8)
            case 1:
                size = rng.choice((0, 1, 99, 1 << 20, 1 << 27, (1 << 29) + 1, 1 << 63, (1 << 64) - 1))
                spoilt[4:12] = size.to_bytes(8, "big")
            case 2:
                spoilt[12 + rng.randrange(2)] ^= 1 << rng.randrange(8)
            case _:
                spoilt[12:14] = rng.randbytes(2)
        frame.payload = bytes(spoilt)

    return _with_frames(data, change)


def table_garbage(rng: random.Random) -> bytes:
    """Return octets that look like the entries of a table, or nearly."""
    if rng.random() < 0.1:
        return b"\x01aF\x00\x00\x00\x07" * rng.choice((2, 33, 500))
    entries = []
    for _ in range(rng.randrange(1, 6)):
        name = rng.choice((b"", b"a", b"x-match", b"\xff", b"a" * 255))
        value = rng.randbytes(rng.choice((0, 1, 2, 4, 5, 8, 9)))
        entries.append(bytes((len(name),)) + name + bytes((rng.choice(_TAGS),)) + value)
    return b"".join(entries)


Mutation = Callable[[bytes, random.Random, bytes], bytes]
MUTATIONS: Sequence[Mutation] = (
    flip,
    truncate,
    cut_out,
    splice,
    repeat,
    shuffle,
    envelope,
    method_id,
    payload,
    payload,
    header,
)


def mutate(data: bytes, rng: random.Random, other: bytes) -> bytes:
    """Return `data` spoilt once, seldom twice; `other` is a session to borrow from."""
    spoilt = rng.choice(MUTATIONS)(data, rng, other)
    return flip(spoilt, rng, other) if spoilt and rng.random() < 0.1 else spoilt
