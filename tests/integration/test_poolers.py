"""A pooler before PostgreSQL: one that lends sessions for a transaction is refused, one that keeps them is served."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from broker.config.datasources import PoolConfiguration
from broker.errors import ConfigError
from broker.ports.store import Batch
from broker.store.server.opening import server_store
from broker.store.server.store import ServerStore
from tests.contract.nodes import messages
from tests.support.databases import DatabaseMissing, DatabaseServer
from tests.support.pgbouncer import pgbouncer


@pytest.fixture
def pooled(request: pytest.FixtureRequest, postgresql: DatabaseServer) -> Iterator[ServerStore]:
    """A store behind PgBouncer in the mode of the test."""
    database = postgresql.create_database()
    try:
        with pgbouncer(postgresql, request.param) as port:
            yield server_store(PoolConfiguration(url=postgresql.jdbc_url(database, port=port)))
    except DatabaseMissing as error:
        pytest.skip(str(error))
    finally:
        postgresql.drop_database(database)


@pytest.mark.parametrize("pooled", ["transaction"], indirect=True)
async def test_a_pooler_that_lends_sessions_for_a_transaction_is_refused(pooled: ServerStore) -> None:
    with pytest.raises(ConfigError, match=r"lends sessions for one transaction \(PgBouncer: pool_mode=transaction\)"):
        await pooled.open()


@pytest.mark.parametrize("pooled", ["session"], indirect=True)
async def test_a_pooler_that_keeps_sessions_is_served(pooled: ServerStore) -> None:
    await pooled.open()
    await pooled.register("a")
    await pooled.write(Batch(inserts=messages(0, 1), high_water=1 << 18))

    assert [each.count for each in await pooled.backlog()] == [1]
    await pooled.close()
