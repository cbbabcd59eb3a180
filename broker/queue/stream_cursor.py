"""Where a consumer of a stream is, what it wants of it, and what it has answered (ADR 81)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from broker.message import Message
from broker.queue.stream_cache import Block

NO_FILTER: Final[frozenset[str]] = frozenset()


class Start(Enum):
    """Where a consumer may begin that names no offset."""

    FIRST = "first"
    LAST = "last"
    NEXT = "next"


@dataclass(frozen=True, slots=True)
class Since:
    """Begin with what was published at this time or later, in milliseconds since 1970."""

    time_ms: int


@dataclass(frozen=True, slots=True)
class StreamWish:
    """What a client asks for when it consumes a stream."""

    start: Start | Since | int = Start.NEXT
    """An integer is an offset."""
    filters: frozenset[str] = NO_FILTER
    """Only messages with one of these values; if there are none, all."""
    takes_unfiltered: bool = False
    """Messages without a value, too?"""
    is_kept: bool = False
    """Is its place to be kept under its tag, and to be its start the next time?"""


class StreamCursor:
    """The place of one consumer in a stream."""

    __slots__ = ("_outstanding", "_returned", "_since_ms", "_wish", "name", "next")

    def __init__(self, start: int, wish: StreamWish, name: str = "") -> None:
        """`start` is the offset of the first message that it may get; with a `name` its place is kept."""
        self.next = start
        self.name = name
        self._wish = wish
        self._since_ms = wish.start.time_ms if isinstance(wish.start, Since) else 0
        self._outstanding: OrderedDict[int, None] = OrderedDict()
        self._returned: int | None = None
        """The smallest offset that the client has given back, to be handled by somebody later."""

    def take(self, block: Block, limit: int, octets: int) -> tuple[list[int], int]:
        """Return the places in the block of the messages that the consumer gets next, `limit` at most and of not many
        more than `octets`, and the offset at which to go on after them.
        """
        records, start = block.records, block.place_of(self.next)
        wanted = self._wanted(block, start)
        places: list[int] = []
        for place in wanted:
            if len(places) == limit or octets <= 0:
                return places, records[place].offset
            places.append(place)
            octets -= records[place].weight
        return places, block.end

    def _wanted(self, block: Block, start: int) -> Iterable[int]:
        wish, everything = self._wish, range(start, len(block.records))
        wanted: Iterable[int] = everything
        if self._since_ms:
            wanted = self._of_time(block, everything)
        if not wish.filters:
            return wanted
        values = block.values
        return (
            place
            for place in wanted
            if values[place] in wish.filters or (values[place] is None and wish.takes_unfiltered)
        )

    def _of_time(self, block: Block, places: Sequence[int]) -> Iterable[int]:
        """Return the places from the first message on that is young enough: those of one segment differ."""
        since, records = self._since_ms, block.records
        for place in places:
            if records[place].published_ms >= since:
                self._since_ms = 0
                return range(place, len(records))
        return ()

    # What is answered, if the place is kept

    def on_taken(self, messages: Sequence[Message]) -> None:
        """The client has these messages."""
        if self.name:
            self._outstanding.update((message.id, None) for message in messages)

    def on_answered(self, messages: Iterable[Message]) -> None:
        """The client has answered these."""
        for message in messages:
            self._outstanding.pop(message.id, None)

    def on_returned(self, messages: Iterable[Message]) -> None:
        """The client has given these back: they are for the next consumer of this name, with all that follow."""
        for message in messages:
            self._outstanding.pop(message.id, None)
            self._returned = message.id if self._returned is None else min(self._returned, message.id)

    @property
    def kept(self) -> int:
        """The offset of the first message that the client has not handled, or did not get."""
        first = next(iter(self._outstanding), self.next)
        return first if self._returned is None else min(first, self._returned)
