"""Retention of streams against a model: it never cuts below a bound, and leaves nothing that is behind all of them.

The rows are in tables of SQLite, trimmed as every SQL store does it, and in a store in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, create_engine, insert, select

from broker.ports.streams import TrimRule
from broker.store.memory.state import MemoryState, SegmentRow
from broker.store.memory.streams import trim_stream as trim_in_memory
from broker.store.sql.schema import STREAM_SEGMENT
from broker.store.sql.streams import trim_stream

QUEUE_ID = 7
PART_OCTETS = 50
NOW = 1_900_000_000_000


@dataclass(frozen=True)
class Segment:
    """A segment, of as many parts as its octets make."""

    first: int
    count: int
    last_ms: int
    position: int
    octets: int

    @property
    def end(self) -> int:
        return self.position + self.octets


Trim: TypeAlias = Callable[[TrimRule, int], int]


class InMemory:
    """A stream in a store in memory."""

    def __init__(self) -> None:
        self._state = MemoryState()

    def append(self, segment: Segment) -> None:
        content = bytes(segment.octets)
        row = SegmentRow(segment.first, segment.count, segment.last_ms, segment.position, content)
        self._state.streams.setdefault(QUEUE_ID, []).append(row)

    def trim(self, rule: TrimRule, limit: int) -> int:
        return trim_in_memory(self._state, QUEUE_ID, rule, limit)

    def firsts(self) -> list[int]:
        return [row.first for row in self._state.streams.get(QUEUE_ID, [])]


class InTables:
    """A stream in the tables, beside another one."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def append(self, segment: Segment) -> None:
        names = ("first_offset", "message_count", "last_time", "position", "octets")
        values = (segment.first, segment.count, segment.last_ms, segment.position, segment.octets)
        rest = {**dict(zip(names, values, strict=True)), "checksum": 0, "segment_content": b""}
        for queue_id in (QUEUE_ID, QUEUE_ID + 1):
            for part in range(1 + segment.octets // PART_OCTETS):
                self._connection.execute(insert(STREAM_SEGMENT), {"queue_id": queue_id, "part": part, **rest})

    def trim(self, rule: TrimRule, limit: int) -> int:
        return trim_stream(self._connection, QUEUE_ID, rule, limit)

    def firsts(self, queue_id: int = QUEUE_ID) -> list[int]:
        column = STREAM_SEGMENT.c.first_offset
        found = select(column).where(STREAM_SEGMENT.c.queue_id == queue_id).distinct().order_by(column)
        return list(self._connection.scalars(found))


@contextmanager
def tables() -> Iterator[InTables]:
    engine = create_engine("sqlite://")
    with engine.connect() as connection:
        STREAM_SEGMENT.create(connection)
        yield InTables(connection)
    engine.dispose()


@contextmanager
def memory() -> Iterator[InMemory]:
    yield InMemory()


APPENDS = st.tuples(st.integers(1, 5), st.integers(1, 120), st.sampled_from([0, 0, 1, 50, 1000]))
"""How many messages, how many octets, and how many milliseconds after the segment before."""
BOUNDS = st.tuples(st.none() | st.integers(0, 600), st.none() | st.integers(0, 3000), st.integers(1, 8))
"""Octets, milliseconds of age, and how many segments one step may delete."""
STEPS = st.lists(st.one_of(APPENDS.map(lambda a: ("append", a)), BOUNDS.map(lambda b: ("trim", b))), max_size=25)


@pytest.mark.parametrize("new_stream", [memory, tables])
def test_retention_never_cuts_below_a_bound(new_stream: Callable[[], Iterator[InMemory | InTables]]) -> None:
    @settings(max_examples=25, deadline=None, derandomize=True, database=None)
    @given(steps=STEPS)
    def check(steps: list[tuple[str, tuple[int, int, int]]]) -> None:
        with new_stream() as stream:  # type: ignore[attr-defined]
            kept: list[Segment] = []
            offset = position = 0
            now = NOW
            for step, (first, second, third) in steps:
                if step == "append":
                    now += third
                    kept.append(Segment(offset, first, now, position, second))
                    stream.append(kept[-1])
                    offset, position = offset + first, position + second
                else:
                    kept = trimmed(stream, kept, first, second, third, now)

    check()


def trimmed(
    stream: InMemory | InTables, before: list[Segment], octets: int | None, age: int | None, limit: int, now: int
) -> list[Segment]:
    """Trim once; hold that what is gone was behind a bound, and what stays is not, or there was no more to delete."""
    rule = TrimRule(octets, None if age is None else now - age)
    gone = stream.trim(rule, limit)
    kept = before[gone:]
    assert stream.firsts() == [segment.first for segment in kept]
    assert gone <= limit
    if not before:
        return kept
    assert kept, "the last segment tells where the stream ends"
    end = before[-1].end
    for segment in before[:gone]:
        is_old = age is not None and segment.last_ms < now - age
        is_much = octets is not None and end - segment.end >= octets
        assert is_old or is_much, f"{segment} was cut below the bounds"
    if gone < limit and len(kept) > 1:
        assert octets is None or end - kept[0].end < octets
        assert age is None or kept[0].last_ms >= now - age
    return kept
