"""What of a stream is in memory: found by offset, without overlaps, bounded by octets."""

from __future__ import annotations

import random

from broker.codec.stream_records import StreamRecord
from broker.queue.stream_cache import Block, StreamCache

WEIGHT = 1000


def records(first: int, end: int) -> list[StreamRecord]:
    return [StreamRecord(offset, offset, b"", b"", b"%d" % offset, None, WEIGHT) for offset in range(first, end)]


def block(first: int, end: int) -> Block:
    return Block(first, end, records(first, end))


def held(cache: StreamCache, up_to: int) -> list[int]:
    return [offset for offset in range(up_to) if cache.find(offset) is not None]


def test_a_block_is_found_by_each_of_its_offsets() -> None:
    cache = StreamCache(100 * WEIGHT)
    cache.add(block(10, 13))
    assert held(cache, 20) == [10, 11, 12]


def test_what_was_used_last_stays() -> None:
    cache = StreamCache(6 * WEIGHT)
    for first in (0, 10, 20):
        cache.add(block(first, first + 2))
    assert cache.find(0) is not None
    cache.add(block(30, 32))
    assert held(cache, 40) == [0, 1, 20, 21, 30, 31]
    assert cache.weight == 6 * WEIGHT


def test_a_block_that_is_larger_than_all_there_is_room_for_is_there_alone() -> None:
    cache = StreamCache(2 * WEIGHT)
    cache.add(block(0, 2))
    cache.add(block(10, 20))
    assert held(cache, 30) == list(range(10, 20))


def test_what_is_appended_grows_the_last_block() -> None:
    cache = StreamCache(100 * WEIGHT)
    cache.append(records(5, 6))
    cache.append(records(6, 8))
    found = cache.find(5)
    assert found is not None
    assert (found.end, cache.weight) == (8, 3 * WEIGHT)


def test_what_is_appended_behind_a_gap_is_a_block_of_its_own() -> None:
    cache = StreamCache(100 * WEIGHT)
    cache.append(records(5, 6))
    cache.append(records(8, 9))
    assert held(cache, 10) == [5, 8]


def test_blocks_never_overlap_whatever_is_read_and_appended() -> None:
    chance, cache, end = random.Random(7), StreamCache(40 * WEIGHT), 0
    for _ in range(2000):
        if chance.random() < 0.3:
            first = end + chance.choice((0, 0, 3))
            end = first + chance.randint(1, 3)
            cache.append(records(first, end))
        elif end:
            first = chance.randrange(end)
            cache.add(block(first, min(first + chance.randint(1, 12), end)))
        seen = [found.records[found.place_of(offset)].offset for offset in range(end) if (found := cache.find(offset))]
        assert seen == held(cache, end)
        assert cache.weight <= 40 * WEIGHT


def test_a_block_in_which_something_is_missing_goes_on_with_what_follows() -> None:
    found = Block(0, 10, [*records(0, 2), *records(6, 8)])
    assert [found.place_of(offset) for offset in (0, 1, 2, 6, 7, 8)] == [0, 1, 2, 2, 3, 4]
