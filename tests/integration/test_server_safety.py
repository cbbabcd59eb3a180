"""What a database server says of its own settings (invariant I91), and that the health probe really writes."""

from __future__ import annotations

import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from broker.config.datasources import PoolConfiguration
from broker.errors import StoreUnavailable, StoreUnsafe
from broker.ports.store import Batch
from broker.store.server.opening import server_store
from broker.store.server.store import ServerStore
from tests.support.databases import DatabaseServer
from tests.support.waiting import wait_until

STAMP = {
    "mariadb": "SELECT TIME_STAMP FROM MB_MSG_STORE_STATUS WHERE NODE_ID = 'node'",
    "postgresql": 'SELECT "TIME_STAMP" FROM "MB_MSG_STORE_STATUS" WHERE "NODE_ID" = \'node\'',
}
LONG_AGO = {
    "mariadb": "UPDATE MB_MSG_STORE_STATUS SET TIME_STAMP = 1",
    "postgresql": 'UPDATE "MB_MSG_STORE_STATUS" SET "TIME_STAMP" = 1',
}
READ_ONLY = {
    "mariadb": ("SET GLOBAL read_only = 1", "SET GLOBAL read_only = 0"),
    "postgresql": (
        "ALTER SYSTEM SET default_transaction_read_only = on; SELECT pg_reload_conf()",
        "ALTER SYSTEM RESET default_transaction_read_only; SELECT pg_reload_conf()",
    ),
}


async def opened(server: DatabaseServer, database: str) -> AsyncIterator[ServerStore]:
    store = server_store(PoolConfiguration(url=server.jdbc_url(database)))
    await store.open()
    await store.register("node")
    yield store
    await store.close()


@pytest.fixture
async def store(database_server: DatabaseServer, database: str) -> AsyncIterator[ServerStore]:
    async for each in opened(database_server, database):
        yield each


@pytest.fixture
async def on_postgresql(postgresql: DatabaseServer) -> AsyncIterator[ServerStore]:
    name = postgresql.create_database()
    async for each in opened(postgresql, name):
        yield each
    postgresql.drop_database(name)


@pytest.fixture
async def on_mariadb(mariadb: DatabaseServer) -> AsyncIterator[ServerStore]:
    name = mariadb.create_database()
    async for each in opened(mariadb, name):
        yield each
    mariadb.drop_database(name)


async def test_a_server_with_the_settings_of_production_is_safe(store: ServerStore) -> None:
    assert await store.check_safety() == []


async def test_a_mariadb_that_flushes_once_a_second_is_not_safe(
    mariadb: DatabaseServer, on_mariadb: ServerStore
) -> None:
    mariadb.sql("SET GLOBAL innodb_flush_log_at_trx_commit = 2")
    try:
        (line,) = await on_mariadb.check_safety()
    finally:
        mariadb.sql("SET GLOBAL innodb_flush_log_at_trx_commit = 1")

    assert line.startswith("innodb_flush_log_at_trx_commit is 2, not 1:")


@pytest.fixture
def changed(postgresql: DatabaseServer) -> Iterator[dict[str, str]]:
    """Settings of PostgreSQL that a test has changed; they are as before after it."""
    settings: dict[str, str] = {}
    yield settings
    for name in settings:
        postgresql.sql(f"ALTER SYSTEM RESET {name}")
    postgresql.sql("SELECT pg_reload_conf()")


def change(server: DatabaseServer, changed: dict[str, str], name: str, value: str) -> None:
    changed[name] = value
    server.sql(f"ALTER SYSTEM SET {name} = '{value}'")
    server.sql("SELECT pg_reload_conf()")
    wait_until(lambda: server.sql(f"SHOW {name}") == value, 10.0, f"{name} is {value}")


async def test_a_postgresql_that_writes_no_full_pages_is_not_safe(
    postgresql: DatabaseServer, on_postgresql: ServerStore, changed: dict[str, str]
) -> None:
    change(postgresql, changed, "full_page_writes", "off")

    (line,) = await on_postgresql.check_safety()

    assert line.startswith("full_page_writes is off, not on:")


async def test_a_store_that_demands_safety_commits_nothing_while_a_setting_can_lose_it(
    postgresql: DatabaseServer, changed: dict[str, str]
) -> None:
    name = postgresql.create_database()
    store = server_store(PoolConfiguration(url=postgresql.jdbc_url(name)), demands_safety=True)
    await store.open()
    await store.register("node")
    await store.write(Batch(high_water=1))
    change(postgresql, changed, "full_page_writes", "off")
    await store.distrust()

    with pytest.raises(StoreUnsafe, match=r"^full_page_writes is off, not on:"):
        await store.write(Batch(high_water=2))

    change(postgresql, changed, "full_page_writes", "on")
    await store.write(Batch(high_water=2))
    await store.close()
    postgresql.drop_database(name)


@pytest.fixture
def standby(postgresql: DatabaseServer, tmp_path: Path) -> Iterator[None]:
    """Somebody receives the log of PostgreSQL as a standby does."""
    folder = tmp_path / "received"
    folder.mkdir()
    folder.chmod(0o777)
    receiver = Path(f"/proc/{postgresql.pid}/exe").resolve().with_name("pg_receivewal")
    command = [str(receiver), f"--host={postgresql.socket.parent}", f"--port={postgresql.port}", "--username=postgres"]
    process = subprocess.Popen([*command, f"--directory={folder}", "--synchronous", "--no-loop"])
    wait_until(lambda: postgresql.sql("SELECT count(*) FROM pg_stat_replication") == "1", 10.0, "a standby")
    yield
    process.terminate()
    process.wait()


@pytest.mark.usefixtures("standby")
async def test_a_postgresql_is_not_safe_when_its_standby_may_be_behind(
    postgresql: DatabaseServer, on_postgresql: ServerStore, changed: dict[str, str]
) -> None:
    (line,) = await on_postgresql.check_safety()
    change(postgresql, changed, "synchronous_standby_names", "pg_receivewal")

    assert line.startswith("there are standbys, but synchronous_standby_names is empty:")
    assert await on_postgresql.check_safety() == []


async def test_a_probe_writes_the_time_of_the_server(
    database_server: DatabaseServer, database: str, store: ServerStore
) -> None:
    await store.probe()
    database_server.sql(LONG_AGO[database_server.kind], database)

    await store.probe()

    stamp = int(database_server.sql(STAMP[database_server.kind], database))
    assert abs(stamp / 1000 - time.time()) < 60


async def test_a_probe_fails_where_nothing_can_be_written(database_server: DatabaseServer, store: ServerStore) -> None:
    begin, end = READ_ONLY[database_server.kind]
    await store.probe()
    database_server.sql(begin)
    try:
        with pytest.raises(StoreUnavailable):
            await fail_to_probe(store)
    finally:
        database_server.sql(end)


async def fail_to_probe(store: ServerStore) -> None:
    """Probe until it fails: a server takes a setting over a moment after it was told."""
    for _ in range(1000):
        await store.probe()
