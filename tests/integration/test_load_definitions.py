"""Definitions that a node imports at its start."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pika
import pytest

from benchmarks.nodes.process import BROKER, BrokerProcess
from broker.auth.password_hash import new_argon2id

DEFINITIONS: dict[str, Any] = {
    "users": [
        {
            "name": "ann",
            "password_hash": new_argon2id("secret", b"salt" * 4).text,  # another one is renewed at the login
            "hashing_algorithm": "",
            "tags": "",
        }
    ],
    "vhosts": [{"name": "new"}],
    "permissions": [{"user": "ann", "vhost": "new", "configure": "", "write": ".*", "read": ".*"}],
    "queues": [{"name": "q", "vhost": "new", "durable": True, "auto_delete": False, "arguments": {}}],
    "bindings": [
        {
            "source": "amq.topic",
            "vhost": "new",
            "destination": "q",
            "destination_type": "queue",
            "routing_key": "a.#",
            "arguments": {},
        }
    ],
}


def channel_of(broker: BrokerProcess, user: str, password: str, vhost: str) -> Any:
    credentials = pika.PlainCredentials(user, password)
    parameters = pika.ConnectionParameters("127.0.0.1", broker.port, vhost, credentials, heartbeat=0)
    return pika.BlockingConnection(parameters).channel()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "definitions.json"
    path.write_text(json.dumps(DEFINITIONS))
    return path


def test_a_new_database_gets_what_the_file_has_instead_of_what_is_built_in(tmp_path: Path, file: Path) -> None:
    broker = BrokerProcess(tmp_path, command=[*BROKER, "--definitions", str(file)])
    broker.start()
    channel = channel_of(broker, "ann", "secret", "new")
    channel.confirm_delivery()
    channel.basic_publish("amq.topic", "a.b", b"1", pika.BasicProperties(delivery_mode=2), mandatory=True)
    with pytest.raises(pika.exceptions.ProbableAuthenticationError):
        channel_of(broker, "guest", "guest", "new")
    with pytest.raises(pika.exceptions.ProbableAccessDeniedError, match="vhost / not found"):
        channel_of(broker, "ann", "secret", "/")
    channel.connection.close()
    broker.stop()
    broker.start()
    imports = [line for line in broker.log.splitlines() if "definitions imported" in line]
    assert json.loads(imports[-1])["changes"] == 0
    channel = channel_of(broker, "ann", "secret", "new")
    assert channel.basic_get("q", auto_ack=True)[2] == b"1"
    channel.connection.close()
    broker.stop()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "cannot be read: No such file or directory"),
        ("[", "is no JSON: Expecting value: line 1 column 2 (char 1)"),
        ("[]", "definitions are a JSON object"),
        ('{"users": [{"name": "ann", "password": "x"}]}', "users[0]: a 'password' in plain text is not served"),
        ('{"queues": [{"name": "q", "vhost": "none"}]}', "queues[0]: there is no virtual host 'none'"),
    ],
)
def test_a_wrong_file_ends_the_start_with_one_line(tmp_path: Path, content: str | None, reason: str) -> None:
    file = tmp_path / "definitions.json"
    if content is not None:
        file.write_text(content)
    broker = BrokerProcess(tmp_path, command=[*BROKER, "--definitions", str(file)])
    with pytest.raises(Exception, match="ended"):
        broker.start()
    assert broker.exit_code == 78
    assert f"{file}: {reason}" in broker.log
    assert "Traceback" not in broker.log
