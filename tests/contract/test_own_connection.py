"""The cluster's own connection to a real server: it waits for no pool, and for nothing for long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeAlias

import pytest
from sqlalchemy import Connection, update
from sqlalchemy.util import await_only

from broker.config.datasources import PoolConfiguration
from broker.errors import StoreUnavailable
from broker.ports.cluster_rows import Claim, Lease, Renew
from broker.store.server.opening import server_store
from broker.store.server.own_connection import OwnConnection
from broker.store.server.store import ServerStore
from broker.store.sql.cluster_store import SqlClusterStore
from broker.store.sql.schema import LEASE, SEQUENCE
from tests.contract.harness import own_connection
from tests.support.databases import DatabaseServer

Connect: TypeAlias = Callable[[float], Awaitable[OwnConnection]]

HELD = Lease(1, 0, "t1", "a")
RENEW = Renew(1, "t1", 0.0, 0.0)


@pytest.fixture
async def store(database_server: DatabaseServer, database: str) -> AsyncIterator[ServerStore]:
    """A store with one connection in its pool; its node coordinates."""
    store = server_store(PoolConfiguration(url=database_server.jdbc_url(database), max_active=1))
    await store.open()
    await store.cluster.claim(Claim(Lease(0, 0, "", None), "t1", 0.0, 0.0), "a", "127.0.0.1", 7611)
    yield store
    await store.close()


@pytest.fixture
async def connect(store: ServerStore, database_server: DatabaseServer, database: str) -> AsyncIterator[Connect]:
    """Makes further connections with the deadlines that are asked for."""
    made: list[OwnConnection] = []

    async def connected(deadline: float) -> OwnConnection:
        made.append(own_connection(database_server, database, deadline))
        await made[-1].open()
        return made[-1]

    yield connected
    for connection in made:
        await connection.close()


class Holder:
    """Somebody whose transaction has written a row and goes on for as long as the test wants."""

    def __init__(self, connection: OwnConnection, statement: object) -> None:
        self._connection = connection
        self._statement = statement
        self._written = asyncio.Event()
        self._released = asyncio.Event()

    async def __aenter__(self) -> None:
        self._group = await asyncio.TaskGroup().__aenter__()
        self._group.create_task(self._connection.run(self._hold, repeatable=False))
        await self._written.wait()

    async def __aexit__(self, *error: object) -> None:
        self._released.set()
        await self._group.__aexit__(None, None, None)

    def _hold(self, connection: Connection) -> None:
        connection.execute(self._statement)
        self._written.set()
        await_only(self._released.wait())


async def test_a_renewal_does_not_wait_for_the_pool(store: ServerStore, connect: Connect) -> None:
    await store.reserve_queue_ids(1)
    holder = Holder(await connect(20.0), update(SEQUENCE).values(next_value=SEQUENCE.c.next_value))
    async with asyncio.TaskGroup() as group, holder:
        waiting = group.create_task(store.reserve_queue_ids(1))
        assert await store.cluster.renew(RENEW, "a")
        assert not waiting.done()


async def test_a_question_that_is_not_answered_in_time_is_given_up(connect: Connect) -> None:
    connection = await connect(1.5)
    cluster = SqlClusterStore(connection.run)
    assert await cluster.read_lease() == HELD

    async with Holder(await connect(20.0), update(LEASE).values(beat=LEASE.c.beat)):
        with pytest.raises(StoreUnavailable, match=r"^127\.0\.0\.1:\d+/\w+ has not answered for 1\.\d+ s$"):
            await cluster.renew(RENEW, "a")
        assert await cluster.read_lease() == HELD


async def test_a_server_that_hangs_keeps_nobody_longer_than_the_deadline(
    connect: Connect, database_server: DatabaseServer
) -> None:
    cluster = SqlClusterStore((await connect(1.5)).run)
    await cluster.read_lease()
    loop = asyncio.get_running_loop()

    database_server.suspend()
    started = loop.time()
    calls = [cluster.read_lease(), cluster.renew(RENEW, "a"), cluster.nodes()]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    took = loop.time() - started
    database_server.resume()

    assert [type(answer) for answer in answers] == [StoreUnavailable] * 3
    assert took < 5.0


async def test_after_an_outage_the_first_question_is_answered(
    connect: Connect, database_server: DatabaseServer
) -> None:
    cluster = SqlClusterStore((await connect(5.0)).run)
    await cluster.read_lease()

    database_server.kill9()
    with pytest.raises(StoreUnavailable):
        await cluster.read_lease()
    database_server.start()

    assert await cluster.read_lease() == HELD


async def test_who_gives_up_before_the_deadline_leaves_the_connection_to_nobody(
    connect: Connect,
) -> None:
    cluster = SqlClusterStore((await connect(20.0)).run)
    await cluster.read_lease()

    async with Holder(await connect(20.0), update(LEASE).values(beat=LEASE.c.beat)):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await cluster.renew(RENEW, "a")
        async with asyncio.timeout(4.0):
            assert await cluster.read_lease() == HELD
