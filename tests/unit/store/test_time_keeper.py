"""How a node measures the store's time (ADR 46)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest
from structlog.testing import capture_logs

from broker.clock import StoreClock
from broker.errors import StoreUnavailable
from broker.message import MessageIdGenerator, first_id_at, published_ms
from broker.store.journal import HIGH_WATER_AHEAD
from broker.store.time_keeper import TimeKeeper
from tests.support.clock import FakeClock

WALL = 1_800_000_000_000


@dataclass
class Store:
    """Its clock is `ahead` of the machine's; each answer takes the next of `takes`, all of it on the way back."""

    machine: FakeClock
    ahead: int = 0
    takes: list[float] = field(default_factory=list)
    is_away: bool = False
    asked: int = 0

    async def time_ms(self) -> int:
        self.asked += 1
        if self.is_away:
            raise StoreUnavailable("away")
        answer = self.machine.wall_ms() + self.ahead
        if self.takes:
            self.machine.advance(self.takes.pop(0))
        return answer


class Bench:
    def __init__(self, ahead: int = 0, takes: list[float] | None = None) -> None:
        self.machine = FakeClock(wall_ms=WALL)
        self.store = Store(self.machine, ahead, takes or [])
        self.clock = StoreClock(self.machine)
        self.rounds = 0
        self.keeper = TimeKeeper(self.store, self.clock, sleep=self._sleep)

    async def _sleep(self, seconds: float) -> None:
        if not self.rounds:
            raise asyncio.CancelledError
        self.rounds -= 1
        self.machine.advance(seconds)

    @property
    def off(self) -> int:
        return self.clock.wall_ms() - self.machine.wall_ms() - self.store.ahead

    async def run(self, rounds: int) -> list[str]:
        """Return the lines of the log."""
        self.rounds = rounds
        with capture_logs() as logs, pytest.raises(asyncio.CancelledError):
            await self.keeper.run()
        return [line["event"].partition(":")[0] for line in logs]


async def test_the_quickest_of_the_first_answers_sets_the_clock() -> None:
    it = Bench(ahead=5000, takes=[2.0, 0.0, 1.0])

    await it.keeper.begin()

    assert it.off == 0


async def test_a_machine_with_another_time_is_noted_at_the_start() -> None:
    with capture_logs() as logs:
        await Bench(ahead=-60_000).keeper.begin()
        await Bench(ahead=900).keeper.begin()

    assert [(line["event"], line["seconds"]) for line in logs] == [
        ("the store's clock and this machine's differ", pytest.approx(-60.0, abs=0.001))
    ]


async def test_a_start_fails_while_the_store_is_away() -> None:
    it = Bench()
    it.store.is_away = True
    with pytest.raises(StoreUnavailable):
        await it.keeper.begin()


async def test_a_store_that_is_away_is_asked_again_later() -> None:
    it = Bench()
    await it.keeper.begin()
    it.store.is_away, it.store.asked = True, 0
    assert await it.run(3) == []
    it.store.is_away = False
    it.store.ahead += 100

    assert await it.run(2) == []

    assert it.store.asked == 5
    assert abs(it.off) <= 1


async def test_a_clock_of_the_store_that_jumps_is_said_once() -> None:
    it = Bench()
    await it.keeper.begin()
    it.store.ahead += 3_600_000
    told = await it.run(5)
    it.store.ahead -= 3_600_000

    assert told == ["the store's clock has jumped"]
    assert await it.run(5) == ["the store's clock has jumped"]


async def test_a_node_that_starts_again_waits_until_its_ids_tell_the_time() -> None:
    bench = Bench()
    used = first_id_at(WALL) + HIGH_WATER_AHEAD
    bench.rounds = 1
    await bench.keeper.wait_until_past(used)
    ids = MessageIdGenerator(0, used)
    ids.advance(bench.clock.wall_ms())
    assert published_ms(ids.next()) == bench.clock.wall_ms() == WALL + 1001


async def test_a_node_whose_clock_is_past_all_ids_does_not_wait() -> None:
    bench = Bench()
    await bench.keeper.wait_until_past(first_id_at(WALL) - 1)
    assert bench.machine.wall_ms() == WALL


async def test_a_node_does_not_wait_for_a_clock_that_was_set_back() -> None:
    bench = Bench()
    with capture_logs() as logs:
        await bench.keeper.wait_until_past(first_id_at(WALL + 3_600_000))
    assert [(line["log_level"], round(line["seconds"])) for line in logs] == [("warning", 3600)]
