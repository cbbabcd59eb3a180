"""Streams in a store in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from broker.ports.store import Batch
from broker.ports.streams import NO_STREAM, ReaderPlace, StoredSegment, StreamBounds, StreamPage, TrimRule
from broker.store.memory.state import MemoryState, SegmentRow
from broker.store.stream_rows import excess


def append_segments(state: MemoryState, batch: Batch) -> None:
    """Append what a batch has for streams that are there."""
    for append in batch.appends:
        append.leave_out(batch.duplicates)
        append.first = NO_STREAM
        if state.records.has_queue(append.queue_id):
            rows = state.streams.setdefault(append.queue_id, [])
            append.first = rows[-1].first + rows[-1].count if rows else 0
            for segment in append.segments():
                last = rows[-1] if rows else SegmentRow(0, 0, 0, 0, b"")
                rows.append(
                    SegmentRow(
                        last.first + last.count,
                        segment.count,
                        max(segment.last_ms, last.last_ms),
                        last.position + len(last.content),
                        segment.content,
                    )
                )


def stream_bounds(state: MemoryState, queue_ids: Sequence[int]) -> dict[int, StreamBounds]:
    """Return what there is of these streams."""
    found = {}
    for queue_id in queue_ids:
        if rows := state.streams.get(queue_id):
            first, last = rows[0], rows[-1]
            octets = last.position + len(last.content) - first.position
            found[queue_id] = StreamBounds(first.first, last.first + last.count, octets)
    return found


def read_stream(state: MemoryState, queue_id: int, offset: int, limit_octets: int) -> StreamPage:
    """Return the segments from the one on that has the message `offset`, or the next one."""
    segments: list[StoredSegment] = []
    octets = 0
    for row in state.streams.get(queue_id, ()):
        if segments and octets + len(row.content) > limit_octets:
            break
        if row.first + row.count > offset:
            segments.append(StoredSegment(row.first, row.count, row.content))
            octets += len(row.content)
    return StreamPage(segments, segments[-1].first + segments[-1].count if segments else offset)


def find_in_stream(state: MemoryState, queue_id: int, time_ms: int) -> int | None:
    """Return the first offset of the first segment with a message of this time or later."""
    return next((row.first for row in state.streams.get(queue_id, ()) if row.last_ms >= time_ms), None)


def trim_stream(state: MemoryState, queue_id: int, retention: TrimRule, limit: int) -> int:
    """Delete the oldest segments that retention does not keep; return how many."""
    rows = state.streams.get(queue_id, [])
    if not rows:
        return 0
    end = rows[-1].position + len(rows[-1].content)
    oldest = [(row.first, row.last_ms, row.position + len(row.content)) for row in rows[: min(limit, len(rows) - 1)]]
    gone = len(excess(oldest, end, retention))
    del rows[:gone]
    return gone


def keep_places(state: MemoryState, places: Mapping[ReaderPlace, int]) -> None:
    """Keep the places of consumers in streams that are there."""
    state.reader_places |= {place: offset for place, offset in places.items() if state.records.has_queue(place[0])}


def places_in_stream(state: MemoryState, queue_id: int) -> dict[str, int]:
    """Return the places that are kept for a stream, by name."""
    return {name: offset for (stream, name), offset in sorted(state.reader_places.items()) if stream == queue_id}
