"""What waits for a database of WSO2's: in order, beside the loop, and over its outages."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection
from structlog.testing import capture_logs

from broker.errors import StoreError, StoreUnavailable
from broker.store.carbon import writer as module
from broker.store.carbon.writer import CarbonWriter


class Database:
    """Connections to nothing: what is run is noted, and fails as often as it is told."""

    where = "db/regdb"

    def __init__(self) -> None:
        self.failures: list[Exception] = []
        self.pauses: list[float] = []

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def run(self, function: Callable[[Connection], Any]) -> Any:
        if self.failures:
            raise self.failures.pop(0)
        return function(None)  # type: ignore[arg-type]

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        await asyncio.sleep(0)


@pytest.fixture
def database() -> Database:
    return Database()


async def written(writer: CarbonWriter, *jobs: asyncio.Future[None]) -> None:
    """Run the writer until these jobs are done."""
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(writer.run())
        await asyncio.wait(jobs)
        running.cancel()


async def test_what_comes_is_written_in_order_and_told(database: Database) -> None:
    writer, done = CarbonWriter(database, sleep=database.sleep), list[object]()
    jobs = [writer.put(name, lambda _, name=name: name, done.append) for name in ("a", "b")]
    assert writer.last is jobs[1]
    await written(writer, *jobs)
    assert done == ["a", "b"]
    assert (len(writer), writer.last) == (0, None)


async def test_a_database_that_is_away_is_tried_again_and_later_each_time(database: Database) -> None:
    writer, done = CarbonWriter(database, sleep=database.sleep), list[object]()
    database.failures = [StoreUnavailable("away"), StoreUnavailable("away"), StoreUnavailable("away")]
    with capture_logs() as logs:
        await written(writer, writer.put("a", lambda _: 1, done.append))
    assert done == [1]
    assert database.pauses == [0.5, 1.0, 2.0]
    assert [log["event"] for log in logs] == [
        "a database of WSO2's is away, what is to be written there waits",
        "a database of WSO2's is back",
    ]


async def test_what_the_database_refuses_is_told_and_holds_nothing_up(database: Database) -> None:
    writer, done = CarbonWriter(database, sleep=database.sleep), list[object]()
    database.failures = [StoreError("there is no such column")]
    with capture_logs() as logs:
        await written(writer, writer.put("a", lambda _: 1, done.append), writer.put("b", lambda _: 2, done.append))
    assert done == [2]
    assert [(log["what"], log["reason"]) for log in logs] == [("a", "there is no such column")]


async def test_what_is_too_much_is_told_and_not_kept(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_WAITING", 1)
    writer = CarbonWriter(database, sleep=database.sleep)
    first = writer.put("a", lambda _: 1)
    with capture_logs() as logs:
        assert writer.put("b", lambda _: 2).done()
    assert [log["what"] for log in logs] == ["b"]
    await written(writer, first)


async def test_a_node_that_stops_says_what_it_could_not_write(database: Database) -> None:
    writer = CarbonWriter(database, sleep=database.sleep)
    writer.tell_what_is_left()
    writer.put("a", lambda _: 1)
    with capture_logs() as logs:
        await writer.drain(0.0)
        writer.tell_what_is_left()
    assert [log["changes"] for log in logs] == [["a"]]
