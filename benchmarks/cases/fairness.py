"""Whether one client's request is everybody's pause: the latency of a canary beside requests that cost much.

The canary publishes to a queue of its own at a steady rate and consumes from it. Beside any request its p99 is to stay
under 50 ms and its maximum under 250 ms on a quiet machine. `benchmarks/attacks/__init__.py` tells how to add one.
"""

import time
from collections.abc import Iterator
from multiprocessing import get_context

from benchmarks.attacks import ATTACKS, Attack
from benchmarks.canary import canary_process
from benchmarks.cases.cluster import receive, report
from benchmarks.load import START_LIMIT, LoadResult
from benchmarks.results import Row, Values, latency_values
from benchmarks.session import Session
from benchmarks.target import Target

METRICS = ["p50_ms", "p99_ms", "max_ms", "request_s"]
LEAD = 0.5
"""Seconds in which the canary has the broker for itself, before and after a request."""


def run(session: Session) -> None:
    """Measure the canary alone and then beside each request."""
    for name, attack in {"nothing else": nothing, **ATTACKS}.items():
        row = Row("fairness", f"beside {name}", METRICS)

        def once(target: Target, attack: Attack = attack) -> Values:
            return beside(session, target, attack)

        session.rounds(row, once)


def nothing(target: Target) -> Iterator[None]:
    """No request at all."""
    yield
    time.sleep(2.0)
    yield


def beside(session: Session, target: Target, attack: Attack) -> Values:
    """Let the canary run beside one attack; return what it saw, and how long the request took."""
    context = get_context("spawn")
    stop = context.Event()
    mine, theirs = context.Pipe()
    arguments = (target.address, stop, theirs, session.load_cores)
    steps = attack(target)
    next(steps)
    process = context.Process(target=canary_process, args=arguments, daemon=True)
    process.start()
    theirs.close()
    try:
        receive(mine, START_LIMIT)
        time.sleep(LEAD)
        began = time.monotonic()
        next(steps)
        took = time.monotonic() - began
        time.sleep(LEAD)
        stop.set()
        seen = LoadResult([report(mine, START_LIMIT)])
    finally:
        stop.set()
        process.join(5.0)
        if process.is_alive():
            process.kill()
            process.join(5.0)
        mine.close()
    next(steps, None)
    return latency_values("", seen.latencies("canary")) | {"request_s": took}
