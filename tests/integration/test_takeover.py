"""Two brokers that are not clustered on one store: the second waits, and takes over when the first is gone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pika
import pytest

from benchmarks.nodes.configuration import NodeConfiguration
from benchmarks.nodes.process import READY, BrokerProcess
from tests.support.databases import DatabaseServer

WAITING = "waiting to take over from the broker that has the store"


@pytest.fixture(
    params=["sqlite", *(pytest.param(engine, marks=pytest.mark.slow) for engine in ("mariadb", "postgresql"))]
)
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[BrokerProcess, BrokerProcess]]:
    """Two brokers that are not started, on one database."""
    url, server, name = f"jdbc:sqlite:{tmp_path}/mb.db", None, ""
    if request.param != "sqlite":
        server = request.getfixturevalue(request.param)
        assert isinstance(server, DatabaseServer)
        name = server.create_database()
        url = server.jdbc_url(name)
    first, second = (BrokerProcess(tmp_path / each, NodeConfiguration(url)) for each in ("first", "second"))
    yield first, second
    for broker in (first, second):
        print(broker.log)
        broker.close()
    if server is not None:
        server.drop_database(name)


def test_the_second_serves_what_the_first_had_when_that_is_killed(pair: tuple[BrokerProcess, BrokerProcess]) -> None:
    first, second = pair
    first.start()
    with pika.BlockingConnection(pika.URLParameters(first.url)) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.queue_declare("q", durable=True)
        channel.basic_publish("", "q", b"kept", pika.BasicProperties(delivery_mode=2))
    second.spawn()
    waiting = second.output.wait_for(WAITING)
    assert "is in use by" in waiting["reason"]
    assert READY not in second.log
    first.kill9()
    second.output.wait_for(READY, 60.0)
    with pika.BlockingConnection(pika.URLParameters(second.url)) as connection:
        assert connection.channel().basic_get("q", auto_ack=True)[2] == b"kept"
    assert second.stop() == 0


def test_one_that_waits_stops_when_it_is_asked(tmp_path: Path) -> None:
    url = f"jdbc:sqlite:{tmp_path}/mb.db"
    first, second = (BrokerProcess(tmp_path / each, NodeConfiguration(url)) for each in ("first", "second"))
    first.start()
    second.spawn()
    second.output.wait_for(WAITING)
    assert second.stop() == 0
    assert first.stop() == 0
