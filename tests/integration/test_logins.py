"""An administrator with a password of one's own, and those who do not know it: ADR 49."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pika
import pika.exceptions
import pytest

from benchmarks.nodes.process import BrokerProcess

ADMIN = {"RABBITMQ_DEFAULT_USER": "root", "RABBITMQ_DEFAULT_PASS": "correct horse"}


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    broker = BrokerProcess(tmp_path_factory.mktemp("logins"), environ=ADMIN)
    broker.start()
    yield broker
    broker.stop()


def connect(broker: BrokerProcess, user: str, password: str) -> pika.BlockingConnection:
    credentials = pika.PlainCredentials(user, password)
    return pika.BlockingConnection(pika.ConnectionParameters(broker.host, broker.port, credentials=credentials))


def refused(broker: BrokerProcess, user: str, password: str) -> bool:
    with pytest.raises(pika.exceptions.ProbableAuthenticationError):
        connect(broker, user, password)
    return True


def test_the_administrator_logs_in_again_and_again(broker: BrokerProcess) -> None:
    connections = [connect(broker, "root", "correct horse") for _ in range(20)]
    for connection in connections:
        connection.close()


def test_guesses_are_refused_and_then_held_back_while_others_log_in(broker: BrokerProcess) -> None:
    assert all(refused(broker, "mallory", f"guess {number}") for number in range(7))
    (held, *_) = [
        json.loads(line) for line in broker.log.splitlines() if "logins are held back after wrong passwords" in line
    ]
    assert (held["user"], held["peer"], held["seconds"]) == ("mallory", "127.0.0.1", 1.0)
    connect(broker, "root", "correct horse").close()
    connect(broker, "guest", "guest").close()
    assert "correct horse" not in broker.log
    assert "guess " not in broker.log
