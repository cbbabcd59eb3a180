"""What of one stream is in memory on this node: blocks of records that all its consumers share, bounded by octets."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import OrderedDict
from operator import attrgetter
from typing import Final

from broker.codec.stream_records import StreamRecord, filter_value

_GROWING: Final = 512 * 1024
"""Octets of memory up to which what is appended goes into the block before it."""
_OFFSET: Final = attrgetter("offset")


class Block:
    """Records of a stream in their order, with all that there are from the offset `first` up to `end`."""

    __slots__ = ("_values", "end", "first", "records", "weight")

    def __init__(self, first: int, end: int, records: list[StreamRecord]) -> None:
        self.first = first
        self.end = end
        self.records = records
        self.weight = sum([record.weight for record in records])
        self._values: list[str | None] = []

    def place_of(self, offset: int) -> int:
        """Return the place in `records` of the first record with this offset or a larger one."""
        if len(self.records) == self.end - self.first:
            return max(offset - self.first, 0)
        return bisect_left(self.records, offset, key=_OFFSET)  # a damaged segment is left out

    def extend(self, records: list[StreamRecord]) -> None:
        """Add records that follow the block."""
        self.records += records
        self.end = records[-1].offset + 1
        self.weight += sum([record.weight for record in records])

    @property
    def values(self) -> list[str | None]:
        """What each record says to filters. It is read from the headers once, when a filter asks."""
        values, records = self._values, self.records
        if len(values) < len(records):
            values += [filter_value(record.header) for record in records[len(values) :]]
        return values


class StreamCache:
    """The blocks of a stream that are in memory. Those that were used last stay, up to `limit` octets."""

    __slots__ = ("_blocks", "_firsts", "_limit", "weight")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._blocks: OrderedDict[int, Block] = OrderedDict()
        """By first offset, that which was used last at the end. No two have an offset in common."""
        self._firsts: list[int] = []
        self.weight = 0
        """Octets of memory that the blocks occupy."""

    def find(self, offset: int) -> Block | None:
        """Return the block that has this offset."""
        place = bisect_right(self._firsts, offset) - 1
        if place < 0:
            return None
        first = self._firsts[place]
        block = self._blocks[first]
        if offset >= block.end:
            return None
        self._blocks.move_to_end(first)
        return block

    def add(self, block: Block) -> None:
        """Add what was read, without what is there already."""
        place = bisect_right(self._firsts, block.first) - 1
        if place >= 0:
            before = self._blocks[self._firsts[place]]
            if before.first == block.first:
                self._drop(before.first)
            elif before.end > block.first:
                block = Block(before.end, block.end, block.records[block.place_of(before.end) :])
        if block.first >= block.end:
            return
        for first in self._firsts[bisect_left(self._firsts, block.first) : bisect_left(self._firsts, block.end)]:
            self._drop(first)
        self._put(block)

    def append(self, records: list[StreamRecord]) -> None:
        """Add what was appended to the stream just now."""
        last = self._blocks[self._firsts[-1]] if self._firsts else None
        first = records[0].offset
        if last is not None and last.end == first and last.weight < _GROWING:
            weight = last.weight
            last.extend(records)
            self.weight += last.weight - weight
            self._shrink(last)
        elif last is None or last.end <= first:
            self._put(Block(first, records[-1].offset + 1, records))

    def clear(self) -> None:
        """Forget everything."""
        self._blocks.clear()
        self._firsts.clear()
        self.weight = 0

    def _put(self, block: Block) -> None:
        self._firsts.insert(bisect_left(self._firsts, block.first), block.first)
        self._blocks[block.first] = block
        self.weight += block.weight
        self._shrink(block)

    def _shrink(self, kept: Block) -> None:
        while self.weight > self._limit and len(self._firsts) > 1:
            first = next(iter(self._blocks))
            if first == kept.first:
                self._blocks.move_to_end(first)
                first = next(iter(self._blocks))
            self._drop(first)

    def _drop(self, first: int) -> None:
        self.weight -= self._blocks.pop(first).weight
        del self._firsts[bisect_left(self._firsts, first)]
