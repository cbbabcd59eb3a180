"""Every fault of a database server under confirmed load: nothing is lost, nothing is repeated, nobody lends a hand.

The broker's process and its clients' connections live through each of them (ADR 14, ADR 15).
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from benchmarks.nodes.configuration import NodeConfiguration
from benchmarks.nodes.process import BrokerFailed, BrokerProcess
from tests.integration.test_kill import first_of_each, rounds_of_kills, summary
from tests.support.clients import RULES
from tests.support.databases import DatabaseServer
from tests.support.events import FaultKind, write_jsonl
from tests.support.flood import Flood
from tests.support.history import check
from tests.support.storm import Storm, closed_by_broker, storm

RESUMES_WITHIN = 5.0
MIB = 1 << 20
FAULTS = ("killed", "suspended", "hanging", "cut", "cut before commit", "cut after commit")
METADATA = {"mariadb": "MB_METADATA", "postgresql": '"MB_METADATA"'}


def judge(it: Storm, directory: Path) -> str:
    """End the load, check what was seen, and return the figures."""
    rounds = len(it.resumed)
    drained = it.end()
    events = it.load.recorder.events
    faults, closed = check(events, RULES), closed_by_broker(events)
    missing = it.declarer.missing()
    log = directory / "broker.log"
    log.write_text(it.broker.log)
    if faults:
        write_jsonl(events, directory / "history.jsonl")
    assert not faults, f"{first_of_each(faults)} (history and log in {directory})"
    assert not closed, f"connections closed by the broker: {closed} (log in {log})"
    assert not missing, f"queues that were declared: {missing} (log in {log})"
    assert max(it.resumed) <= RESUMES_WITHIN, f"confirms resumed after {it.resumed} s (log in {log})\n{it.broker.log}"
    doubts = it.resolved
    return (
        f"confirms resumed within {max(it.resumed):.2f} s, commits in doubt: {doubts[True]} done, "
        f"{doubts[False]} not done; {len(it.declarer.kept)} queues kept; {summary(rounds, events, drained)}"
    )


def test_faults_of_a_database_under_load_lose_and_repeat_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], database_server: DatabaseServer, database: str
) -> None:
    with storm(tmp_path, database_server, database, seed=5, is_proxied=True, has_short_timeouts=True) as it:
        for fault in FAULTS:
            it.rounds(it.fault(fault, 2.5), rounds=1, confirms=1_000)
        line = judge(it, tmp_path)
    with capsys.disabled():
        print(f"\n{database_server.kind}, one of each fault: {line}")


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("fault", FAULTS)
def test_twenty_faults_of_a_database_under_load_lose_and_repeat_nothing(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    database_server: DatabaseServer,
    database: str,
    fault: str,
) -> None:
    with storm(tmp_path, database_server, database, seed=20, is_proxied=fault not in ("killed", "suspended")) as it:
        it.rounds(it.fault(fault, 10.0), rounds=20, confirms=6_000)
        line = judge(it, tmp_path)
    with capsys.disabled():
        print(f"\n{database_server.kind} {fault} (seed 20): {line}")


@pytest.mark.parametrize(
    ("rounds", "seed"),
    [(1, 6), pytest.param(20, 21, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])],
)
def test_a_killed_broker_loses_and_repeats_nothing_of_a_database(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    database_server: DatabaseServer,
    database: str,
    rounds: int,
    seed: int,
) -> None:
    broker = BrokerProcess(tmp_path / "broker", NodeConfiguration(database_server.jdbc_url(database)))
    events, drained = rounds_of_kills(broker, rounds, seed, confirms=6_000)
    faults = check(events, RULES)
    if faults:
        write_jsonl(events, tmp_path / "history.jsonl")
        (tmp_path / "broker.log").write_text(broker.log)
    assert not faults, f"{first_of_each(faults)} (history and log in {tmp_path})"
    with capsys.disabled():
        print(f"\n{database_server.kind} broker kill -9 (seed {seed}): {summary(rounds, events, drained)}")


class Memory:
    """Watches how much memory a process has resident."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.before = self.now
        self.most = self.before
        self._thread.start()

    @property
    def now(self) -> int:
        resident: int = self._process.memory_info().rss
        return resident

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(0.02):
            self.most = max(self.most, self.now)


