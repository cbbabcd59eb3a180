"""Power cuts of the embedded store: what is on disk after any of them holds everything that was confirmed.

A broker's calls are recorded under load; for any moment of the record the disk is made as a power cut may leave it, and
opened again.
"""

from __future__ import annotations

import random
import shutil
import sqlite3
import sys
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
from pamqp import body, commands, frame, header

from benchmarks.nodes.process import BrokerProcess
from broker.errors import BrokerError
from broker.message import StorageQueue
from broker.ports.records import QueueRecord
from broker.store.sqlite.ballast import Ballast
from broker.store.sqlite.store import SqliteStore
from tests.support import strace
from tests.support.power_cut import CutDisk, sweep
from tests.support.promises import Place, Promises, make_body, read_body
from tests.support.strace import Call
from tests.support.wire import CHANNEL, Content, Wire

pytestmark = pytest.mark.skipif(not strace.is_usable(), reason="needs the Debian package strace, and leave to trace")

BROKER = (sys.executable, "-m", "broker")
FANOUT = {"cut.fan": ("cut.c", "cut.d")}
KEPT, CONSUMED, IN_TRANSACTIONS = "cut.a", "cut.b", ("cut.x", "cut.y")
QUEUES = (KEPT, CONSUMED, *FANOUT["cut.fan"], *IN_TRANSACTIONS)
NEVER_READ = ("-shm", ".lock", ".ballast")
"""Endings of names of files that say nothing after a restart: rebuilt, rewritten or empty room."""
SIZES = (90, 200, 800, 90, 3000, 200, 90, 9000, 120, 200)
LARGE = (70_000, 200_000)
FRAME = 131_072 - 8


@dataclass
class Queue:
    queue_id: int
    is_stream: bool = False


@dataclass
class Findings:
    """What cuts have shown."""

    cuts: int = 0
    checked: int = 0
    lost: int = 0
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"cuts {self.cuts}, confirmed messages checked {self.checked}, lost {self.lost}"


class Sender:
    """One publishing connection; every message it sends has a key and a size of its own."""

    def __init__(self, broker: BrokerProcess, name: str) -> None:
        self.wire = Wire(broker.host, broker.port)
        self._name = name
        self._sent = 0
        self._owed: set[int] = set()

    def send(self, exchange: str, routing_key: str, size: int) -> None:
        self._sent += 1
        self._owed.add(self._sent)
        octets = make_body(f"{self._name}:{self._sent}", size)
        properties = commands.Basic.Properties(delivery_mode=2)
        method = commands.Basic.Publish(exchange=exchange, routing_key=routing_key)
        frames = [method, header.ContentHeader(body_size=len(octets), properties=properties)]
        frames += [body.ContentBody(octets[at : at + FRAME]) for at in range(0, len(octets), FRAME)]
        self.wire.write(b"".join(frame.marshal(value, CHANNEL) for value in frames))

    def wait(self, owed: int) -> None:
        """Return when at most `owed` confirms are missing."""
        while len(self._owed) > owed:
            for item in self.wire.receive(20.0):
                assert isinstance(item, commands.Basic.Ack)
                tag = item.delivery_tag
                self._owed -= {one for one in self._owed if one <= tag} if item.multiple else {tag}


