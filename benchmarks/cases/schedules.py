"""Messages that wait for hours: what publishing them costs, what their waiting costs, and how a node starts again.

Ours are delayed; beside it, and for a peer, is a plain durable queue of as many messages. Our broker is a new one for
each run: what is scheduled stays there for hours.
"""

import time
from dataclasses import replace

from benchmarks.cases.throughput import PERSISTENT
from benchmarks.load import run_load
from benchmarks.own_broker import START_LIMIT, OwnBroker
from benchmarks.results import Row, Values, percentile
from benchmarks.run import clean, prepare, run_prepared
from benchmarks.scenario import Scenario
from benchmarks.session import Session
from benchmarks.target import MIB, Target

SIZE = 100
HOURS = 6
IDLE = 30.0
"""Seconds for which nobody does anything, to see what what waits costs by itself."""
DELAY = 2000
"""Milliseconds, of the messages of which it is measured how late they are."""
METRICS = ["publish_rate", "cpu_us_each", "rss_growth_mib", "idle_cpu_ms", "listening_s", "restarted_rss_mib"]
LATENESS = ["late_p50_ms", "late_p99_ms", "late_max_ms", "earliest_ms"]


def run(session: Session) -> None:
    """Measure plain and scheduled messages in turn, then how late small numbers of them are."""
    count = f"{session.options.count:,} × {SIZE} B".replace(",", " ")
    plain = replace(PERSISTENT, name="plain", consumers=0, count=session.options.count, size=SIZE)
    scheduled = replace(plain, name="scheduled", headers={"x-delay": HOURS * 3_600_000})
    late = replace(PERSISTENT, name="late", size=SIZE, rate=1000, seconds=4.0, headers={"x-delay": DELAY}, ack_every=1)
    subject = session.subject
    if subject.own is None:
        session.reporter.say("schedules: skipped, only a broker started by the benchmark gets what stays for hours")
        return
    session.rounds(
        Row("schedules", f"{count}, due in {HOURS} h", METRICS),
        lambda target: fill(session, target, scheduled),
        [subject],
    )
    session.rounds(Row("schedules", f"{count}, plain", METRICS), lambda target: fill(session, target, plain))
    session.rounds(
        Row("schedules", f"1 000/s, due in {DELAY} ms", LATENESS),
        lambda target: lateness(session, target, late),
        [subject],
    )


def fill(session: Session, target: Target, scenario: Scenario) -> Values:
    """Publish all messages, wait, and, if it is our broker, kill and start it."""
    if target.own is None:
        return _fill(session, target, scenario)
    own = OwnBroker.standalone(session.broker_cores, session.options.data_dir, session.options.store)
    own.start()
    try:
        values = _fill(session, Target(target.name, own.address, own.pid, own), scenario)
        own.kill()
        started = time.monotonic()
        own.start(wait=False)
        own.connect(START_LIMIT).close()
        values["listening_s"] = time.monotonic() - started
        time.sleep(1.0)
        values["restarted_rss_mib"] = (Target(target.name, own.address, own.pid).rss() or 0) / MIB
    finally:
        own.stop()
    return values


def _fill(session: Session, target: Target, scenario: Scenario) -> Values:
    prepare(target, scenario)
    try:
        before, cpu = target.rss() or 0, target.cpu_seconds() or 0.0
        with session.reporter.running(f"publish · {target.name}", scenario.count) as progress:
            filled = run_prepared(target, scenario, session.load_cores, progress)
        used = (target.cpu_seconds() or 0.0) - cpu
        time.sleep(1.0)  # what is under way in the background comes to its end
        idle = target.cpu_seconds() or 0.0
        grown = (target.rss() or 0) - before
        time.sleep(IDLE)
        idle = (target.cpu_seconds() or 0.0) - idle
    finally:
        if target.own is None:
            clean(target, scenario)
    return {
        "publish_rate": filled["publish_rate"],
        "cpu_us_each": 1e6 * used / scenario.count,
        "rss_growth_mib": grown / MIB,
        "idle_cpu_ms": 1000 * idle * 60 / IDLE,
    }


def lateness(session: Session, target: Target, scenario: Scenario) -> Values:
    """Measure how long after its time each message is delivered; `earliest_ms` must not be below 0."""
    prepare(target, scenario)
    try:
        with session.reporter.running(f"late · {target.name}", scenario.limit) as progress:
            result = run_load(target.address, scenario, session.load_cores, progress)
    finally:
        clean(target, scenario)
    late = [nanoseconds / 1e6 - DELAY for nanoseconds in result.latencies("consumer")]
    return {
        "late_p50_ms": percentile(late, 0.5),
        "late_p99_ms": percentile(late, 0.99),
        "late_max_ms": late[-1],
        "earliest_ms": late[0],
    }
