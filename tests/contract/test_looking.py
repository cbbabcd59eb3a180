"""A store is looked at before a start: what is found is what opening it would find, and nothing is changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from broker.errors import ConfigError
from broker.ports.store import Store
from broker.store.server.opening import server_store
from tests.contract.conftest import KINDS
from tests.contract.harness import memory_maker, server_maker, sqlite_maker
from tests.contract.nodes import OnServer
from tests.support.databases import DatabaseServer
from tests.support.wso2_database import Wso2Database


@pytest.fixture(params=KINDS)
def make_new_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Store]]:
    """Makes stores of a database in which nothing has ever been."""
    if request.param in ("memory", "sqlite"):
        yield memory_maker(tmp_path) if request.param == "memory" else sqlite_maker(tmp_path)
        return
    server: DatabaseServer = request.getfixturevalue(request.param)
    database = server.create_database()
    yield server_maker(server, database)
    server.drop_database(database)


async def test_a_store_is_new_until_it_is_opened(make_new_store: Callable[[], Store]) -> None:
    looked_at = make_new_store()
    assert (await looked_at.look()).is_new
    assert (await looked_at.look()).is_new
    await looked_at.open()
    await looked_at.register("node-a")
    await looked_at.resign()
    await looked_at.close()
    found = await make_new_store().look()
    assert found.is_new is (type(looked_at).__name__ == "MemoryStore")
    assert not any("is in use" in remark for remark in found.remarks)


async def test_who_has_a_store_is_told(make_store: Callable[[], Store]) -> None:
    holder = make_store()
    if type(holder).__name__ == "MemoryStore":
        return
    await holder.open()
    await holder.register("node-a")
    try:
        found = await make_store().look()
    finally:
        await holder.close()
    assert "is in use by " in found.remarks[0]
    await holder.open()
    await holder.close()


async def test_a_node_of_a_cluster_is_told_to_a_broker_that_wants_the_database_for_itself(on_server: OnServer) -> None:
    alone, shared = server_maker(on_server.server, on_server.database)(), on_server.nodes.make()
    await on_server.nodes.join("a")
    assert any("is in use by the node 'a' of a cluster" in each for each in (await alone.look()).remarks)
    assert not any("is in use" in each for each in (await shared.look()).remarks)


@pytest.fixture
def database(database_server: DatabaseServer) -> Iterator[Wso2Database]:
    made = Wso2Database(database_server)
    yield made
    made.close()


@pytest.mark.parametrize("database_server", ["mariadb", "postgresql"], indirect=True)
async def test_wso2s_tables_are_found_and_stay_where_they_are(database: Wso2Database) -> None:
    before = database.tables()
    found = await server_store(database.datasource).look()
    assert (found.is_new, database.tables()) == (True, before)
    assert "with nothing in them: the start sets them aside" in found.remarks[0]

    database.first_start().queue("orders")
    database.fill()
    with pytest.raises(ConfigError) as by_look:
        await server_store(database.datasource).look()
    with pytest.raises(ConfigError) as by_open:
        await server_store(database.datasource).open()
    assert str(by_look.value) == str(by_open.value)
    assert database.tables() == before
