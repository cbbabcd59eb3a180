"""A real full disk: publishers wait, acknowledgements are kept, nothing is lost (ADR 13)."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path

import pika
import pytest
from pamqp import commands

from benchmarks.nodes.process import BrokerProcess
from tests.support.backlog import WINDOW, Publishing, consume_all
from tests.support.small_disk import MIB, CannotMount, SmallDisk, small_disk
from tests.support.wire import Content, Wire

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("mount") is None, reason="needs root and mount(8) to make a small disk"
)

DISK = 40 * MIB
ACKED, GROWS = "disk.acked", "disk.grows"
ACKED_MESSAGES = 500


@pytest.fixture(autouse=True)
def _mounts_are_allowed(tmp_path: Path) -> None:
    try:
        with small_disk(tmp_path / "probe", MIB):
            pass
    except CannotMount as error:
        pytest.skip(f"this system lets nobody mount a small disk: {error}")


class Held:
    """A consumer that holds everything in a queue unacknowledged."""

    def __init__(self, broker: BrokerProcess, queue: str, number: int) -> None:
        self._wire = Wire(broker.host, broker.port)
        self._wire.call(commands.Basic.Consume(queue=queue), commands.Basic.ConsumeOk)
        self.bodies: list[bytes] = []
        while len(self.bodies) < number:
            self.bodies += [item.body for item in self._wire.receive(10.0) if isinstance(item, Content)]

    def acknowledge(self) -> None:
        self._wire.send(commands.Basic.Ack(0, multiple=True))

    def numbers(self) -> set[int]:
        return {int(body.split(b":", 1)[0]) for body in self.bodies}

    def close(self) -> None:
        self._wire.cut()


def ready(broker: BrokerProcess, queue: str) -> int:
    wire = Wire(broker.host, broker.port)
    counted = wire.call(commands.Queue.Declare(queue=queue, passive=True), commands.Queue.DeclareOk)
    wire.close()
    return int(counted.message_count)


def stored(database: Path, below: int) -> int:
    """Return how many of the first messages, those with ids below `below`, have rows."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        count: int = connection.execute("SELECT count(*) FROM MB_METADATA WHERE MESSAGE_ID < ?", (below,)).fetchone()[0]
        return count


def last_stored(database: Path) -> int:
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        last: int = connection.execute("SELECT max(MESSAGE_ID) FROM MB_METADATA").fetchone()[0]
        return last


def start(disk: SmallDisk, disk_free_limit: int) -> BrokerProcess:
    broker = BrokerProcess(disk.directory / "broker")
    xml = broker.config / "broker.xml"
    limits = f"  <limits><diskFreeLimit>{disk_free_limit}</diskFreeLimit></limits>\n</broker>"
    xml.write_text(xml.read_text().replace("</broker>", limits))
    broker.start()
    return broker


def wait_for(condition: Callable[[], bool], deadline: float) -> None:
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < deadline, f"waited {deadline} s"
        time.sleep(0.02)


def fill_and_serve(disk: SmallDisk, *, kill: bool) -> tuple[int, float]:
    """One full disk; return how many messages it kept, and seconds until publishing went on after it."""
    broker = start(disk, disk_free_limit=0)
    database = disk.directory / "broker" / "data" / "mb.db"
    ballast = database.with_name("mb.db.ballast")
    with ExitStack() as clients:
        clients.callback(broker.kill9)
        first = clients.enter_context(closing(Publishing(broker, ACKED)))
        first.publish(ACKED_MESSAGES)
        first.note_until(lambda: not first.open, 10.0)
        consumer = clients.enter_context(closing(Held(broker, ACKED, ACKED_MESSAGES)))
        end_of_acked = last_stored(database) + 1
        publisher = clients.enter_context(closing(Publishing(broker, GROWS)))
        publisher.publish(WINDOW)
        publisher.note_until(lambda: not publisher.open, 10.0)

        disk.fill()
        publisher.publish_until(lambda: ballast.stat().st_size == 0, 20.0)
        publisher.note(0.1)
        assert publisher.open, "every message found room on a full disk"
        consumer.acknowledge()
        wait_for(lambda: stored(database, end_of_acked) == 0, 10.0)
        publisher.note(0.1)

        confirmed = publisher.confirmed
        if kill:
            broker.kill9()
            broker.start()
            publisher = clients.enter_context(closing(Publishing(broker, ACKED)))
            assert ready(broker, ACKED) == 0
            publisher.publish()
        disk.empty()
        seconds = publisher.note_until(lambda: not publisher.open, 10.0)

        there = clients.enter_context(closing(Held(broker, GROWS, ready(broker, GROWS))))
        assert confirmed <= there.numbers()
        assert len(there.bodies) == len(there.numbers())
        if not kill:
            assert ready(broker, ACKED) == 0
            assert "the ballast is back" in broker.log
        return len(confirmed), seconds


def run_cycles(directory: Path, cycles: int) -> str:
    confirmed, slowest = 0, 0.0
    for cycle in range(cycles):
        with small_disk(directory / f"disk{cycle}", DISK) as disk:
            number, seconds = fill_and_serve(disk, kill=bool(cycle % 2))
        confirmed, slowest = confirmed + number, max(slowest, seconds)
    return (
        f"cycles {cycles}, acked on a full disk {cycles * ACKED_MESSAGES}, back 0, confirmed {confirmed}, lost 0, "
        f"publishing went on after at most {slowest:.1f} s"
    )


def test_acknowledgements_are_kept_on_a_full_disk_and_publishing_goes_on_after_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = run_cycles(tmp_path, 2)
    with capsys.disabled():
        print(f"\nfull disk: {line}")


def test_consuming_makes_room_on_a_disk_that_the_brokers_own_backlog_fills(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", DISK) as disk, ExitStack() as clients:
        broker = start(disk, disk_free_limit=0)
        clients.callback(broker.kill9)
        ballast = disk.directory / "broker" / "data" / "mb.db.ballast"
        publisher = clients.enter_context(closing(Publishing(broker, GROWS)))
        publisher.publish_until(lambda: ballast.stat().st_size == 0, 30.0)
        publisher.note(0.5)
        assert publisher.open, "every message found room on a full disk"

        consume_all(broker, GROWS, publisher)

        assert ready(broker, GROWS) == 0


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_twenty_full_disks_lose_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = run_cycles(tmp_path, 20)
    with capsys.disabled():
        print(f"\nfull disk: {line}")


def test_publishers_are_told_that_a_full_disk_blocks_them_and_when_it_does_no_more(tmp_path: Path) -> None:
    told: list[str] = []
    with small_disk(tmp_path / "disk", DISK) as disk:
        broker = start(disk, disk_free_limit=8 * MIB)
        try:
            connection = pika.BlockingConnection(pika.URLParameters(broker.url))
            connection.add_on_connection_blocked_callback(lambda _, frame: told.append(frame.method.reason))
            connection.add_on_connection_unblocked_callback(lambda _, frame: told.append("go on"))
            channel = connection.channel()
            channel.queue_declare(GROWS, durable=True)
            disk.fill()
            wait_for(lambda: "publishers are blocked" in broker.log, 10.0)
            channel.basic_publish("", GROWS, b"x", pika.BasicProperties(delivery_mode=2))
            while not told:
                connection.process_data_events(0.1)
            disk.empty()
            while len(told) < 2:
                connection.process_data_events(0.1)
            connection.close()
        finally:
            broker.kill9()
    assert told == ["low on disk", "go on"]
