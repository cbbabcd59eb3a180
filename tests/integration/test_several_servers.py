"""A store whose URL names two servers with different databases: nothing begins anew on the wrong one (ADR 88).

Each "server" is a proxy before the one real server; between two steps of a test the database behind them is exchanged.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from broker.config.datasources import PoolConfiguration
from broker.errors import StoreUnavailable
from broker.ports.store import Batch
from broker.store.server.opening import server_store
from broker.store.server.store import ServerStore
from tests.support.databases import PASSWORD, USER, DatabaseServer
from tests.support.proxy import Proxy
from tests.support.storm import SHORT_TIMEOUTS
from tests.support.waiting import wait_until


class TwoServers:
    """The addresses of two servers."""

    def __init__(self, server: DatabaseServer, database: str, first: Proxy, second: Proxy) -> None:
        self.server = server
        self.database = database
        self.first = first
        self.second = second

    @asynccontextmanager
    async def opened(self, *, alone: Proxy | None = None) -> AsyncIterator[ServerStore]:
        """Open a store over both servers, or over one."""
        places = ",".join(f"127.0.0.1:{each.port}" for each in ([alone] if alone else [self.first, self.second]))
        url = f"jdbc:{self.server.kind}://{places}/{self.database}?user={USER}&password={PASSWORD}"
        store = server_store(PoolConfiguration(url=url + SHORT_TIMEOUTS[self.server.kind]))
        await store.open()
        try:
            yield store
        finally:
            await store.close()

    def empty(self) -> None:
        """Let the servers have an empty database of the same name."""
        self.server.drop_database(self.database)
        self.server.create_again(self.database)

    def forget_identity(self) -> None:
        """Let the database be as an earlier version has left it."""
        mark = "`" if self.server.kind == "mariadb" else '"'
        sequence, status = f"{mark}MB_SEQUENCE{mark}", f"{mark}MB_MSG_STORE_STATUS{mark}"
        self.server.sql(f"DELETE FROM {sequence}; DELETE FROM {status};", self.database)

    @property
    def known(self) -> int:
        """How many servers the database has recorded."""
        mark = "`" if self.server.kind == "mariadb" else '"'
        table, name = f"{mark}MB_MSG_STORE_STATUS{mark}", f"{mark}NODE_ID{mark}"
        return int(self.server.sql(f"SELECT count(*) FROM {table} WHERE {name} LIKE '(server)%'", self.database))

    def lose_first(self) -> None:
        self.first.refuse()
        self.first.cut()

    @property
    def tables(self) -> int:
        schema = self.database if self.server.kind == "mariadb" else "public"
        of_brokers = f"table_schema='{schema}' AND table_name LIKE 'MB%'"
        return int(self.server.sql(f"SELECT count(*) FROM information_schema.tables WHERE {of_brokers}", self.database))


@pytest.fixture
def servers(database_server: DatabaseServer, database: str) -> Iterator[TwoServers]:
    with Proxy(database_server.port) as first, Proxy(database_server.port) as second:
        yield TwoServers(database_server, database, first, second)


async def refusal(servers: TwoServers) -> str:
    """Return why a store over both servers is not opened yet."""
    with pytest.raises(StoreUnavailable) as failure:
        async with servers.opened():
            pass
    return str(failure.value)


async def test_a_first_start_waits_until_both_servers_have_said_that_they_are_empty(servers: TwoServers) -> None:
    servers.lose_first()

    reason = await refusal(servers)

    assert f"127.0.0.1:{servers.second.port}/{servers.database} has no tables of this broker; " in reason
    assert f"127.0.0.1:{servers.first.port}/{servers.database} may have the messages and cannot be asked (" in reason
    assert servers.tables == 0
    servers.first.accept()
    async with servers.opened() as store:
        assert store.describe().endswith(f", 127.0.0.1:{servers.first.port}/{servers.database}")


async def test_a_standby_that_was_promoted_is_gone_on_with_while_the_other_server_is_away(servers: TwoServers) -> None:
    async with servers.opened():
        pass
    servers.lose_first()

    async with servers.opened() as store:
        assert store.describe().endswith(f", 127.0.0.1:{servers.second.port}/{servers.database}")


async def test_a_restart_begins_no_empty_broker_on_another_server(servers: TwoServers) -> None:
    async with servers.opened():
        pass
    servers.lose_first()
    servers.empty()

    assert "cannot be asked" in await refusal(servers)
    assert servers.tables == 0


async def test_a_restart_does_not_go_on_with_the_database_of_another_broker(servers: TwoServers) -> None:
    async with servers.opened():
        pass
    servers.lose_first()
    servers.empty()
    async with servers.opened(alone=servers.second):
        pass

    assert "has a database of this broker; " in await refusal(servers)
    async with servers.opened(alone=servers.second):
        """What the reason advises: without the server that is away it is clear which database is meant."""


async def test_servers_of_a_database_of_an_earlier_version_are_recorded_when_they_have_been_seen(
    servers: TwoServers,
) -> None:
    async with servers.opened():
        pass
    servers.forget_identity()
    async with servers.opened() as store:
        await store.check_safety()  # as a node does every few seconds
        await asyncio.to_thread(wait_until, lambda: servers.known == 2, 10.0, "both servers are recorded")
    servers.lose_first()

    async with servers.opened():
        """The second one knows the first."""


@pytest.mark.parametrize("is_begun", [False, True])
async def test_a_running_store_waits_beside_a_server_with_another_database(servers: TwoServers, is_begun: bool) -> None:
    async with servers.opened() as store:
        await store.register("node")
        await store.write(Batch(high_water=1))
        servers.lose_first()
        servers.empty()
        if is_begun:
            async with servers.opened(alone=servers.second):
                pass
        what = "another database" if is_begun else "no tables"

        for call in (lambda: store.write(Batch(high_water=2)), store.load):
            with pytest.raises(StoreUnavailable, match=f"this server has {what} of this broker, not the database of "):
                await call()


async def test_two_probes_at_once_do_not_use_one_connection_at_the_same_time(servers: TwoServers) -> None:
    """A start probes the store while its health is watched already."""
    async with servers.opened(alone=servers.first) as store:
        await store.register("node")

        assert all(await asyncio.gather(*(store.probe() for _ in range(4))))
        assert store.connects == 0


async def test_servers_that_were_away_are_asked_by_one_question_at_a_time(servers: TwoServers) -> None:
    class SlowChoice:
        is_complete = False
        asked = 0
        answered = asyncio.Event()

        async def ask_again(self) -> bool:
            self.asked += 1
            await self.answered.wait()
            return False

    async with servers.opened(alone=servers.first) as store:
        store._choice = choice = SlowChoice()  # type: ignore[assignment]
        for _ in range(3):
            await store.check_safety()
        assert choice.asked == 1
        choice.answered.set()
        while choice.asked == 1:
            await store.check_safety()
