"""A broker on each engine, for tests that ask the same of all three."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.nodes.configuration import NodeConfiguration
from benchmarks.nodes.process import BrokerProcess
from tests.support.databases import DatabaseServer


@pytest.fixture(params=["sqlite", "mariadb", "postgresql"])
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BrokerProcess]:
    """A broker on an engine of its own."""
    configuration, server, name = None, None, ""
    if request.param != "sqlite":
        server = request.getfixturevalue(request.param)
        assert isinstance(server, DatabaseServer)
        name = server.create_database()
        configuration = NodeConfiguration(server.jdbc_url(name))
    process = BrokerProcess(tmp_path / "broker", configuration)
    process.start()
    yield process
    print(process.log)
    if process.is_running():
        process.stop()
    if server is not None:
        server.drop_database(name)
