"""What is done about streams beside consuming them: retention, the places of consumers, and news of other nodes.

Each step is bounded, and another comes after a pause. TrimRule is the work of one node, which tells the streams'
lengths; should two do it for a moment, the one finds nothing to do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final, Protocol

from broker.errors import StoreUnavailable
from broker.ports.streams import NOTHING, StreamStore, TrimRule
from broker.queue.stream_queue import StreamQueue

TICK: Final = 0.05
"""Seconds after which a consumer at the end of a stream learns what another node has appended."""
_TICKS_PER_STEP: Final = 20
SEGMENTS_AT_ONCE: Final = 200
"""Segments of a stream that retention deletes in one step: 12 MB, if they are full."""
_STEPS_AT_ONCE: Final = 20
"""Steps for one stream, one after the other, if they delete as much as they may: small segments may be many."""
_STREAMS_AT_ONCE: Final = 100
_AGES_PER_CHECK: Final = 20
"""The age of the oldest segment is looked at so often in the time that messages stay, but not less than each second."""
_LONGEST_MS: Final = 60_000


class Places(Protocol):
    """Who keeps the places of consumers."""

    async def write_places(self) -> None:
        """Write those that have changed."""
        ...


class StreamUpkeep:
    """Of one node."""

    def __init__(
        self,
        store: StreamStore,
        places: Places,
        *,
        streams: Callable[[], Iterable[StreamQueue]],
        wake: Callable[[StreamQueue], None],
        now_ms: Callable[[], int],
        is_shared: bool,
        tells_length: Callable[[], bool],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`wake` dispatches a stream whose consumers may go on. `is_shared`: other nodes may append, too."""
        self._store = store
        self._places = places
        self._streams = streams
        self._wake = wake
        self._now_ms = now_ms
        self._is_shared = is_shared
        self._tells_length = tells_length
        self._sleep = sleep
        self._look_at: dict[int, int] = {}
        """By queue id, when the age of the oldest segment is looked at next, in milliseconds since 1970."""
        self._next = 0

    async def run(self) -> None:
        """Look after streams until cancelled."""
        ticks = 0
        while True:
            await self._sleep(TICK)
            ticks += 1
            try:
                if self._is_shared:
                    await self.look([stream for stream in self._streams() if stream.is_awaited])
                if ticks % _TICKS_PER_STEP == 0:
                    await self.step()
            except StoreUnavailable:
                await self._sleep(TICK * _TICKS_PER_STEP)

    async def look(self, streams: Sequence[StreamQueue]) -> None:
        """Find out what there is of these streams, on all nodes."""
        for start in range(0, len(streams), _STREAMS_AT_ONCE):
            part = streams[start : start + _STREAMS_AT_ONCE]
            found = await self._store.stream_bounds([stream.queue_id for stream in part])
            for stream in part:
                if stream.learn(found.get(stream.queue_id, NOTHING)):
                    self._wake(stream)

    async def step(self) -> None:
        """Write places, apply retention where it is due, and in a cluster learn the lengths of some streams."""
        await self._places.write_places()
        streams = [stream for stream in self._streams() if not stream.is_closing]
        if self._tells_length():
            for stream in streams:
                await self._trim(stream)
        if self._is_shared and streams:
            self._next %= len(streams)
            await self.look(streams[self._next : self._next + _STREAMS_AT_ONCE])
            self._next += _STREAMS_AT_ONCE

    async def _trim(self, stream: StreamQueue) -> None:
        """Delete what retention does not keep, as far as that goes in a few steps."""
        wanted, now = stream.settings.retention, self._now_ms()
        if wanted is None or not stream.bounds.count:
            return
        is_long = wanted.max_octets is not None and stream.bounds.octets > wanted.max_octets
        is_due = wanted.max_age_ms is not None and self._look_at.get(stream.queue_id, 0) <= now
        if not (is_long or is_due):
            return
        before = None if wanted.max_age_ms is None else now - wanted.max_age_ms
        for _ in range(_STEPS_AT_ONCE):
            retention = TrimRule(wanted.max_octets, before)
            gone = await self._store.trim_stream(stream.queue_id, retention, SEGMENTS_AT_ONCE)
            if gone < SEGMENTS_AT_ONCE:
                break
        if gone:
            await self.look([stream])
        elif wanted.max_age_ms is not None:
            pause = min(max(wanted.max_age_ms // _AGES_PER_CHECK, 1000), _LONGEST_MS)
            self._look_at[stream.queue_id] = now + pause
