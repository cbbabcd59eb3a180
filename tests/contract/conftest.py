"""Every contract runs over every store."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from broker.ports.store import Store
from tests.contract.harness import Harness, empty, memory_maker, server_maker, sqlite_maker
from tests.contract.nodes import Nodes, OnServer
from tests.support.databases import DatabaseServer

KINDS = ("memory", "sqlite", "mariadb", "postgresql")


@pytest.fixture(scope="session")
def mariadb_database(mariadb: DatabaseServer) -> Iterator[tuple[DatabaseServer, str]]:
    database = mariadb.create_database()
    yield mariadb, database
    mariadb.drop_database(database)


@pytest.fixture(scope="session")
def postgresql_database(postgresql: DatabaseServer) -> Iterator[tuple[DatabaseServer, str]]:
    database = postgresql.create_database()
    yield postgresql, database
    postgresql.drop_database(database)


@pytest.fixture(params=KINDS)
def make_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Store]]:
    """Makes stores over the same data, which are empty at first."""
    yield from store_maker(request.param, request, tmp_path)


@pytest.fixture(params=KINDS)
def make_shared_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Store]]:
    """Makes stores over the same data for the nodes of a cluster."""
    yield from store_maker(request.param, request, tmp_path, is_shared=True)


@pytest.fixture(params=["mariadb", "postgresql"])
async def on_server(request: pytest.FixtureRequest) -> AsyncIterator[OnServer]:
    """A cluster without nodes yet on a database server, which can be asked what is in its tables."""
    server, database = request.getfixturevalue(f"{request.param}_database")
    made = OnServer(server, database, Nodes(server_maker(server, database, is_shared=True)))
    yield made
    await made.nodes.close()
    empty(server, database)


@pytest.fixture
def short_lock_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that is refused is refused at once: nobody waits for a broker that has just ended."""
    monkeypatch.setattr("broker.store.server.store._LOCK_TIMEOUT", 0.5)


@pytest.fixture
async def nodes(make_shared_store: Callable[[], Store], request: pytest.FixtureRequest) -> AsyncIterator[Nodes]:
    """A cluster without nodes yet."""
    made = Nodes(make_shared_store, is_single=request.node.callspec.params["make_shared_store"] == "sqlite")
    yield made
    await made.close()


def store_maker(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, *, is_shared: bool = False
) -> Iterator[Callable[[], Store]]:
    """Yield what makes stores of one kind, and empty them afterwards; SQLite's are never shared."""
    if kind == "memory":
        yield memory_maker(tmp_path, is_shared=is_shared)
    elif kind == "sqlite":
        yield sqlite_maker(tmp_path)
    else:
        server, database = request.getfixturevalue(f"{kind}_database")
        yield server_maker(server, database, is_shared=is_shared)
        empty(server, database)


@pytest.fixture
async def harness(make_store: Callable[[], Store]) -> AsyncIterator[Harness]:
    started = await Harness.start(make_store)
    yield started
    await started.store.close()
