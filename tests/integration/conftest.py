"""One broker process for the session, and names that no other test uses.

With `CORDILLERA_TEST_URL` the client tests run against that broker instead, so the same assertions can be held
against RabbitMQ.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from uuid import uuid4

import pytest

from benchmarks.nodes.configuration import NodeConfiguration
from benchmarks.nodes.ports import quiet_port
from benchmarks.nodes.process import BrokerProcess

EXTERNAL_URL = os.environ.get("CORDILLERA_TEST_URL")


@pytest.fixture(scope="session")
def session_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    """The broker all client tests share."""
    folder = tmp_path_factory.mktemp("broker")
    broker = BrokerProcess(folder, NodeConfiguration(f"jdbc:sqlite:{folder}/data/mb.db", http_port=quiet_port()))
    broker.start()
    yield broker
    if broker.is_running():
        broker.stop()


@pytest.fixture
def amqp_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of the broker under test; what it logged meanwhile is printed, so a failure report shows it."""
    if EXTERNAL_URL:
        yield EXTERNAL_URL
        return
    broker: BrokerProcess = request.getfixturevalue("session_broker")
    before = len(broker.log)
    yield broker.url
    print(broker.log[before:])
    assert broker.is_running(), f"the broker died\n{broker.log}"


@pytest.fixture
def api_url(session_broker: BrokerProcess, amqp_url: str) -> str:
    """The address of the HTTP API of that broker, with a login."""
    if EXTERNAL_URL:
        pytest.skip("needs this broker's HTTP API")
    configuration = session_broker.configuration
    return f"http://guest:guest@{session_broker.host}:{configuration.http_port + session_broker.number}"


@pytest.fixture
def own_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    """A broker of this test's own, to be killed and restarted."""
    if EXTERNAL_URL:
        pytest.skip("needs a broker it may restart")
    broker = BrokerProcess(tmp_path_factory.mktemp("own"))
    broker.start()
    yield broker
    print(broker.log)
    if broker.is_running():
        broker.stop()


@pytest.fixture
def differs_from_rabbitmq_3_10() -> None:
    """Skips on an external broker what the contract takes from newer RabbitMQ versions."""
    if EXTERNAL_URL:
        pytest.skip("RabbitMQ 3.10 answers otherwise")


@pytest.fixture
def unique() -> Callable[[str], str]:
    """Makes names that no other test uses."""
    return lambda word: f"{word}.{uuid4().hex[:12]}"
