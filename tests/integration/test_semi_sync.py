"""Semi-synchronous replication of MariaDB: what the judgement of its settings says while the replica answers, while it
is away, and after the primary has given it up (invariant I91).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress

import pytest
from structlog.testing import capture_logs

from broker.config.datasources import PoolConfiguration
from broker.errors import StoreUnavailable, StoreUnsafe
from broker.ports.records import Drop, GlobalParameterKey, GlobalParameterRecord, Put
from broker.ports.store import Batch
from broker.store.server.opening import server_store
from broker.store.server.store import ServerStore
from tests.support.databases import DatabaseMissing, ServerFailed
from tests.support.standbys import MariaDBPair

SEEN_WITHIN = 30.0
UNANSWERED = "commits were done that no replica has answered"
WAITING = "SELECT id FROM information_schema.processlist WHERE state LIKE 'Waiting for semi-sync ACK%'"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def pair() -> Iterator[MariaDBPair]:
    """A primary that waits for its replica as long as it takes."""
    try:
        servers = MariaDBPair()
    except DatabaseMissing as error:
        pytest.skip(str(error))
    with servers:
        yield servers


@pytest.fixture
async def store(pair: MariaDBPair) -> AsyncIterator[ServerStore]:
    """The store of a broker that commits nothing while a setting can lose it."""
    opened = server_store(PoolConfiguration(url=pair.url), demands_safety=True)
    await opened.open()
    await opened.register("a")
    yield opened
    await opened.close()


async def told(store: ServerStore, *beginnings: str) -> None:
    """Return when the findings begin so, and there are no others."""
    found: list[str] = []
    try:
        async with asyncio.timeout(SEEN_WITHIN):
            while True:
                found = await store.check_safety()
                if [line[: len(each)] for line, each in zip(found, beginnings, strict=False)] == list(beginnings):
                    assert len(found) == len(beginnings), found
                    return
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"not within {SEEN_WITHIN} s, but {found}") from None


async def test_a_replica_that_answers_makes_commits_safe(store: ServerStore) -> None:
    await told(store)
    await store.write(Batch(high_water=1))


async def test_a_replica_that_is_absent_is_told_before_commits_wait_for_it(
    pair: MariaDBPair, store: ServerStore
) -> None:
    pair.standby.kill9()

    await told(store, "rpl_semi_sync_master_enabled is ON, and no replica is connected")
    await store.distrust()
    with pytest.raises(StoreUnsafe, match="no replica is connected"):
        await store.write(Batch(high_water=1))

    pair.follow_again()
    await told(store)
    await store.write(Batch(high_water=1))


async def test_replication_that_has_become_asynchronous_is_told(pair: MariaDBPair, store: ServerStore) -> None:
    await store.write(Batch(high_water=1))  # over a connection that was judged before the setting was bad
    await store.check_safety()
    pair.primary.sql("SET GLOBAL rpl_semi_sync_master_timeout = 200")
    pair.standby.suspend()
    await store.write(Batch(high_water=2))

    with capture_logs() as logs:
        await told(
            store,
            "rpl_semi_sync_master_enabled is ON, but no replica answers",
            "rpl_semi_sync_master_timeout is 200, less than 3600000:",
        )
    unanswered = [line["commits"] for line in logs if line["event"] == UNANSWERED]
    assert sum(unanswered) >= 1
    await store.distrust()
    with pytest.raises(StoreUnsafe, match=r"but no replica answers.*; rpl_semi_sync_master_timeout is 200"):
        await store.write(Batch(high_water=3))

    pair.standby.resume()
    pair.primary.sql("SET GLOBAL rpl_semi_sync_master_timeout = 3600000")
    await told(store)
    await store.write(Batch(high_water=3))


async def test_a_primary_that_does_not_wait_without_replicas_is_told(pair: MariaDBPair, store: ServerStore) -> None:
    pair.primary.sql("SET GLOBAL rpl_semi_sync_master_wait_no_slave = OFF")

    await told(store, "rpl_semi_sync_master_wait_no_slave is OFF, not ON:")


CALLS: dict[str, Callable[[ServerStore], Awaitable[object]]] = {
    "a declaration": lambda store: store.record([Put(GlobalParameterRecord("anything"))]),
    "a deletion": lambda store: store.record([Drop(GlobalParameterKey("something"))]),
}


@pytest.mark.parametrize("what", CALLS)
async def test_what_a_replica_has_not_got_is_not_taken_for_done_when_the_session_that_waits_is_killed(
    pair: MariaDBPair, store: ServerStore, what: str
) -> None:
    """The server commits all the same, and the second time there is nothing left to write."""
    call = CALLS[what]
    await store.record([Put(GlobalParameterRecord("something"))])

    async def kill() -> None:
        while True:
            for waiting in (await asyncio.to_thread(pair.primary.sql, WAITING)).splitlines():
                with suppress(ServerFailed):  # it has ended by itself
                    await asyncio.to_thread(pair.primary.sql, f"KILL {waiting}")
            await asyncio.sleep(0.05)

    pair.standby.suspend()
    killing = asyncio.get_running_loop().create_task(kill())
    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            await call(store)
    killing.cancel()
    await asyncio.wait([killing])
    pair.standby.resume()
    await call(store)
