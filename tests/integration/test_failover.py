"""Fail-overs of real database servers under confirmed load: nothing is lost where the database promised it, and what is
lost elsewhere is told (ADR 86, ADR 88).
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import pytest

from benchmarks.nodes.configuration import CALM, NodeConfiguration
from benchmarks.nodes.ports import HOST
from benchmarks.nodes.process import BROKER, PROJECT, BrokerProcess
from tests.integration.test_kill import first_of_each
from tests.support.clients import RULES
from tests.support.cluster import ClusterOfProcesses
from tests.support.cluster_chaos import brief, survive
from tests.support.cluster_load import ClusterLoad
from tests.support.databases import DatabaseMissing
from tests.support.events import Event, Fault, FaultKind, Op, write_jsonl
from tests.support.failovers import FailOvers, of_galera, of_pair
from tests.support.galera import Galera
from tests.support.history import check
from tests.support.load import Load
from tests.support.network import Host
from tests.support.standbys import MariaDBPair, Pair, PostgreSQLPair

ROUNDS = int(os.environ.get("CORDILLERA_ROUNDS", "10"))
SHORT = {"postgresql": "&socketTimeout=3&connectTimeout=1", "mariadb": "&socketTimeout=3000&connectTimeout=1000"}
STARTED_WITHIN = 120.0  # three database servers and as many nodes share a machine
LOST = "the database has lost what it had committed"
ERROR_OF_TIMES = 0.3

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def made(kind: str) -> Pair | Galera:
    if kind == "galera":
        return Galera()
    return MariaDBPair() if kind == "semi-synchronous" else PostgreSQLPair(is_synchronous=kind == "synchronous")


@contextmanager
def database(kind: str) -> Iterator[tuple[Pair | Galera, FailOvers]]:
    try:
        servers = made(kind)
    except DatabaseMissing as error:
        pytest.skip(str(error))
    with servers:
        yield servers, of_galera(servers, 1) if isinstance(servers, Galera) else of_pair(servers, 1)


def url_of(servers: Pair | Galera) -> str:
    return servers.jdbc_url(servers.database) + SHORT[servers.kind]


def run_alone(
    directory: Path, servers: Pair | Galera, fails: FailOvers, fault: str, on: Host | None = None
) -> tuple[str, list[Event]]:
    """Run the rounds on one broker, here or on a host; return its log and the history, with everything drained."""
    command, address = (BROKER, HOST) if on is None else (on.inside(BROKER, at=PROJECT), on.outside)
    broker = BrokerProcess(directory / "broker", NodeConfiguration(url_of(servers), host=address), command=command)
    broker.start(STARTED_WITHIN)
    load = Load(broker.host, broker.port)
    try:
        load.start()
        fails.rounds(fault, ROUNDS, load.recorder)
        load.stop()
        load.drain()
    finally:
        log = broker.log
        (directory / "broker.log").write_text(log)
        broker.close()
    return log, load.recorder.events


def judged(directory: Path, events: list[Event]) -> list[Fault]:
    faults = check(events, RULES, clock_error=0.3, expiry_grace=15.0, confirm_deadline=60.0)
    if faults:
        write_jsonl(events, directory / "history.jsonl")
    return faults


@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        ("synchronous", "killed"),
        ("synchronous", "cut off"),
        ("semi-synchronous", "killed"),
        ("semi-synchronous", "cut off"),
        ("galera", "killed"),
        ("galera", "stands still"),
        ("galera", "not ready"),
        ("galera", "lost with its data"),
    ],
)
def test_one_broker_loses_nothing_in_ten_fail_overs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, fault: str
) -> None:
    with database(kind) as (servers, fails):
        log, events = run_alone(tmp_path, servers, fails, fault)
    faults = judged(tmp_path, events)
    with capsys.disabled():
        confirmed = sum(event.op is Op.CONFIRM for event in events)
        print(f"\none broker, {kind}, {fails.table}; {confirmed} confirms, broken promises: {len(faults)}")
    assert not faults, f"{first_of_each(faults)} (history and log in {tmp_path})"
    assert LOST not in log


def test_what_an_asynchronous_standby_has_not_got_is_told_with_its_span(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with database("asynchronous") as (servers, fails):
        log, events = run_alone(tmp_path, servers, fails, "killed ahead of its standby")
    lost = {fault.key for fault in judged(tmp_path, events) if fault.kind is FaultKind.LOST}
    spans = told_spans(log)
    off = time.time() - time.monotonic()
    outside = [
        event.key
        for event in events
        if event.op is Op.CONFIRM
        and event.key in lost
        and not any(begin - ERROR_OF_TIMES <= event.t_ret + off <= end + ERROR_OF_TIMES for begin, end in spans)
    ]
    with capsys.disabled():
        confirmed = sum(event.op is Op.CONFIRM for event in events)
        print(
            f"\none broker, asynchronous, {fails.table}; {confirmed} confirms, {len(lost)} lost, in {len(spans)} spans"
            f" that were told, {len(outside)} outside of them"
        )
    assert len(spans) == ROUNDS
    assert not outside
    assert "another broker has taken over" not in log


def told_spans(log: str) -> list[tuple[float, float]]:
    """Return the spans of lost batches that a broker has told, in seconds since 1970."""
    lines = [json.loads(line) for line in log.splitlines() if LOST in line and '"batches"' in line]
    return [tuple(datetime.fromisoformat(line[name]).timestamp() for name in ("since", "until")) for line in lines]  # type: ignore[misc]


@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        ("synchronous", "killed"),
        ("semi-synchronous", "killed"),
        ("galera", "killed"),
        ("galera", "not ready"),
        ("galera", "lost with its data"),
    ],
)
def test_three_nodes_lose_nothing_in_ten_fail_overs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, fault: str
) -> None:
    with database(kind) as (servers, fails):

        def strike(load: ClusterLoad) -> list[object]:
            fails.rounds(fault, ROUNDS, load.recorder)
            return list(fails.struck)

        with ClusterOfProcesses(tmp_path, servers, 3, rhythm=CALM) as cluster:
            cluster.start(STARTED_WITHIN)
            outcome = survive(cluster, 1, 0.0, record=tmp_path / "broken", strike=strike)  # type: ignore[arg-type]
            (tmp_path / "nodes.log").write_text(cluster.log)
    with capsys.disabled():
        print(f"\nthree nodes, {kind}, {fails.table}\n{outcome.table}")
    assert not outcome.broken, f"{brief(outcome.broken)} (logs in {tmp_path})"
    assert not outcome.died