def until(moments: list[float], deadline: float, what: str) -> float:
    """Return the first of `moments`, as soon as there is one."""
    end = time.monotonic() + deadline
    while not moments:
        assert time.monotonic() < end, f"{what}: not within {deadline} s"
        time.sleep(0.01)
    return moments[0]


@pytest.mark.parametrize(
    ("fault", "seconds"),
    [
        ("killed", 4.0),
        pytest.param("killed", 60.0, marks=[pytest.mark.slow, pytest.mark.timeout(600)]),
        pytest.param("suspended", 60.0, marks=[pytest.mark.slow, pytest.mark.timeout(600)]),
    ],
)
def test_publishers_that_flood_through_an_outage_get_every_answer(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    database_server: DatabaseServer,
    database: str,
    fault: str,
    seconds: float,
) -> None:
    broker = BrokerProcess(tmp_path / "broker", NodeConfiguration(database_server.jdbc_url(database)))
    try:
        broker.start()
        floods = [Flood(broker.host, broker.port, f"flood{size}", size) for size in (100, 1_000, 16_000)]
        for flood in floods:
            flood.start()
        time.sleep(1.0)
        memory = Memory(broker.pid)
        began = time.monotonic()
        end = interrupt(database_server, fault)
        blocked = max(until(flood.blocked, 20.0, "connection.blocked") for flood in floods) - began
        time.sleep(max(began + seconds - time.monotonic(), 0.0))
        end()
        accepted = time.monotonic()
        unblocked = max(until(flood.unblocked, 20.0, "connection.unblocked") for flood in floods) - accepted
        stored = sum(flood.finish() for flood in floods)
        memory.stop()
        after = memory.now
        assert broker.stop() == 0
    finally:
        broker.close()
        (tmp_path / "broker.log").write_text(broker.log)
    published = sum(flood.published for flood in floods)
    with capsys.disabled():
        print(
            f"\n{database_server.kind} {fault} for {seconds:.0f} s: {published} published,"
            f" blocked after {blocked:.1f} s, unblocked after {unblocked:.1f} s,"
            f" resident {memory.before // MIB} MiB, at most {memory.most // MIB} MiB, after it {after // MIB} MiB"
        )
    assert sum(flood.confirmed for flood in floods) == published == stored
    assert int(database_server.sql(f"SELECT COUNT(*) FROM {METADATA[database_server.kind]}", database)) == published
    assert memory.most - memory.before < 400 * MIB


def interrupt(server: DatabaseServer, fault: str) -> Callable[[], None]:
    """Begin an outage and return what ends it."""
    if fault == "killed":
        server.kill9()
        return server.start
    server.suspend()
    return server.resume


@pytest.mark.slow
def test_a_commit_in_doubt_that_is_taken_for_done_is_caught(
    tmp_path: Path, database_server: DatabaseServer, database: str
) -> None:
    with storm(tmp_path, database_server, database, seed=7, is_proxied=True, command=mutant("TrustsDoubt")) as it:
        it.rounds(it.fault("cut before commit", 0.0), rounds=3, confirms=2_000)
        it.end()
    assert FaultKind.LOST in {fault.kind for fault in check(it.load.recorder.events)}


@pytest.mark.slow
def test_a_commit_in_doubt_that_is_taken_for_undone_is_caught(
    tmp_path: Path, database_server: DatabaseServer, database: str
) -> None:
    with (
        storm(tmp_path, database_server, database, seed=8, is_proxied=True, command=mutant("RepeatsDoubt")) as it,
        pytest.raises(BrokerFailed, match=r"Duplicate entry|duplicate key|another broker has taken over"),
    ):
        it.rounds(it.fault("cut after commit", 0.0), rounds=3, confirms=2_000)


def mutant(name: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "tests.support.mutant", name)
