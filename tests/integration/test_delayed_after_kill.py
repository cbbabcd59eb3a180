"""Delayed messages over kill -9 of node and database: each that is confirmed comes, and none comes twice."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from random import Random

import aio_pika
import pytest

from benchmarks.nodes.configuration import NodeConfiguration
from benchmarks.nodes.process import BrokerProcess
from tests.support.databases import DatabaseServer
from tests.support.repeaters import contents

QUEUE = "due"
MESSAGES = 300
"""Of each round."""
LONGEST = 3.0
"""Seconds of delay."""
DEADLINE = 60.0


class Scheduler:
    """Publishes messages with delays, each with its own body, and knows which of them are confirmed."""

    def __init__(self, url: str, chance: Random) -> None:
        self._url = url
        self._chance = chance
        self.confirmed: set[str] = set()
        self.sent = 0

    async def publish(self, count: int) -> None:
        """Publish until something breaks, or all are confirmed."""
        with suppress(Exception):
            connection = await aio_pika.connect(self._url, timeout=5)
            async with connection:
                channel = await connection.channel()
                await channel.declare_queue(QUEUE, durable=True)
                await asyncio.gather(*(self._publish(channel) for _ in range(count)))

    async def _publish(self, channel: aio_pika.abc.AbstractChannel) -> None:
        self.sent += 1
        body, delay = str(self.sent), self._chance.randint(1, int(1000 * LONGEST))
        message = aio_pika.Message(body.encode(), headers={"x-delay": delay}, delivery_mode=2)
        await channel.default_exchange.publish(message, QUEUE)
        self.confirmed.add(body)


async def check(broker: BrokerProcess, server: DatabaseServer | None, *, rounds: int) -> str:
    chance = Random(rounds)
    scheduler = Scheduler(broker.url, chance)
    kills = 0
    for number in range(rounds):
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(scheduler.publish(MESSAGES))
            await asyncio.sleep(chance.uniform(0.1, LONGEST))  # some are being published, some are due
            victim = server if server is not None and number % 2 else broker
            await asyncio.to_thread(victim.kill9)
            await asyncio.to_thread(victim.start)
        kills += 1
    end = time.monotonic() + DEADLINE
    found: Counter[str] = Counter()
    while not scheduler.confirmed <= set(found) and time.monotonic() < end:
        await asyncio.sleep(LONGEST)
        found = await asyncio.to_thread(contents, broker.url, QUEUE)
    assert scheduler.confirmed - set(found) == set(), "confirmed, and has not come"
    assert {body: count for body, count in found.items() if count != 1} == {}, "has come more than once"
    assert len(scheduler.confirmed) > rounds, "nothing was confirmed between the faults"
    return f"{kills} kills, {scheduler.sent} published, {len(scheduler.confirmed)} confirmed, {len(found)} have come"


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("engine", ["sqlite", "mariadb", "postgresql"])
async def test_over_twenty_kills_each_delayed_message_comes_once(
    engine: str, request: pytest.FixtureRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server: DatabaseServer | None = None if engine == "sqlite" else request.getfixturevalue(engine)
    database = "" if server is None else server.create_database()
    configuration = None if server is None else NodeConfiguration(server.jdbc_url(database))
    broker = BrokerProcess(tmp_path / "broker", configuration)
    broker.start()
    try:
        figures = await check(broker, server, rounds=20)
    finally:
        print(broker.log)
        broker.close()
        if server is not None:
            server.heal()
            server.drop_database(database)
    with capsys.disabled():
        print(f"\n{engine}: {figures}")
