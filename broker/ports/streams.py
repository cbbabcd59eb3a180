"""The port of a store for streams, and what crosses it: segments of messages that stay when they are read (ADR 81).

A stream is a queue whose messages have offsets, counted from 0 in the order of their commits, and which leave by
retention alone. The store keeps them as segments, each a run of messages written by one transaction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

from broker.codec.stream_records import NewSegment, encode_segments
from broker.message import Message

NO_STREAM: Final = -1
"""The place of what was appended to a stream that is not there any more."""


class StreamAppend:
    """Messages that one batch appends to a stream, in this order.

    `first` is the offset of the first of them once the store has written them; `NO_STREAM` if the stream is gone.
    """

    __slots__ = ("_segments", "first", "messages", "queue_id")

    def __init__(self, queue_id: int, messages: list[Message]) -> None:
        self.queue_id = queue_id
        self.messages = messages
        self.first = NO_STREAM
        self._segments: Sequence[NewSegment] | None = None

    def segments(self) -> Sequence[NewSegment]:
        """Return what is to be written; `messages` do not change from now on."""
        if self._segments is None:
            self._segments = encode_segments(self.messages)
        return self._segments

    def leave_out(self, ids: set[int]) -> None:
        """The messages with these ids are not to be written."""
        if any(message.id in ids for message in self.messages):
            self.messages = [message for message in self.messages if message.id not in ids]
            self._segments = None

    @property
    def octets(self) -> int:
        """Octets that are written."""
        return sum([len(segment.content) for segment in self.segments()])


@dataclass(frozen=True, slots=True)
class StreamBounds:
    """What of a stream is there: the offsets from `first` up to `end`, which is not there yet."""

    first: int = 0
    end: int = 0
    octets: int = 0
    """What its records take in the store."""

    @property
    def count(self) -> int:
        """How many offsets there are."""
        return self.end - self.first


NOTHING: Final = StreamBounds()


@dataclass(frozen=True, slots=True)
class StoredSegment:
    """A segment as it was read: `count` messages from the offset `first` on."""

    first: int
    count: int
    content: bytes


@dataclass(frozen=True, slots=True)
class StreamPage:
    """Segments in their order, and the offset behind all that was looked at. Damaged ones are left out."""

    segments: Sequence[StoredSegment]
    end: int


@dataclass(frozen=True, slots=True)
class TrimRule:
    """What of a stream may be deleted: what is behind the newest `max_octets`, and what is older than `before_ms`."""

    max_octets: int | None
    before_ms: int | None


ReaderPlace: TypeAlias = tuple[int, str]
"""A stream, and the name of a consumer whose place in it is kept."""


class StreamStore(Protocol):
    """Streams of all nodes. A `Batch` appends to them.

    Offsets have no gaps and never come twice; what one transaction appends to a stream lies together. A reader who is
    shown an offset will find all smaller ones too, as far as retention has left them, on every node and after a crash.
    """

    async def stream_bounds(self, queue_ids: Sequence[int]) -> Mapping[int, StreamBounds]:
        """Return what there is of these streams; those that are empty are left out."""
        ...

    async def read_stream(self, queue_id: int, offset: int, limit_octets: int) -> StreamPage:
        """Return the segments from the one on that has the message `offset`, or the next one that is there: not many
        more than `limit_octets`, but at least one if there is one. The page ends at `offset` if there is none.
        """
        ...

    async def find_in_stream(self, queue_id: int, time_ms: int) -> int | None:
        """Return the first offset of the first segment that has a message of this time or later; None if there is none.

        Times are those at which messages were published, in milliseconds since 1970.
        """
        ...

    async def trim_stream(self, queue_id: int, retention: TrimRule, limit: int) -> int:
        """Delete the oldest segments, `limit` at most, that retention does not keep; return how many.

        The last segment stays, and what stays has `max_octets` at least. A message may be older than `before_ms` if its
        segment has a younger one.
        """
        ...

    async def keep_places(self, places: Mapping[ReaderPlace, int]) -> None:
        """Keep the offsets that these consumers are to get next."""
        ...

    async def place_in_stream(self, place: ReaderPlace) -> int | None:
        """Return the offset that was kept for a consumer; None if there is none."""
        ...

    async def places_in_stream(self, queue_id: int) -> Mapping[str, int]:
        """Return the offsets that are kept for a stream, by the names of consumers."""
        ...

    async def forget_place(self, place: ReaderPlace) -> bool:
        """Forget the offset of a consumer; return whether there was one."""
        ...
