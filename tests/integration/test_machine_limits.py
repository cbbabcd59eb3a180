"""A broker on a machine that refuses: too few file descriptors, too little memory."""

from __future__ import annotations

import os
import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pika
import pytest

from benchmarks.nodes.process import BROKER, BrokerProcess
from broker.codec.constants import PROTOCOL_HEADER
from tests.integration.conftest import EXTERNAL_URL
from tests.support.waiting import wait_until

DESCRIPTORS = 256
LIMITED = ("sh", "-c", f'ulimit -n {DESCRIPTORS}; exec "$@"', "sh", *BROKER)


@pytest.fixture(scope="module")
def limited_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    if EXTERNAL_URL:
        pytest.skip("needs a broker that it may limit")
    broker = BrokerProcess(tmp_path_factory.mktemp("limited"), command=LIMITED)
    broker.start()
    yield broker
    print(broker.log)
    if broker.is_running():
        broker.stop()


def connect(broker: BrokerProcess, said: bytes) -> socket.socket:
    connection = socket.create_connection((broker.host, broker.port))
    with suppress(OSError):
        connection.sendall(said)
    return connection


def as_many_as_may(parameters: pika.URLParameters) -> list[pika.BlockingConnection]:
    """Connect until the broker refuses."""
    clients: list[pika.BlockingConnection] = []
    with suppress(pika.exceptions.AMQPConnectionError):
        while len(clients) < DESCRIPTORS:
            clients.append(pika.BlockingConnection(parameters))
    return clients


def descriptors_of(broker: BrokerProcess) -> int:
    return len(os.listdir(f"/proc/{broker.pid}/fd"))


def test_connections_that_do_not_log_in_take_no_descriptor_from_the_store_or_from_others(
    limited_broker: BrokerProcess,
) -> None:
    broker = limited_broker
    with ExitStack() as stack:
        for number in range(DESCRIPTORS + 50):
            stack.enter_context(connect(broker, PROTOCOL_HEADER if number % 2 else b""))
        client = pika.BlockingConnection(pika.URLParameters(broker.url))
        channel = client.channel()
        channel.confirm_delivery()
        channel.queue_declare("q", durable=True)
        # Its body is kept in a file of its own.
        channel.basic_publish("", "q", b"x" * (1 << 18), pika.BasicProperties(delivery_mode=2), mandatory=True)
        assert descriptors_of(broker) < DESCRIPTORS - 32
        client.close()
    assert broker.is_running()


def test_clients_beyond_the_descriptors_are_refused_and_accepted_when_others_have_gone(
    limited_broker: BrokerProcess,
) -> None:
    broker = limited_broker
    parameters = pika.URLParameters(broker.url)
    with ExitStack() as stack:
        clients = [stack.enter_context(client) for client in as_many_as_may(parameters)]
        assert DESCRIPTORS // 2 < len(clients) < DESCRIPTORS - 32
        channel = clients[0].channel()
        channel.confirm_delivery()
        channel.queue_declare("q", durable=True)
        channel.basic_publish("", "q", b"x" * (1 << 18), pika.BasicProperties(delivery_mode=2), mandatory=True)
        told = "connections are refused: too few file descriptors are left"
        wait_until(lambda: told in broker.log, 10.0, "it is said", [broker])
        clients[-1].close()
        wait_until(lambda: is_accepted(parameters), 10.0, "there is a place again", [broker])


def is_accepted(parameters: pika.URLParameters) -> bool:
    try:
        pika.BlockingConnection(parameters).close()
    except pika.exceptions.AMQPConnectionError:
        return False
    return True


def test_a_broker_without_a_free_descriptor_goes_on_and_accepts_again_when_there_is_one(
    limited_broker: BrokerProcess,
) -> None:
    broker = limited_broker
    client = pika.BlockingConnection(pika.URLParameters(broker.url))
    channel = client.channel()
    channel.confirm_delivery()
    channel.queue_declare("q", durable=True)
    limits = resource.prlimit(broker.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(broker.pid, resource.RLIMIT_NOFILE, (3, limits[1]))
    with connect(broker, PROTOCOL_HEADER) as waiting:
        wait_until(lambda: "connections cannot be accepted" in broker.log, 10.0, "accept fails", [broker])
        for _ in range(300):  # about a second of work, in which every background task has its turn
            channel.basic_publish("", "q", b"m", pika.BasicProperties(delivery_mode=2), mandatory=True)
        resource.prlimit(broker.pid, resource.RLIMIT_NOFILE, limits)
        waiting.settimeout(10)
        assert waiting.recv(1) == b"\x01"  # connection.start
    channel.basic_publish("", "q", b"x" * (1 << 18), pika.BasicProperties(delivery_mode=2), mandatory=True)
    client.close()


def test_a_broker_whose_memory_is_used_up_loses_connections_and_goes_on(limited_broker: BrokerProcess) -> None:
    broker = limited_broker
    client = pika.BlockingConnection(pika.URLParameters(broker.url))
    channel = client.channel()
    channel.confirm_delivery()
    channel.queue_declare("q", durable=True)
    limits = resource.prlimit(broker.pid, resource.RLIMIT_AS)
    resource.prlimit(broker.pid, resource.RLIMIT_AS, (address_space(broker) + (4 << 20), limits[1]))
    with suppress(pika.exceptions.AMQPError):
        hog = pika.BlockingConnection(pika.URLParameters(broker.url))
        flooded = hog.channel()
        flooded.queue_declare("flooded", exclusive=True)
        for _ in range(10):
            flooded.basic_publish("", "flooded", b"x" * (4 << 20))
        hog.close()
    wait_until(lambda: "MemoryError" in broker.log, 10.0, "there is no memory", [broker])
    resource.prlimit(broker.pid, resource.RLIMIT_AS, limits)
    assert broker.is_running()
    channel.basic_publish("", "q", b"x" * (1 << 18), pika.BasicProperties(delivery_mode=2), mandatory=True)
    client.close()


def address_space(broker: BrokerProcess) -> int:
    pages = Path(f"/proc/{broker.pid}/statm").read_text().split()[0]
    return int(pages) * resource.getpagesize()
