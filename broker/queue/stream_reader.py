"""Streams between memory and the store: reads what consumers come to, and keeps their places."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

import structlog

from broker.errors import StoreUnavailable
from broker.ports.streams import NOTHING, ReaderPlace, StreamBounds, StreamStore
from broker.queue.stream_queue import StreamQueue

_log = structlog.get_logger(__name__)

_PLACES_AT_ONCE: Final = 500


class StreamReader:
    """The `StreamStorage` of one incarnation of a node."""

    def __init__(
        self,
        store: StreamStore,
        tasks: asyncio.TaskGroup,
        *,
        wake: Callable[[StreamQueue], None],
        tells_length: Callable[[], bool],
    ) -> None:
        """`store` waits by itself while the database is away; `wake` dispatches a stream that has got something.
        `tells_length` is whether this node tells how long streams are.
        """
        self._store = store
        self._tasks = tasks
        self._wake = wake
        self.tells_length = tells_length
        self._reads: dict[StreamQueue, deque[tuple[int, int]]] = {}
        self._places: dict[ReaderPlace, int] = {}

    def read(self, stream: StreamQueue, offset: int, octets: int) -> None:
        """Read from a stream. Of one stream one read is under way at a time."""
        reads = self._reads.get(stream)
        if reads is not None:
            reads.append((offset, octets))
            return
        self._reads[stream] = deque([(offset, octets)])
        self._tasks.create_task(self._read(stream), name=f"read stream {stream.name}")

    async def _read(self, stream: StreamQueue) -> None:
        reads = self._reads[stream]
        try:
            while reads and not stream.is_deleted:
                offset, octets = reads.popleft()
                page = await self._store.read_stream(stream.queue_id, offset, octets)

                def damaged(first: int) -> None:
                    _log.error("a segment of a stream cannot be read", queue=stream.name, first_offset=first)

                stream.on_page(offset, page.segments, page.end, damaged)
                self._wake(stream)
        finally:
            del self._reads[stream]

    async def bounds(self, stream: StreamQueue) -> StreamBounds:
        return (await self._store.stream_bounds([stream.queue_id])).get(stream.queue_id, NOTHING)

    async def find(self, stream: StreamQueue, time_ms: int) -> int | None:
        return await self._store.find_in_stream(stream.queue_id, time_ms)

    async def place(self, stream: StreamQueue, name: str) -> int | None:
        place = stream.queue_id, name
        return self._places[place] if place in self._places else await self._store.place_in_stream(place)

    def keep(self, stream: StreamQueue, name: str, offset: int) -> None:
        """Keep a place; it is in the store when `write_places` is done."""
        self._places[stream.queue_id, name] = offset

    async def write_places(self) -> None:
        """Write the places that have changed since the last call, in parts. What cannot be written is tried again."""
        while self._places:
            part = dict(list(self._places.items())[:_PLACES_AT_ONCE])
            try:
                await self._store.keep_places(part)
            except StoreUnavailable:
                return
            for place, offset in part.items():
                if self._places.get(place) == offset:
                    del self._places[place]
