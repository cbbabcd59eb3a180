"""The database servers that tests share, and how tests start brokers.

Servers are started when the first test asks for one, and ended with the run.
A run may have several workers; each has its own servers, and its own share of the ports.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

from benchmarks.nodes.ports import share_ports
from benchmarks.nodes.process import launch_by
from tests.support import forked
from tests.support.database_products import Product
from tests.support.databases import DatabaseMissing, DatabaseServer, MariaDB, PostgreSQL, in_memory, lent

if (memory := in_memory()) is not None:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(memory))  # where `tmp_path` is: a sync costs nothing there


def pytest_configure() -> None:
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker is not None:
        share_ports(int(worker.removeprefix("gw")), int(os.environ["PYTEST_XDIST_WORKER_COUNT"]))
    if forked.IS_USED:
        launch_by(forked.launch)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    gc.disable()  # imports make next to no garbage
    try:
        return (yield)
    finally:
        # Thousands of tests live as long as the run; what a test makes is short-lived, as it is in a node.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 50)
        gc.enable()


def pytest_unconfigure() -> None:
    forked.close()


REQUIRED = os.environ.get("CORDILLERA_REQUIRE_DATABASES") == "1"


@pytest.fixture(scope="session")
def mariadb() -> Iterator[DatabaseServer]:
    """A private MariaDB server; a test leaves it running and removes its databases."""
    yield from serving(MariaDB)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[DatabaseServer]:
    """A private PostgreSQL server; a test leaves it running and removes its databases."""
    yield from serving(PostgreSQL)


@pytest.fixture(params=["mariadb", "postgresql"])
def database_server(request: pytest.FixtureRequest) -> Iterator[DatabaseServer]:
    """Each of the two servers in turn; it is made to run again when the test has left it otherwise."""
    server: DatabaseServer = request.getfixturevalue(request.param)
    yield server
    server.heal()


@pytest.fixture
def database(database_server: DatabaseServer) -> Iterator[str]:
    """An empty database on the server of the test, removed after it."""
    name = database_server.create_database()
    yield name
    database_server.heal()
    database_server.drop_database(name)


def serving(product: Callable[[], Product], parent: Path | None = None) -> Iterator[DatabaseServer]:
    """Run a server while the run lasts, with its data in `parent` or in memory; or use one that was lent."""
    running = lent.get(product) if parent is None else None
    if running is not None:
        yield running
        return
    server = started(product, parent)
    yield server
    server.close()


def started(product: Callable[[], Product], parent: Path | None = None) -> DatabaseServer:
    """Start a server; without its programs, skip or fail as the environment says."""
    try:
        return DatabaseServer(product(), parent)
    except DatabaseMissing as error:
        missing = str(error)
    if REQUIRED:
        pytest.fail(missing, pytrace=False)
    pytest.skip(missing)
