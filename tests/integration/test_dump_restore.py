"""A database that was backed up by its own tool, and restored elsewhere: a broker goes on there with every message."""

from __future__ import annotations

import sys
import tarfile
import time
from pathlib import Path

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel

from benchmarks.nodes.configuration import NodeConfiguration
from benchmarks.nodes.process import BrokerProcess
from broker.cli.program import run as brokerctl
from tests.integration.channels import OpenChannel, channel_of
from tests.integration.test_paging import SMALL_MEMORY, drain, publish, waiting
from tests.support.databases import DatabaseServer

__all__ = ["channel_of"]

DEADLINE = 30.0
EVERY_OCTET = bytes(range(256))
SIZES = (0, 1, 256, 65_500, 65_501, 200_000, 1 << 20)
NAMES = ("e", "é", "a", "A", "a ", "a\0b", 'it\'s; "a" \\0 `b` --', "\N{PILE OF POO}", "é" * 127 + "e")
PERSISTENT = pika.BasicProperties(delivery_mode=2, headers={"é": [1, None, "\N{SNOWMAN}"], "octets": EVERY_OCTET})


def body(size: int) -> bytes:
    return (EVERY_OCTET * (size // 256 + 1))[:size]


def use(channel: BlockingChannel) -> None:
    """Leave messages of every size under every name, both in one queue and shared by several."""
    channel.confirm_delivery()
    channel.exchange_declare("every \N{SNOWMAN}", "topic", durable=True)
    for name in NAMES:
        channel.queue_declare(name, durable=True)
        channel.queue_bind(name, "every \N{SNOWMAN}", f"{name[:50]}.#", {"x-note": name})
        channel.queue_bind(name, "every \N{SNOWMAN}", "all")
        channel.basic_publish("", name, name.encode(), PERSISTENT, mandatory=True)
    for size in SIZES:
        channel.basic_publish("every \N{SNOWMAN}", "all", body(size), PERSISTENT, mandatory=True)
        channel.basic_publish("", "e", body(size), PERSISTENT, mandatory=True)


def take_all(channel: BlockingChannel, name: str) -> list[bytes]:
    """Take every message of a queue, all with the properties they were published with."""
    bodies: list[bytes] = []
    for _ in range(waiting(channel, name)):
        method, properties, octets = channel.basic_get(name, auto_ack=True)
        assert method is not None
        assert properties == PERSISTENT
        bodies.append(octets)
    return bodies


def test_a_broker_goes_on_with_every_message_of_a_restored_dump(
    tmp_path: Path, database_server: DatabaseServer, database: str, channel_of: OpenChannel
) -> None:
    old = broker_on(tmp_path / "old", database_server, database)
    old.start()
    use(channel_of(old))
    fill(channel_of(old))
    holder = channel_of(old)
    held = [holder.basic_get(name)[2] for name in NAMES]
    wait_until_spilled(database_server, database)

    backup = tmp_path / "backup.sql"
    assert brokerctl(["db", "backup", str(old.config), str(backup)], {}) == 0
    dump = backup.read_text("utf-8")
    old.kill9()
    restored = database_server.create_database()
    database_server.sql(dump, restored)
    new = broker_on(tmp_path / "new", database_server, restored)
    new.start()
    channel = channel_of(new)

    assert held == [name.encode() for name in NAMES]
    assert {name: take_all(channel, name) for name in NAMES} == {
        name: [name.encode(), *(octets for size in SIZES for octets in (body(size),) * (2 if name == "e" else 1))]
        for name in NAMES
    }
    assert waiting(channel, "spilled") == 0
    assert waiting(channel, "backlog") == 2000

    use(channel)
    channel.queue_declare("one more", durable=True)
    channel.basic_publish("", "one more", b"new", PERSISTENT, mandatory=True)
    channel.connection.close()
    more = channel_of(new)
    publish(more, "backlog", 1000, 1024, pika.DeliveryMode.Persistent, start=2000)
    more.connection.close()
    new.restart()
    channel = channel_of(new)

    drain(channel, "backlog", 3000, 1024)
    assert [len(take_all(channel, name)) for name in NAMES] == [1 + 2 * len(SIZES)] + [1 + len(SIZES)] * 8
    assert take_all(channel, "one more") == [b"new"]
    channel.connection.close()
    assert new.stop() == 0
    database_server.drop_database(restored)


@pytest.mark.slow
def test_a_broker_goes_on_with_every_message_of_an_archive(tmp_path: Path, channel_of: OpenChannel) -> None:
    old = BrokerProcess(tmp_path / "old", NodeConfiguration(f"jdbc:sqlite:{tmp_path}/data/mb.db"))
    old.start()
    use(channel_of(old))
    backup = tmp_path / "backup.tar"
    line = ["db", "backup", str(old.config), str(backup)]
    assert brokerctl(line, {}) == 78
    assert old.stop() == 0
    assert brokerctl(line, {}) == 0

    again = tmp_path / "again"
    with tarfile.open(backup) as archive:
        archive.extractall(again, filter="data")
    new = BrokerProcess(tmp_path / "new", NodeConfiguration(f"jdbc:sqlite:{again}/mb.db"))
    new.start()
    channel = channel_of(new)

    assert [len(take_all(channel, name)) for name in NAMES] == [1 + 2 * len(SIZES)] + [1 + len(SIZES)] * 8
    channel.connection.close()
    assert new.stop() == 0


def fill(channel: BlockingChannel) -> None:
    """Leave more in two queues than the broker keeps of them in memory."""
    channel.queue_declare("backlog", durable=True)
    publish(channel, "backlog", 2000, 1024, pika.DeliveryMode.Persistent)
    channel.queue_declare("spilled", durable=True)
    publish(channel, "spilled", 2000, 1024, pika.DeliveryMode.Transient)


def wait_until_spilled(server: DatabaseServer, database: str) -> None:
    """Return when there are rows of messages that must not survive a restart."""
    quote = "`" if server.kind == "mariadb" else '"'
    count = f"SELECT COUNT(*) FROM {quote}MB_METADATA{quote} WHERE {quote}QUEUE_ID{quote} < 0"
    end = time.monotonic() + DEADLINE
    while int(server.sql(count, database)) < 100:
        assert time.monotonic() < end, "nothing was spilled"
        time.sleep(0.05)


def broker_on(directory: Path, server: DatabaseServer, database: str) -> BrokerProcess:
    """Return a broker with little memory per queue, so that a backlog is read back from the database."""
    command = (sys.executable, "-c", SMALL_MEMORY)
    return BrokerProcess(directory, NodeConfiguration(server.jdbc_url(database)), command=command)
