"""Permissions in a cluster: what one node changes holds for the connections of another at once."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from uuid import uuid4

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel

from benchmarks.nodes.process import BrokerProcess
from tests.cluster.clients import consume, process_until, ready
from tests.support import forked
from tests.support.cluster import ClusterOfProcesses


def admin(node: BrokerProcess, *arguments: str) -> object:
    done = forked.run("-m", "broker", "admin", "--config", str(node.config), "--json", *arguments)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def connect() -> Iterator[Callable[[BrokerProcess, str], BlockingChannel]]:
    """Opens a channel on a connection of its own, which ends with the test."""
    connections: list[pika.BlockingConnection] = []

    def open_channel(node: BrokerProcess, user: str) -> BlockingChannel:
        credentials = pika.PlainCredentials(user, "secret")
        parameters = pika.ConnectionParameters("127.0.0.1", node.port, credentials=credentials, heartbeat=0)
        connections.append(pika.BlockingConnection(parameters))
        return connections[-1].channel()

    yield open_channel
    for connection in connections:
        with suppress(pika.exceptions.AMQPError):
            connection.close()


def test_what_is_revoked_on_one_node_is_refused_on_the_other_within_a_second(
    pair: ClusterOfProcesses, connect: Callable[[BrokerProcess, str], BlockingChannel], name: str
) -> None:
    user = f"u{uuid4().hex[:8]}"
    admin(pair[0], "add-user", user, "secret")
    admin(pair[0], "set-permissions", user, "/", ".*", ".*", ".*")
    publisher, reader = connect(pair[1], user), connect(pair[1], user)
    publisher.queue_declare(name)
    publisher.confirm_delivery()
    publisher.basic_publish("", name, b"before")
    consumer = consume(reader, name)
    consumer.wait(1)
    admin(pair[0], "set-permissions", user, "/", "", "", "")
    revoked = time.monotonic()
    process_until(reader, lambda: bool(consumer.cancelled))
    with pytest.raises(pika.exceptions.ChannelClosedByBroker, match=r"write access to exchange 'amq\.default'"):
        publisher.basic_publish("", name, b"after")
    assert time.monotonic() - revoked < 1.0
    admin(pair[1], "delete-user", user)
    with pytest.raises(pika.exceptions.ConnectionClosedByBroker, match=f"user '{user}' is deleted"):
        process_until(reader, lambda: False)


def test_a_policy_of_one_node_holds_on_the_other(
    pair: ClusterOfProcesses, connect: Callable[[BrokerProcess, str], BlockingChannel], name: str
) -> None:
    user = f"u{uuid4().hex[:8]}"
    admin(pair[0], "add-user", user, "secret")
    admin(pair[0], "set-permissions", user, "/", ".*", ".*", ".*")
    channel = connect(pair[1], user)
    channel.queue_declare(name, durable=True)
    for number in range(3):
        channel.basic_publish("", name, b"%d" % number)
    admin(pair[0], "set-policy", "/", name, f"^{name}$", '{"max-length": 1}')
    process_until(channel, lambda: ready(channel, name)[0] == 1)  # the other node keeps the length and tells it
    for node in pair.nodes:
        queues = admin(node, "list-queues", "/")
        assert [queue["policy"] for queue in queues if queue["name"] == name] == [name]  # type: ignore[attr-defined]
    admin(pair[1], "clear-policy", "/", name)
    channel.basic_publish("", name, b"more")
    process_until(channel, lambda: ready(channel, name)[0] == 2)


def test_nodes_of_a_database_have_one_generated_password_and_one_has_its_file(pair: ClusterOfProcesses) -> None:
    (file,) = [file for node in pair.nodes for file in node.config.parent.glob("data/**/*.admin-password")]
    password = file.read_text().splitlines()[0]
    for node in pair.nodes:
        credentials = pika.PlainCredentials("admin", password)
        pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", node.port, credentials=credentials)).close()
        assert password not in node.log
