"""Connections of the pool that have gone stale while nobody used them (`testOnBorrow`, `validationInterval`)."""

from __future__ import annotations

import asyncio
from typing import Any

from broker.config.datasources import PoolConfiguration
from broker.errors import StoreUnavailable
from broker.store.server.opening import server_store
from tests.support.databases import DatabaseServer

CONNECTIONS = {
    "mariadb": "SELECT count(*) FROM information_schema.processlist WHERE db = '{0}'",
    "postgresql": "SELECT count(*) FROM pg_stat_activity WHERE datname = '{0}' AND pid <> pg_backend_pid()",
}
END_ALL = {
    "mariadb": "KILL USER broker",
    "postgresql": "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{0}'"
    " AND pid <> pg_backend_pid()",
}


def pool(server: DatabaseServer, database: str, **options: Any) -> PoolConfiguration:
    return PoolConfiguration(url=server.jdbc_url(database), validation_interval_ms=0, **options)


async def test_a_connection_that_is_alive_is_lent_again_after_a_ping(
    database_server: DatabaseServer, database: str
) -> None:
    store = server_store(pool(database_server, database))
    await store.open()
    await store.load()
    before = database_server.sql(CONNECTIONS[database_server.kind].format(database))

    for _ in range(5):
        await store.load()

    after = database_server.sql(CONNECTIONS[database_server.kind].format(database))
    await store.close()
    assert after == before


async def test_a_connection_that_the_server_has_ended_is_replaced(
    database_server: DatabaseServer, database: str
) -> None:
    store = server_store(pool(database_server, database))
    await store.open()
    before = await store.load()

    database_server.sql(END_ALL[database_server.kind].format(database))
    after = await store.load()

    await store.close()
    assert after == before


async def test_a_ping_without_an_answer_ends_with_the_socket_timeout(
    database_server: DatabaseServer, database: str
) -> None:
    seconds = {"mariadb": "socketTimeout=1000&connectTimeout=1000", "postgresql": "socketTimeout=1&connectTimeout=1"}
    url = f"{database_server.jdbc_url(database)}&{seconds[database_server.kind]}"
    store = server_store(PoolConfiguration(url=url, validation_interval_ms=0))
    await store.open()
    before = await store.load()

    database_server.suspend()
    loading = asyncio.gather(store.load(), return_exceptions=True)
    [answer] = await asyncio.wait_for(loading, 20)
    database_server.resume()

    assert isinstance(answer, StoreUnavailable)
    assert await store.load() == before
    await store.close()
