"""When the settings of the database are judged again, and what comes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from structlog.testing import capture_logs

from broker.errors import StoreUnavailable
from broker.store.safety_watch import SafetyWatch
from tests.support.clock import FakeClock

LINE = "there are standbys, but synchronous_standby_names is empty"


class Store:
    """A database whose settings a test changes."""

    def __init__(self) -> None:
        self.connects = 1
        self.judged = self.distrusted = 0
        self.findings: Sequence[str] = ()
        self.is_away = False

    async def check_safety(self) -> Sequence[str]:
        self.judged += 1
        if self.is_away:
            raise StoreUnavailable("away")
        return self.findings

    async def distrust(self) -> None:
        self.distrusted += 1


class Watched:
    """A watch that goes on by a second whenever a test says so."""

    def __init__(self) -> None:
        self.store = Store()
        self.clock = FakeClock()
        self.watch = SafetyWatch(self.store, self.clock, self._sleep)
        self._seconds = 0

    async def _sleep(self, seconds: float) -> None:
        if not self._seconds:
            raise asyncio.CancelledError
        self._seconds -= 1
        self.clock.advance(seconds)

    async def go_on(self, seconds: int) -> None:
        self._seconds = seconds
        with pytest.raises(asyncio.CancelledError):
            await self.watch.run()


@pytest.fixture
def watched() -> Watched:
    return Watched()


async def test_settings_are_judged_every_ten_seconds(watched: Watched) -> None:
    await watched.watch.judge()

    await watched.go_on(9)
    assert watched.store.judged == 1

    await watched.go_on(2)
    assert watched.store.judged == 2


async def test_settings_are_judged_within_a_second_of_a_new_connection(watched: Watched) -> None:
    await watched.watch.judge()
    watched.store.connects += 1
    watched.store.findings = [LINE]

    await watched.go_on(1)

    assert watched.watch.findings == [LINE]
    assert watched.store.distrusted == 1


async def test_a_database_that_is_away_is_asked_again(watched: Watched) -> None:
    watched.store.is_away = True

    await watched.go_on(3)

    assert watched.store.judged >= 1
    assert watched.watch.findings == ()


async def test_what_is_wrong_is_told_once_and_that_it_was_mended(watched: Watched) -> None:
    watched.store.findings = [LINE]
    with capture_logs() as logs:
        await watched.watch.judge()
        await watched.watch.judge()
        watched.store.findings = []
        await watched.watch.judge()

    assert [line["event"] for line in logs] == [
        "the database can lose what it has committed",
        "the database does not lose what it commits any more",
    ]
