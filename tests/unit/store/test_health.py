"""When the store counts as down and when as up again (ADR 14, andes §7.2)."""

from __future__ import annotations

import asyncio
import errno
from dataclasses import dataclass, field

import pytest
from structlog.testing import capture_logs

from broker.errors import StoreError, StoreFull, StoreUnavailable, StoreUnsafe
from broker.store.health import StoreHealth
from tests.support.clock import FakeClock

AWAY = StoreUnavailable("connection refused by db.example:3306")
NO_ANSWER = "store unavailable: no answer"
NOT_WRITTEN = "store unavailable: it cannot be written"
FULL = "low on disk: the store is full"


@dataclass
class Store:
    """Answers a probe as told."""

    clock: FakeClock
    failure: Exception | None = None
    write_failure: StoreUnavailable | None = None
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)

    async def probe(self) -> float:
        started = self.clock.monotonic()
        await self.may_answer.wait()
        if self.failure is not None:
            raise self.failure
        return self.clock.monotonic() - started


@dataclass
class Journal:
    is_failing: bool = False
    writing_since: float | None = None

    def stalled_for(self, now: float) -> float:
        return 0.0 if self.writing_since is None else now - self.writing_since


class Bench:
    """A store whose health is looked at four times a second; probes run when they are due."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.store = Store(self.clock)
        self.store.may_answer.set()
        self.journal = Journal()
        self.told: list[str] = []
        self.probed_at: list[float] = []
        self.health = StoreHealth(self.store, self.journal, self.clock, interval=10.0, on_change=self.told.append)

    async def watch(self, seconds: float) -> None:
        """Let time pass as `run` does."""
        for _ in range(round(seconds * 4)):
            self.clock.advance(0.25)
            now = self.clock.monotonic()
            self.health.sample(now)
            if self.health.is_probe_due(now):
                self.probed_at.append(now - 1000.0)
                probe = asyncio.get_running_loop().create_task(self.health.probe())
                probe.add_done_callback(lambda done: done.cancelled() or done.result())
            for _ in range(3):
                await asyncio.sleep(0)


@pytest.fixture
async def bench() -> Bench:
    return Bench()


async def test_a_store_in_good_health_is_asked_now_and_then(bench: Bench) -> None:
    await bench.watch(30.0)
    assert bench.probed_at == [10.0, 20.0, 30.0]
    assert bench.told == []
    assert bench.health.state.is_up


async def test_writes_that_fail_for_two_seconds_are_an_outage(bench: Bench) -> None:
    bench.journal.is_failing = True
    bench.store.write_failure = AWAY
    await bench.watch(2.0)
    assert bench.told == []
    await bench.watch(0.25)
    assert bench.told == [NOT_WRITTEN]
    assert bench.health.is_down


async def test_an_outage_of_a_second_is_not_noticed(bench: Bench) -> None:
    for _ in range(3):
        bench.journal.is_failing, bench.store.failure = True, AWAY
        await bench.watch(1.5)
        bench.journal.is_failing, bench.store.failure = False, None
        await bench.watch(1.5)
    assert bench.told == []


async def test_a_store_without_room_has_words_of_its_own(bench: Bench) -> None:
    bench.journal.is_failing = True
    bench.store.write_failure = StoreFull("database or disk is full")
    await bench.watch(2.25)
    assert bench.told == [FULL]


async def test_a_store_that_is_not_safe_is_told_with_its_setting(bench: Bench) -> None:
    bench.journal.is_failing = True
    bench.store.write_failure = StoreUnsafe("fsync is off, not on: a power failure loses commits")
    await bench.watch(2.25)
    assert bench.told == ["store unsafe: fsync is off, not on: a power failure loses commits"]


async def test_an_idle_node_learns_from_its_probes_that_the_store_is_away(bench: Bench) -> None:
    bench.store.failure = AWAY
    await bench.watch(11.75)
    assert bench.told == []
    await bench.watch(0.25)
    assert bench.told == [NOT_WRITTEN]
    assert bench.probed_at == [10.0, 11.0, 12.0]


async def test_a_probe_that_hangs_for_two_seconds_is_an_outage(bench: Bench) -> None:
    bench.store.may_answer.clear()
    await bench.watch(11.75)
    assert bench.told == []
    await bench.watch(0.25)
    assert bench.told == [NO_ANSWER]
    assert bench.probed_at == [10.0]


async def test_a_write_that_takes_long_makes_somebody_ask_and_is_an_outage_if_nobody_answers(bench: Bench) -> None:
    await bench.watch(1.0)
    bench.journal.writing_since = bench.clock.monotonic()
    bench.store.may_answer.clear()
    await bench.watch(2.25)
    assert bench.probed_at == [1.5]
    assert bench.told == []
    await bench.watch(0.25)
    assert bench.told == [NO_ANSWER]


async def test_a_large_write_is_no_outage_while_probes_are_answered(bench: Bench) -> None:
    await bench.watch(1.0)
    bench.journal.writing_since = bench.clock.monotonic()
    await bench.watch(60.0)
    assert bench.told == []


async def test_a_store_is_up_again_when_probe_and_journal_are_fine(bench: Bench) -> None:
    bench.journal.is_failing = True
    bench.store.failure = bench.store.write_failure = AWAY
    await bench.watch(30.0)
    bench.store.failure = None
    await bench.watch(3.0)
    assert bench.told == [NOT_WRITTEN]
    bench.journal.is_failing = False
    await bench.watch(0.25)
    assert bench.told == [NOT_WRITTEN, ""]
    assert bench.health.state.is_up


async def test_a_store_that_hung_and_then_refuses_stays_down(bench: Bench) -> None:
    bench.store.may_answer.clear()
    await bench.watch(12.0)
    bench.store.failure = AWAY
    bench.store.may_answer.set()
    await bench.watch(5.0)
    assert bench.told == [NO_ANSWER]
    bench.store.failure = None
    await bench.watch(1.25)
    assert bench.told == [NO_ANSWER, ""]


async def test_a_store_that_is_down_is_asked_every_second(bench: Bench) -> None:
    bench.store.failure = AWAY
    await bench.watch(15.0)
    assert bench.probed_at == [10.0, 11.0, 12.0, 13.0, 14.0, 15.0]


async def test_a_node_that_stood_still_does_not_blame_the_store(bench: Bench) -> None:
    bench.store.may_answer.clear()
    await bench.watch(10.0)
    bench.journal.is_failing = True
    bench.clock.advance(30.0)
    await bench.watch(0.25)
    assert bench.told == []
    await bench.watch(2.0)
    assert bench.told == [NOT_WRITTEN]


async def test_a_node_that_stood_still_in_an_outage_does_not_end_it(bench: Bench) -> None:
    bench.store.may_answer.clear()
    await bench.watch(12.0)
    bench.clock.advance(30.0)
    await bench.watch(0.25)
    assert bench.told == [NO_ANSWER]


async def test_each_change_is_one_line_of_log(bench: Bench) -> None:
    bench.store.failure = AWAY
    with capture_logs() as logs:
        await bench.watch(600.0)
        bench.store.failure = None
        await bench.watch(1.25)
    assert [(line["event"], line["log_level"]) for line in logs] == [
        ("the store is down", "warning"),
        ("the store is up again", "info"),
    ]
    assert logs[0]["last_failure"] == "connection refused by db.example:3306"


async def test_the_state_tells_what_an_operator_asks(bench: Bench) -> None:
    bench.store.failure = AWAY
    await bench.watch(12.0)
    state = bench.health.state
    assert (state.is_up, state.since, state.reason) == (False, 1012.0, NOT_WRITTEN)
    assert state.last_failure == "connection refused by db.example:3306"
    assert (state.probes, state.failed_probes, state.outages) == (3, 3, 1)


async def test_the_last_answer_tells_how_fast_the_store_is(bench: Bench) -> None:
    bench.store.may_answer.clear()
    await bench.watch(10.5)
    bench.store.may_answer.set()
    await bench.watch(0.25)
    assert bench.health.state.latency == 0.75


async def test_a_pause_ends_when_the_store_answers() -> None:
    bench = Bench()
    async with asyncio.timeout(10.0), asyncio.TaskGroup() as tasks:
        tasks.create_task(bench.health.pause(3600.0))
        await asyncio.sleep(0)
        await bench.health.probe()


async def test_a_pause_ends_by_itself() -> None:
    await Bench().health.pause(0.0)


async def test_watching_runs_probes_and_ends_when_one_finds_a_broken_store() -> None:
    bench = Bench()
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        bench.clock.advance(seconds)
        await asyncio.sleep(0)

    bench.health = StoreHealth(
        bench.store, bench.journal, bench.clock, interval=1.0, on_change=bench.told.append, sleep=sleep
    )
    bench.store.failure = StoreError("corrupt")
    with pytest.raises(ExceptionGroup) as ended:
        await bench.health.run()
    assert [str(error) for error in ended.value.exceptions] == ["corrupt"]
    assert slept[:4] == [0.25] * 4


async def test_an_error_of_the_machine_does_not_end_the_watching() -> None:
    bench = Bench()
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        bench.clock.advance(seconds)
        slept.append(seconds)
        await asyncio.sleep(0)
        if len(slept) == 16:
            raise KeyError("enough")

    def block_publishers(reason: str) -> None:
        bench.told.append(reason)
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    bench.health = StoreHealth(
        bench.store, bench.journal, bench.clock, interval=10.0, on_change=block_publishers, sleep=sleep
    )
    bench.journal.is_failing = True
    with pytest.raises(ExceptionGroup, match="unhandled errors"):
        await bench.health.run()
    assert bench.told == ["store unavailable: it cannot be written"]
    assert len(slept) == 16
