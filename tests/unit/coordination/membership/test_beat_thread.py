"""A thread that beats while the event loop stands still, as real ones do: on real threads, with a fake clock."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from broker.coordination.membership.beat_thread import BeatThread
from broker.coordination.membership.deputy import Deputy
from broker.errors import StoreError, StoreUnavailable
from broker.ports.cluster_rows import Beat, Incarnation
from tests.support.clock import FakeClock

ALICE = Incarnation("alice", "a1")
DEADLINE = 10.0


class WatchedDeputy(Deputy):
    """Tells when a beat was granted."""

    def __init__(self, heartbeat_interval: float) -> None:
        super().__init__(heartbeat_interval)
        self.granted = threading.Event()

    def on_granted(self, asked_at: float) -> None:
        super().on_granted(asked_at)
        self.granted.set()


class Bench:
    """A deputy whose loop has beaten at the clock's time; `beaten` is set by each beat of the thread."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.deputy = WatchedDeputy(0.1)
        self.deputy.on_own_beat(self.clock.monotonic())
        self.beaten, self.is_closed = threading.Event(), threading.Event()
        self.beats: list[tuple[Beat, str, bool]] = []
        self.answers: list[bool | Exception] = []
        self.failure: Exception | None = None
        self.main = threading.get_ident()
        self.thread = BeatThread(self.deputy, self.clock, self._connect, ALICE, 0.1)

    @asynccontextmanager
    async def _connect(self) -> AsyncIterator[Any]:
        if self.failure is not None:
            raise self.failure
        try:
            yield self
        finally:
            self.is_closed.set()

    async def own_row(self, node_id: str) -> None:
        raise StoreUnavailable("not yet")

    async def beat(self, beat: Beat, node_id: str) -> bool:
        self.beats.append((beat, node_id, threading.get_ident() == self.main))
        answer = self.answers.pop(0) if self.answers else True
        self.beaten.set()
        if isinstance(answer, Exception):
            raise answer
        return answer


@asynccontextmanager
async def running() -> AsyncIterator[Bench]:
    it = Bench()
    task = asyncio.get_running_loop().create_task(it.thread.run())
    await asyncio.sleep(0)
    try:
        yield it
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        assert it.is_closed.wait(DEADLINE)


async def test_the_thread_beats_while_the_loop_stands_still() -> None:
    async with running() as it:
        it.clock.advance(0.2)
        asked_at = it.clock.monotonic()
        assert it.beaten.wait(DEADLINE)  # the loop stands still here
        beat, node_id, is_main = it.beats[0]
        assert (beat.incarnation, beat.asked_at, node_id, is_main) == ("a1", asked_at, "alice", False)
        assert it.deputy.granted.wait(DEADLINE)
        assert it.deputy.is_trusted(asked_at + 0.17)
        assert not it.deputy.is_trusted(asked_at + 0.18)
    assert not it.deputy.is_trusted(asked_at)


async def test_a_beat_that_fails_is_tried_again_and_one_that_is_refused_is_the_last() -> None:
    async with running() as it:
        it.answers = [StoreUnavailable("away"), MemoryError(), False]
        it.clock.advance(0.2)
        assert it.is_closed.wait(DEADLINE)
        assert len(it.beats) == 3
        assert not it.deputy.is_trusted(it.clock.monotonic())


async def test_the_loop_shows_that_it_is_alive_whenever_it_runs() -> None:
    async with running() as it:
        it.deputy.on_alive(it.clock.monotonic() - 1000.0)
        it.clock.advance(0.2)
        assert not it.deputy.is_due(it.clock.monotonic())
        assert await asyncio.to_thread(it.beaten.wait, DEADLINE)  # the loop goes on, and so the thread beats


async def test_an_error_that_nobody_knows_ends_the_node() -> None:
    it = Bench()
    it.failure = StoreError("a bug")
    with pytest.raises(StoreError, match="a bug"):
        await it.thread.run()