def put_under_load(broker: BrokerProcess, rounds: int) -> None:
    """Publish with confirms, in transactions, to one queue, to two, small and large; consume, acknowledge, delete."""
    with ExitStack() as wires:
        small, large, together = (Sender(broker, name) for name in ("small", "large", "together"))
        consumer = Wire(broker.host, broker.port)
        for wire in (small.wire, large.wire, together.wire, consumer):
            wires.callback(wire.cut)
        declare(consumer)
        for sender in (small, large):
            sender.wire.call(commands.Confirm.Select(), commands.Confirm.SelectOk)
        together.wire.call(commands.Tx.Select(), commands.Tx.SelectOk)
        for number in range(rounds):
            for index, size in enumerate(SIZES):
                small.send("", (KEPT, CONSUMED)[index % 2], size)
            small.send("cut.fan", "", 2000)
            if number % 4 == 0:
                large.send("", (KEPT, CONSUMED)[number // 4 % 2], LARGE[number // 8 % 2])
            if number % 3 == 0:
                for queue in IN_TRANSACTIONS * 2:
                    together.send("", queue, 300)
                together.wire.call(commands.Tx.Commit(), commands.Tx.CommitOk)
            acknowledge(consumer)
            if number % 10 == 5:
                small.wait(0)
                consumer.call(commands.Queue.Declare(queue="cut.gone", durable=True), commands.Queue.DeclareOk)
                small.send("", "cut.gone", 500)
                large.send("", "cut.gone", 90_000)
                small.wait(0)
                consumer.call(commands.Queue.Delete(queue="cut.gone"), commands.Queue.DeleteOk)
            small.wait(20)
            large.wait(1)
        small.wait(0)
        large.wait(0)


def declare(wire: Wire) -> None:
    for queue in QUEUES:
        wire.call(commands.Queue.Declare(queue=queue, durable=True), commands.Queue.DeclareOk)
    for exchange, queues in FANOUT.items():
        kind = commands.Exchange.Declare(exchange=exchange, exchange_type="fanout", durable=True)
        wire.call(kind, commands.Exchange.DeclareOk)
        for queue in queues:
            wire.call(commands.Queue.Bind(queue=queue, exchange=exchange), commands.Queue.BindOk)
    wire.call(commands.Basic.Qos(0, 30), commands.Basic.QosOk)
    # Delivered messages are told apart by the consumer's tag: it is the name of the queue.
    for queue in (CONSUMED, FANOUT["cut.fan"][1]):
        wire.call(commands.Basic.Consume(queue=queue, consumer_tag=queue), commands.Basic.ConsumeOk)


def acknowledge(wire: Wire) -> None:
    """Acknowledge two of three messages that have arrived, and give the third back."""
    for item in wire.receive(0.0):
        assert isinstance(item, Content)
        tag = item.method.delivery_tag
        wire.send(commands.Basic.Ack(tag) if tag % 3 else commands.Basic.Nack(tag, requeue=True))


def record(directory: Path, command: Sequence[str], rounds: int) -> tuple[Path, list[Call]]:
    """Run a broker under load until it is killed; return its data directory and its calls."""
    directory.mkdir()
    trace = directory / "calls"
    broker = BrokerProcess(directory / "broker", command=strace.command(trace, command))
    broker.start()
    pid = broker.pid
    try:
        put_under_load(broker, rounds)
    finally:
        broker.kill9()
    strace.wait_for_end(trace, pid)
    data = directory / "broker" / "data"
    calls = list(strace.calls(trace, data, broker.port))
    trace.unlink()
    return data, calls


async def stored(database: Path) -> tuple[dict[Place, int], list[str]]:
    """Open the store as a broker does; return how often each message is in it, and what is wrong with it."""
    found: dict[Place, int] = {}
    faults: list[str] = []
    store = SqliteStore(database, ballast=partial(Ballast, size=4096))
    await store.open()
    try:
        await store.register("node")
        names = {queue.queue_id: queue.name for queue in (await store.load()).of(QueueRecord)}
        for slot in await store.backlog():
            queue: StorageQueue = Queue(slot.queue_id)
            messages = await store.read(queue, slot, slot.count, 1 << 40)
            if len(messages) != slot.count:
                faults.append(f"{slot.count - len(messages)} messages of {names.get(slot.queue_id)} have no body")
            for message in messages:
                key, is_whole = read_body(message.payload)
                place = names.get(slot.queue_id, f"queue {slot.queue_id}"), key
                found[place] = found.get(place, 0) + 1
                if not is_whole:
                    faults.append(f"{place} has another body")
    finally:
        await store.close()
    with closing(sqlite3.connect(database)) as connection:
        [integrity] = connection.execute("PRAGMA integrity_check").fetchone()
    if integrity != "ok":
        faults.append(f"integrity check: {integrity}")
    return found, faults


async def look(database: Path, promises: Promises, findings: Findings) -> None:
    """Hold the disk after one cut against what was promised before it."""
    findings.cuts += 1
    findings.checked += len(promises.safe)
    try:
        found, faults = await stored(database)
    except BrokerError as error:
        found, faults = {}, [f"the store does not open: {error}"]
    missing = [place for place in promises.safe if place not in found]
    findings.lost += len(missing)
    faults += [f"{place} is lost" for place in missing]
    faults += [f"{place} was never published" for place in found if place not in promises.sent]
    faults += [f"{place} is there {times} times" for place, times in found.items() if times > 1]
    for places in promises.transactions:
        there = sum(place in found for place in places)
        if there not in (0, len(places)):
            faults.append(f"{there} of the {len(places)} messages of a transaction are there")
    findings.faults += [f"cut {findings.cuts}: {fault}" for fault in faults]


async def cut_power(directory: Path, command: Sequence[str], *, cuts: int, seed: int, rounds: int = 100) -> Findings:
    """Record a broker that `command` starts, and look at what `cuts` power cuts leave; stop at the first fault."""
    data, calls = record(directory / "recorded", command, rounds)
    chance = random.Random(seed)
    disk, promises, findings = CutDisk(data, NEVER_READ), Promises(FANOUT), Findings()

    def feed(call: Call, is_end: bool) -> None:
        for follower in (disk, promises):
            (follower.on_end if is_end else follower.on_start)(call)

    moments = [call.start for call in chance.sample(calls, cuts)]
    for cut in sweep(calls, moments, feed):
        left = directory / f"cut{cut}"
        left.mkdir()
        disk.write(left, chance)
        await look(left / "mb.db", promises, findings)
        if findings.faults:
            break
        shutil.rmtree(left)
    return findings


async def test_power_cuts_lose_nothing_that_was_confirmed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    findings = await cut_power(tmp_path, BROKER, cuts=120, seed=1)
    with capsys.disabled():
        print(f"\npower cuts: {findings}")
    assert not findings.faults, findings.faults[:5]
    assert findings.checked > 20_000


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_two_thousand_power_cuts_lose_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    findings = await cut_power(tmp_path, BROKER, cuts=2000, seed=20)
    with capsys.disabled():
        print(f"\npower cuts: {findings}")
    assert not findings.faults, findings.faults[:5]


@pytest.mark.parametrize(
    "forgotten",
    ["log", pytest.param("bodies", marks=pytest.mark.slow), pytest.param("names", marks=pytest.mark.slow)],
)
async def test_a_store_that_forgets_a_sync_is_caught(tmp_path: Path, forgotten: str) -> None:
    command = (sys.executable, "-m", "tests.support.unsynced", forgotten)

    findings = await cut_power(tmp_path, command, cuts=100, seed=2)

    assert findings.faults
