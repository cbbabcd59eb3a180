"""kill -9 under confirmed load: nothing confirmed is lost, no duplicate is unflagged, order is kept."""

from __future__ import annotations

import random
import sys
from collections import Counter
from pathlib import Path
from time import monotonic

import pytest

from benchmarks.nodes.process import BrokerProcess
from tests.support.clients import RULES
from tests.support.events import Event, Fault, FaultKind, Op, Outcome, write_jsonl
from tests.support.history import check
from tests.support.load import Load


def storm(broker: BrokerProcess, load: Load, rounds: int, rng: random.Random, confirms: int) -> None:
    """Kill the broker `rounds` times, each after about `confirms` further confirms, and start it again each time."""
    broker.start()
    load.start()
    for _ in range(rounds):
        wanted = load.recorder.confirmed + rng.randint(confirms // 2, confirms * 3 // 2)
        load.recorder.wait_until_confirmed(wanted, deadline=60.0)
        began = monotonic()
        broker.kill9()
        load.recorder.add(Op.KILL, "harness", began=began)
        broker.start()
    load.recorder.wait_until_confirmed(load.recorder.confirmed + confirms // 4, deadline=60.0)
    load.stop()


def summary(rounds: int, events: list[Event], drained: int) -> str:
    counts = Counter(event.op for event in events)
    single = sum(event.op is Op.PUBLISH and not event.transaction for event in events)
    committed = sum(event.op is Op.COMMIT and event.type is Outcome.OK for event in events)
    confirmed = sum(event.op is Op.CONFIRM and event.type is Outcome.OK for event in events)
    redelivered = sum(event.op in (Op.DELIVER, Op.DRAIN) and event.redelivered for event in events)
    return (
        f"rounds {rounds}, confirmed {confirmed}, uncertain {single - counts[Op.CONFIRM]}, transactions {committed}, "
        f"deliveries {counts[Op.DELIVER]}, redelivered {redelivered}, drained {drained}"
    )


def first_of_each(faults: list[Fault]) -> dict[str, tuple[int, Fault]]:
    counts = Counter(fault.kind.value for fault in faults)
    return {kind: (counts[kind], next(fault for fault in faults if fault.kind.value == kind)) for kind in counts}


def rounds_of_kills(broker: BrokerProcess, rounds: int, seed: int, confirms: int) -> tuple[list[Event], int]:
    """Return the history of `rounds` kills, and how many messages were drained at its end."""
    load = Load(broker.host, broker.port)
    try:
        storm(broker, load, rounds, random.Random(seed), confirms)
        drained = load.drain()
    finally:
        if broker.is_running():
            broker.kill9()
    return load.recorder.events, drained


def run_and_check(directory: Path, rounds: int, seed: int, confirms: int) -> str:
    broker = BrokerProcess(directory / "broker")
    events, drained = rounds_of_kills(broker, rounds, seed, confirms)
    faults = check(events, RULES)
    if faults:
        write_jsonl(events, directory / "history.jsonl")
        (directory / "broker.log").write_text(broker.log)
    assert not faults, f"{first_of_each(faults)} (history and log in {directory})"
    return summary(rounds, events, drained)


def test_two_kills_under_load_lose_and_repeat_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = run_and_check(tmp_path, rounds=2, seed=1, confirms=12_000)
    with capsys.disabled():
        print(f"\nkill -9: {line}")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_twenty_kills_under_load_lose_and_repeat_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = run_and_check(tmp_path, rounds=20, seed=20, confirms=12_000)
    with capsys.disabled():
        print(f"\nkill -9: {line}")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mutant", "kind"),
    [
        ("ConfirmsTooEarly", FaultKind.LOST),
        ("LosesMessages", FaultKind.LOST),
        ("ForgetsAcknowledgements", FaultKind.RESURRECTED),
        ("TearsTransactions", FaultKind.TX_PARTIAL),
        ("ForgetsDeliveries", FaultKind.DUPLICATED_UNFLAGGED),
        ("ReadsBackwards", FaultKind.REORDERED),
        ("KeepsTheDead", FaultKind.TWO_PLACES),
        ("LosesLetters", FaultKind.LETTER_LOST),
        ("expire_early", FaultKind.EXPIRED_EARLY),
        ("expire_late", FaultKind.DELIVERED_EXPIRED),
        ("double_limits", FaultKind.OVER_LIMIT),
        ("double_lengths", FaultKind.OVER_LENGTH),
        ("mistake_reasons", FaultKind.IMPOSSIBLE_DEATH),
    ],
)
def test_a_broker_with_a_planted_bug_is_caught(tmp_path: Path, mutant: str, kind: FaultKind) -> None:
    broker = BrokerProcess(tmp_path / "broker", command=(sys.executable, "-m", "tests.support.mutant", mutant))
    events, _ = rounds_of_kills(broker, rounds=2, seed=3, confirms=12_000)
    assert kind in {fault.kind for fault in check(events, RULES)}
