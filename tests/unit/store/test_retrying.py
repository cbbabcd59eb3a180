"""Waiting for a store that is away: what is repeated, what is said, who waits for how long (ADR 14)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest
from structlog.testing import capture_logs

from broker.backoff import Backoff
from broker.errors import StoreError, StoreUnavailable, StoreWentBack
from broker.ports.records import Put, QueueRecord, Topology, VirtualHostRecord
from broker.ports.store import Batch
from broker.store.retrying import ClientTimeout, Retry, RetryingStore
from tests.support.clock import FakeClock
from tests.support.faulty_store import FaultyStore

AWAY = StoreUnavailable("away")


@dataclass
class Bench:
    """A store behind the seam, with time that passes while somebody sleeps; `heals_after` so many sleeps."""

    heals_after: int
    store: FaultyStore = field(default_factory=FaultyStore)
    clock: FakeClock = field(default_factory=FakeClock)
    slept: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        retry = Retry("will retry", Backoff(0.1, 1.0), sleep=self.sleep, monotonic=self.clock.monotonic)
        self.retrying = RetryingStore(self.store, retry)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.clock.advance(seconds)
        if len(self.slept) == self.heals_after:
            self.store.heal()


async def bench(heals_after: int = 0) -> Bench:
    made = Bench(heals_after)
    await made.store.open()
    return made


async def test_a_change_is_recorded_when_the_store_is_back() -> None:
    it = await bench(heals_after=5)
    it.store.fail(AWAY)
    await it.retrying.record([Put(VirtualHostRecord("/"))])
    assert it.slept == [0.1, 0.2, 0.4, 0.8, 1.0]
    assert await it.retrying.load() == Topology([VirtualHostRecord("/")])


async def test_a_change_whose_commit_was_not_answered_is_recorded_once() -> None:
    it = await bench(heals_after=1)
    it.store.fail(AWAY, after=True)
    await it.retrying.record([Put(VirtualHostRecord("/"))])
    assert it.store.calls["record"] == 2
    assert await it.retrying.load() == Topology([VirtualHostRecord("/")])


async def test_queue_ids_are_reserved_when_the_store_is_back() -> None:
    it = await bench(heals_after=1)
    it.store.fail(AWAY)
    assert await it.retrying.reserve_queue_ids(10) == (1, 10)


async def test_reads_are_repeated_too() -> None:
    it = await bench(heals_after=1)
    it.store.fail(AWAY)
    assert await it.retrying.backlog() == []


async def test_what_expires_is_asked_for_until_the_store_answers() -> None:
    it = await bench(heals_after=1)
    it.store.fail(AWAY)
    assert await it.retrying.earliest_due() == {}
    queue = QueueRecord("/", "orders", 7)
    it.store.fail(AWAY, "read_due", "next_due")
    it.slept.clear()
    assert await it.retrying.read_due(queue, 100, (0, 0), 10, 1000) == []
    it.store.fail(AWAY, "read_due", "next_due")
    it.slept.clear()
    assert await it.retrying.next_due(queue, (0, 0)) is None
    assert [it.store.calls[name] for name in ("earliest_due", "read_due", "next_due")] == [2, 2, 2]


async def test_a_long_outage_says_so_every_30_seconds() -> None:
    it = await bench(heals_after=60)
    it.store.fail(AWAY)
    with capture_logs() as logs:
        await it.retrying.load()
    assert 55 < sum(it.slept) < 60
    assert [(line["event"], line["reason"]) for line in logs] == [("will retry", "away")] * 2


async def test_what_will_never_succeed_is_not_repeated() -> None:
    it = await bench()
    it.store.fail(StoreError("corrupt"))
    with pytest.raises(StoreError, match="corrupt"):
        await it.retrying.load()
    assert it.slept == []


async def test_a_write_is_tried_once_and_its_failure_remembered() -> None:
    it = await bench()
    it.store.fail(AWAY)
    with pytest.raises(StoreUnavailable):
        await it.retrying.write(Batch())
    it.store.heal()
    await it.retrying.write(Batch())
    assert it.retrying.write_failure is AWAY
    assert it.slept == []


@pytest.mark.parametrize("operation", ["write", "probe"])
async def test_what_is_lost_is_kept_for_those_who_tell_the_clients(operation: str) -> None:
    store = FaultyStore()
    retrying = RetryingStore(store)
    store.fail(StoreWentBack("the database has lost 3 batches"))

    with pytest.raises(StoreWentBack):
        await (retrying.write(Batch()) if operation == "write" else retrying.probe())

    assert retrying.end_reason == "the database has lost 3 batches"


async def test_a_client_waits_no_longer_for_its_turn_than_its_timeout_during_an_outage() -> None:
    with pytest.raises(StoreUnavailable):
        await ClientTimeout(lambda: True, timeout=0.0)(asyncio.Event())


async def test_a_client_waits_for_its_turn_while_the_store_is_there() -> None:
    turn = asyncio.Event()
    asked: list[None] = []

    def is_away() -> bool:
        asked.append(None)
        if len(asked) == 3:
            turn.set()
        return False

    await ClientTimeout(is_away, timeout=0.0)(turn)
    assert len(asked) == 3
