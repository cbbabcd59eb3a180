"""PgBouncer before PostgreSQL: refused where it lends sessions for a transaction or a statement, served where it keeps
them.
"""

from __future__ import annotations

from collections.abc import Iterator

import asyncpg
import pytest

from broker.config.datasources import PoolConfiguration
from broker.errors import ConfigError
from broker.ports.store import Batch
from broker.store.server.opening import server_store
from broker.store.server.store import ServerStore
from tests.contract.nodes import messages
from tests.support.databases import PASSWORD, USER, DatabaseMissing, DatabaseServer
from tests.support.pgbouncer import pgbouncer


@pytest.fixture
def pooled(request: pytest.FixtureRequest, postgresql: DatabaseServer) -> Iterator[ServerStore]:
    """A store behind PgBouncer in the mode of the test."""
    database = postgresql.create_database()
    try:
        with pgbouncer(postgresql, *request.param) as port:
            yield server_store(PoolConfiguration(url=postgresql.jdbc_url(database, port=port)))
    except DatabaseMissing as error:
        pytest.skip(str(error))
    finally:
        postgresql.drop_database(database)


REFUSED = r"lends sessions for one transaction or one statement \(PgBouncer: pool_mode=transaction or statement\)"


@pytest.mark.parametrize(
    "pooled",
    [
        ("transaction",),
        ("transaction", "server_round_robin = 1"),
        ("transaction", "server_reset_query_always = 1"),
        ("statement",),
        ("statement", "server_round_robin = 1"),
    ],
    indirect=True,
    ids=" ".join,
)
async def test_a_pooler_that_lends_sessions_for_a_transaction_or_a_statement_is_refused(pooled: ServerStore) -> None:
    with pytest.raises(ConfigError, match=REFUSED):
        await pooled.open()


async def test_a_pooler_with_several_sessions_is_refused_whichever_it_lends(postgresql: DatabaseServer) -> None:
    database = postgresql.create_database()
    try:
        with pgbouncer(postgresql, "transaction", "server_round_robin = 1") as port:
            place = {"host": "127.0.0.1", "port": port, "user": USER, "password": PASSWORD, "database": database}
            others = [await asyncpg.connect(**place) for _ in range(3)]
            for other in others:
                await other.execute("BEGIN")
            for other in others:
                await other.execute("ROLLBACK")
            for _ in range(3):  # wherever its turn begins
                await others[0].execute("SELECT 1")
                with pytest.raises(ConfigError, match=REFUSED):
                    await server_store(PoolConfiguration(url=postgresql.jdbc_url(database, port=port))).open()
            for other in others:
                await other.close()
    except DatabaseMissing as error:
        pytest.skip(str(error))
    finally:
        postgresql.drop_database(database)


@pytest.mark.parametrize("pooled", [("session",)], indirect=True, ids=" ".join)
async def test_a_pooler_that_keeps_sessions_is_served(pooled: ServerStore) -> None:
    await pooled.open()
    await pooled.register("a")
    await pooled.write(Batch(inserts=messages(0, 1), high_water=1 << 18))

    assert [each.count for each in await pooled.backlog()] == [1]
    await pooled.close()
