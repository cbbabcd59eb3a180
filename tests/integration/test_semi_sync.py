"""Semi-synchronous replication of MariaDB: what the judgement of its settings says while the replica answers, while it
is away, and after the primary has given it up (invariant I91).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from broker.config.datasources import PoolConfiguration
from broker.errors import StoreUnsafe
from broker.ports.store import Batch
from broker.store.server.opening import server_store
from broker.store.server.store import ServerStore
from tests.support.databases import DatabaseMissing
from tests.support.standbys import MariaDBPair

SEEN_WITHIN = 30.0

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
    pair.primary.sql("SET GLOBAL rpl_semi_sync_master_timeout = 200")
    pair.standby.suspend()
    await store.write(Batch(high_water=2))

    await told(
        store,
        "rpl_semi_sync_master_enabled is ON, but no replica answers",
        "rpl_semi_sync_master_timeout is 200, less than 3600000:",
    )
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
