"""What every store does alike with the segments of streams: which are too old or too much, and which are damaged."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain, takewhile
from operator import attrgetter
from typing import Final, TypeAlias

import structlog
from xxhash import xxh3_64_intdigest

from broker.message import Message
from broker.ports.store import Batch
from broker.ports.streams import StoredSegment, StreamAppend, StreamPage, TrimRule
from broker.store.rows import CHECKSUM_MASK

_log = structlog.get_logger(__name__)

PART_OCTETS: Final = 65_500
"""Octets of a segment that lie in one row: `maxContentChunkSize` of Andes (andes §2.1)."""

_ID: Final = attrgetter("id")
SegmentRow: TypeAlias = tuple[int, int, int, int, bytes]
"""First offset, number of messages, octets of the whole segment, its checksum, and the part of it that the row has."""


def part_streams(batch: Batch, appended: list[Message]) -> None:
    """Let what goes to streams be appended instead of inserted, in the order in which it was published."""
    others = [message for message in batch.inserts if message.queue.is_stream]
    if others:
        batch.inserts[:] = [message for message in batch.inserts if not message.queue.is_stream]
    by_stream: dict[int, list[Message]] = {}
    for message in sorted(chain(appended, others), key=_ID) if others else appended:
        by_stream.setdefault(message.queue.queue_id, []).append(message)
    batch.appends += [StreamAppend(queue_id, messages) for queue_id, messages in by_stream.items()]


def excess(oldest: Iterable[tuple[int, int, int]], end: int, retention: TrimRule) -> list[int]:
    """Return the first offsets of those of the `oldest` segments that retention does not keep.

    Each is told by its first offset, the time of its last message, and the position behind it; `end` is that behind
    the stream. The last segment of the stream is not among them.
    """

    def is_kept_not(segment: tuple[int, int, int]) -> bool:
        _, last_ms, position = segment
        if retention.before_ms is not None and last_ms < retention.before_ms:
            return True
        return retention.max_octets is not None and end - position >= retention.max_octets

    return [segment[0] for segment in takewhile(is_kept_not, oldest)]


def segment_checksum(content: bytes) -> int:
    """Return the CHECKSUM column of a segment."""
    return xxh3_64_intdigest(content) & CHECKSUM_MASK


def parts_of(content: bytes) -> list[bytes]:
    """Return what each row of a segment has."""
    return [content[start : start + PART_OCTETS] for start in range(0, len(content), PART_OCTETS)]


def page_of(queue_id: int, offset: int, rows: Sequence[SegmentRow]) -> StreamPage:
    """Return the page that rows make, which are in the order of their offsets and parts; log what is damaged."""
    segments: list[StoredSegment] = []
    end, place = offset, 0
    while place < len(rows):
        first, count, _, checksum, _ = rows[place]
        behind = place + 1
        while behind < len(rows) and rows[behind][0] == first:
            behind += 1
        content = b"".join([row[-1] for row in rows[place:behind]])
        place = behind
        if first + count <= offset:
            continue
        end = first + count
        if segment_checksum(content) == checksum:
            segments.append(StoredSegment(first, count, content))
        else:
            _log.error("a damaged segment of a stream is left out", queue_id=queue_id, first_offset=first, count=count)
    return StreamPage(segments, end)
