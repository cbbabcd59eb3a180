"""The cluster's own connection to a real server: it waits for no pool, and for nothing for long."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import TypeAlias

import pytest
from sqlalchemy import Connection, update
from sqlalchemy.util import await_only

from broker.config.datasources import PoolConfiguration
from broker.errors import StoreUnavailable
from broker.ports.cluster_rows import Claim, Incarnation, Lease, Renew
from broker.store.server.opening import server_store
from broker.store.server.own_connection import OwnConnection
from broker.store.server.store import ServerStore
from broker.store.sql.cluster_store import SqlClusterStore
from broker.store.sql.schema import FENCE, LEASE, SEQUENCE
from tests.contract.cluster_calls import beat, register
from tests.contract.harness import empty, own_connection
from tests.support.databases import DatabaseServer
from tests.support.proxy import Cut, Proxy

Connect: TypeAlias = Callable[[float], Awaitable[OwnConnection]]

HELD = Lease(1, 0, "t1", "a")
RENEW = Renew(1, "t1", 0.0, 0.0)


@pytest.fixture
def database(request: pytest.FixtureRequest, database_server: DatabaseServer) -> Iterator[str]:
    """The database of this server that contracts share, without a row of the test after it."""
    server, name = request.getfixturevalue(f"{database_server.kind}_database")
    yield name
    server.heal()
    empty(server, name)


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


def drivers_of(connection: OwnConnection) -> set[int]:
    """Return which of the driver's connections are open."""
    return {id(raw) for raw in connection._engine._connections}


class CountingProxy(Proxy):
    """Counts what clients send: each piece is a request that waits for its answer."""

    requests = 0

    def cut_for(self, tail: bytes, data: bytes) -> Cut | None:
        self.requests += 1
        return super().cut_for(tail, data)


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


async def test_a_thread_beats_over_connections_of_its_own_while_the_event_loop_is_held(store: ServerStore) -> None:
    await register(store.cluster, "a", "a1")
    incarnation, beaten = Incarnation("a", "a1"), threading.Event()

    async def beat_in_thread() -> None:
        async with store.cluster_beside() as cluster:
            if await beat(cluster, "a", "a1"):
                beaten.set()

    thread = threading.Thread(target=lambda: asyncio.run(beat_in_thread()))
    thread.start()
    assert beaten.wait(20.0)
    thread.join()
    row = await store.cluster.own_row("a")
    assert row is not None
    assert (row.incarnation, row.beat) == (incarnation.id, 1)


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


async def test_a_connection_whose_answer_is_late_is_kept_and_another_one_serves_meanwhile(connect: Connect) -> None:
    connection = await connect(0.6)
    cluster = SqlClusterStore(connection.run)
    await cluster.read_lease()
    first = drivers_of(connection)

    async with Holder(await connect(20.0), update(LEASE).values(beat=LEASE.c.beat)):
        with pytest.raises(StoreUnavailable, match=r" has not answered for 0\.6 s$"):
            await cluster.renew(RENEW, "a")
        assert await cluster.read_lease() == HELD
        both = drivers_of(connection)
    renewed = Lease(1, 1, "t1", "a")
    async with asyncio.timeout(5.0):
        while await cluster.read_lease() != renewed:
            pass
    async with asyncio.TaskGroup() as group:
        for _ in range(10):
            group.create_task(cluster.read_lease())
    assert len(first) == 1
    assert len(both) == 2
    assert drivers_of(connection) == both


async def test_a_transaction_whose_answer_is_late_is_cut_off_and_keeps_no_lock(connect: Connect) -> None:
    connection, other = await connect(0.6), await connect(5.0)
    cluster = SqlClusterStore(connection.run)

    async with Holder(await connect(20.0), update(FENCE).values(sequence=FENCE.c.sequence)):
        with pytest.raises(StoreUnavailable):
            await cluster.claim(Claim(HELD, "t2", 0.0, 0.0), "b", "127.0.0.1", 7611)
    async with asyncio.timeout(4.0):
        assert await SqlClusterStore(other.run).renew(RENEW, "a")


async def test_a_call_of_one_statement_is_one_round_trip(
    store: ServerStore, database_server: DatabaseServer, database: str
) -> None:
    with CountingProxy(database_server.port) as proxy:
        connection = own_connection(database_server, database, 5.0, port=proxy.port)
        await connection.open()
        cluster = SqlClusterStore(connection.run)
        await register(cluster, "a", "a1")

        async def ask() -> None:
            assert await beat(cluster, "a", "a1")
            await cluster.read_lease()
            await cluster.nodes()

        await ask()  # PostgreSQL prepares each statement the first time
        before = proxy.requests
        for _ in range(5):
            await ask()
        assert proxy.requests - before == 15
        await connection.close()


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
