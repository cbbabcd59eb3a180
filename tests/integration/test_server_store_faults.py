"""The store in a database server whose connections are cut or hang, without a broker above it.

What it raises and when, and what the database has afterwards (ADR 15).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator

import pytest

from broker.config.connection_options import connection_options
from broker.config.datasources import PoolConfiguration
from broker.errors import StoreUnavailable
from broker.ports.store import Batch
from broker.store.server.dialect import Dialect, Marker
from broker.store.server.engine import Failure
from broker.store.server.mysql import MySql
from broker.store.server.opening import server_store
from broker.store.server.postgresql import PostgreSql
from broker.store.server.store import ServerStore
from tests.support.databases import PASSWORD, USER, DatabaseServer
from tests.support.proxy import Proxy
from tests.support.storm import COMMITS, SHORT_TIMEOUTS

LOCKS = {"mariadb": b"GET_LOCK", "postgresql": b"pg_try_advisory_lock"}
FLUSHED = {
    "mariadb": "SELECT VARIABLE_VALUE FROM information_schema.GLOBAL_STATUS WHERE VARIABLE_NAME = 'INNODB_LSN_FLUSHED'",
    "postgresql": "SELECT pg_current_wal_flush_lsn()",
}
SET_PASSWORD = {
    "mariadb": f"ALTER USER {USER}@'%' IDENTIFIED BY '{{}}'",
    "postgresql": f"ALTER ROLE {USER} PASSWORD '{{}}'",
}


@pytest.fixture
def proxy(database_server: DatabaseServer) -> Iterator[Proxy]:
    with Proxy(database_server.port) as proxy:
        yield proxy


@pytest.fixture
async def store(database_server: DatabaseServer, database: str, proxy: Proxy) -> AsyncIterator[ServerStore]:
    """A store that is open and registered; it waits a second for each answer, and has idle connections."""
    url = database_server.jdbc_url(database, port=proxy.port) + SHORT_TIMEOUTS[database_server.kind]
    store = server_store(PoolConfiguration(url=url))
    await store.open()
    await store.register("node")
    yield store
    await store.close()


def dialect_of(server: DatabaseServer, database: str) -> Dialect:
    url = PoolConfiguration(url=server.jdbc_url(database)).store_url
    kind: type[MySql | PostgreSql] = MySql if server.kind == "mariadb" else PostgreSql
    return kind(url, connection_options(url)[0])


def incarnation(server: DatabaseServer, database: str) -> str:
    mark = "`" if server.kind == "mariadb" else '"'
    return server.sql(f"SELECT {mark}INCARNATION{mark} FROM {mark}MB_NODE{mark}", database)


def batches(server: DatabaseServer, database: str) -> list[str]:
    mark = "`" if server.kind == "mariadb" else '"'
    return server.sql(f"SELECT {mark}BATCH{mark} FROM {mark}MB_NODE_BATCH{mark} ORDER BY 1", database).split()


async def test_a_commit_whose_connection_was_cut_before_it_is_done_once(
    database_server: DatabaseServer, database: str, proxy: Proxy, store: ServerStore
) -> None:
    proxy.cut_before(COMMITS[database_server.kind])
    await until_written(store, Batch(high_water=1))
    assert (proxy.cuts, batches(database_server, database)) == (1, ["0", "1"])


async def test_a_commit_whose_connection_was_cut_after_it_is_not_done_again(
    database_server: DatabaseServer, database: str, proxy: Proxy, store: ServerStore
) -> None:
    proxy.cut_after(COMMITS[database_server.kind])
    await until_written(store, Batch(high_water=1))
    assert (proxy.cuts, batches(database_server, database)) == (1, ["0", "1"])


async def until_written(store: ServerStore, batch: Batch) -> None:
    """Write as the journal does: until it succeeds."""
    async with asyncio.timeout(20):
        while True:
            try:
                await store.write(batch)
            except StoreUnavailable:
                continue
            return


async def test_a_probe_that_is_cut_while_it_takes_its_lock_is_an_outage(
    database_server: DatabaseServer, proxy: Proxy, store: ServerStore
) -> None:
    proxy.cut()
    with pytest.raises(StoreUnavailable):
        await store.probe()
    proxy.cut_before(LOCKS[database_server.kind])
    with pytest.raises(StoreUnavailable):
        await store.probe()
    assert proxy.cuts == 1
    assert await store.probe() < 20


async def test_asking_through_an_idle_connection_that_hangs_fails_in_time(proxy: Proxy, store: ServerStore) -> None:
    proxy.hang()
    async with asyncio.timeout(20):
        with pytest.raises(StoreUnavailable):
            await store.reserve_queue_ids(1)
    proxy.resume()
    first, last = await store.reserve_queue_ids(1)
    assert first == last


async def test_a_store_that_hangs_is_closed_in_time(proxy: Proxy, store: ServerStore) -> None:
    proxy.hang()
    async with asyncio.timeout(20):
        await store.close()
    proxy.resume()


async def test_resolving_a_commit_puts_what_came_before_it_on_disk(
    database_server: DatabaseServer, database: str, store: ServerStore
) -> None:
    dialect = dialect_of(database_server, database)
    marker = Marker(0, incarnation(database_server, database), 1, "node")
    raw = await dialect.connect()
    before = database_server.sql(FLUSHED[database_server.kind], database)
    assert await dialect.last_batch(raw, marker) == 0
    assert database_server.sql(FLUSHED[database_server.kind], database) != before
    dialect.abort(raw)


async def test_a_password_that_is_changed_under_a_running_broker_is_an_outage(
    database_server: DatabaseServer, proxy: Proxy, store: ServerStore
) -> None:
    with contextlib.ExitStack() as finally_:
        finally_.callback(database_server.sql, SET_PASSWORD[database_server.kind].format(PASSWORD))
        database_server.sql(SET_PASSWORD[database_server.kind].format("another"))
        proxy.cut()
        for operation in (store.backlog, store.probe, lambda: store.write(Batch(high_water=1))):
            with pytest.raises(StoreUnavailable):
                await operation()
    await store.write(Batch(high_water=1))


async def test_a_connection_whose_server_vanishes_is_closed_by_the_system(
    database_server: DatabaseServer, database: str
) -> None:
    raw = await (dialect := dialect_of(database_server, database)).connect()
    transport = raw._writer.transport if database_server.kind == "mariadb" else raw._transport
    connected = transport.get_extra_info("socket")
    assert connected.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    assert connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 10
    assert connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 25_000
    dialect.abort(raw)


def test_a_socket_that_the_loop_has_closed_is_a_lost_connection(database_server: DatabaseServer) -> None:
    error = RuntimeError("unable to perform operation on <TCPTransport closed=True>; the handler is closed")
    assert dialect_of(database_server, "mb").failure(error) is Failure.LOST


def test_a_login_without_its_library_is_for_a_human(mariadb: DatabaseServer) -> None:
    error = RuntimeError("'cryptography' package is required for sha256_password or caching_sha2_password auth methods")
    assert dialect_of(mariadb, "mb").failure(error) is Failure.REFUSED


async def test_a_lock_is_free_after_the_silence_of_its_session_on_mariadb(mariadb: DatabaseServer) -> None:
    dialect = dialect_of(mariadb, database := mariadb.create_database())
    vanished, other = await dialect.connect(), await dialect.connect()

    assert await dialect.lock(vanished, "broker", wait=0.0, silence=1.0)
    assert not await dialect.lock(other, "broker", wait=0.0, silence=90.0)
    assert await dialect.lock(other, "broker", wait=10.0, silence=90.0)

    dialect.abort(vanished)
    dialect.abort(other)
    mariadb.drop_database(database)


async def test_postgresql_notices_a_machine_that_has_vanished_within_a_minute(postgresql: DatabaseServer) -> None:
    dialect = dialect_of(postgresql, database := postgresql.create_database())
    raw = await dialect.connect()

    settings = [
        int(await raw.fetchval("SELECT setting FROM pg_settings WHERE name = $1", f"tcp_keepalives_{name}"))
        for name in ("idle", "interval", "count")
    ]

    await raw.close()
    postgresql.drop_database(database)
    assert settings == [30, 10, 3]
