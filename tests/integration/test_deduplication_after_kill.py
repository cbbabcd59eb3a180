"""Publishers repeat everything after each fault of node, database and connections: each key is in the queue once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from benchmarks.nodes.configuration import NodeConfiguration
from benchmarks.nodes.process import BrokerProcess
from tests.support.databases import DatabaseServer
from tests.support.proxy import Proxy
from tests.support.repeaters import QUEUES, Repeater, contents, declare, rounds_of_repeats

KEYS = 100


async def check(broker: BrokerProcess, server: DatabaseServer | None, *, rounds: int) -> str:
    declare(broker.url)

    async def kill_node() -> None:
        await asyncio.to_thread(broker.kill9)
        await asyncio.to_thread(broker.start)

    async def kill_database() -> None:
        if server is not None:
            await asyncio.to_thread(server.kill9)
            await asyncio.to_thread(server.start)

    async def cut() -> None:
        await asyncio.to_thread(proxy.cut)

    faults: list[Callable[[], Awaitable[None]]] = (
        [kill_node, cut] if server is None else [kill_node, cut, kill_database]
    )
    with Proxy(broker.port) as proxy:
        repeaters = [Repeater(broker.url.replace(f":{broker.port}", f":{proxy.port}")) for _ in range(2)]
        order = [faults[number % len(faults)] for number in range(rounds)]
        keys = await rounds_of_repeats(repeaters, order, keys=KEYS, seed=rounds)
    for queue in QUEUES:
        found = await asyncio.to_thread(contents, broker.url, queue)
        assert {key: count for key, count in found.items() if count != 1} == {}, queue
        assert set(found) == set(keys), queue
    broken = sum(repeater.broken for repeater in repeaters)
    assert broken, "no fault has come while something was under way"
    return f"{len(keys)} keys, {sum(repeater.published for repeater in repeaters)} publishes, {broken} broken off"


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("engine", ["sqlite", "mariadb", "postgresql"])
async def test_twenty_rounds_of_repeats_leave_each_key_in_the_queue_once(
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
