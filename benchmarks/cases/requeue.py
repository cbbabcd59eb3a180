"""Messages that a consumer gives back as soon as it has them: `basic.nack` with requeue, over and over."""

from dataclasses import replace

from benchmarks.cases.throughput import TRANSIENT
from benchmarks.results import Row, Values
from benchmarks.run import clean, prepare, run_prepared
from benchmarks.scenario import Scenario
from benchmarks.session import Session
from benchmarks.target import Target

METRICS = ["rate", "cpu_percent", "others_percent", "rss_mib"]
DELIVERIES = 200_000
FILL = replace(TRANSIENT, consumers=0)
ROWS = [
    replace(FILL, name="nack-requeue prefetch 100, 1000 messages", count=1000, prefetch=100),
    replace(FILL, name="nack-requeue prefetch 1000, 100 000 messages", count=100_000, prefetch=1000),
]


def run(session: Session) -> None:
    """Fill a queue, and let a consumer give back each of so many deliveries, on every broker."""
    for row in ROWS:

        def once(target: Target, row: Scenario = row) -> Values:
            return fill_and_give_back(session, target, row)

        session.rounds(Row("requeue", row.name, METRICS), once)


def fill_and_give_back(session: Session, target: Target, fill: Scenario) -> Values:
    """Return how many deliveries a second a consumer gets that gives all of them back."""
    prepare(target, fill)
    try:
        with session.reporter.running(f"publish · {target.name}", fill.count) as progress:
            run_prepared(target, fill, session.load_cores, progress)
        give_back = replace(fill, publishers=0, consumers=1, ack_every=1, requeues=True)
        with session.reporter.running(f"{fill.name} · {target.name}", DELIVERIES) as progress:
            return run_prepared(target, give_back, session.load_cores, progress, expected=DELIVERIES)
    finally:
        clean(target, fill)
