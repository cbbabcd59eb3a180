"""A stream that is filled, read from its first message, and read by ten consumers at different places at once.

RabbitMQ's stream is read over AMQP 0-9-1, too.
"""

from dataclasses import replace

from benchmarks.cases.throughput import PERSISTENT
from benchmarks.results import Row, Values
from benchmarks.run import clean, prepare, run_prepared
from benchmarks.scenario import Scenario
from benchmarks.session import Session
from benchmarks.target import Target

READERS = 10
SIZE = 100
METRICS = ["publish_rate", "fill_rss_mib", "first_rate", "first_rss_mib", "ten_rate", "ten_rss_mib"]


def run(session: Session) -> None:
    """Fill and read a stream on every broker."""
    name = f"{session.options.count:,} × {SIZE} B".replace(",", " ")
    session.rounds(Row("streams", name, METRICS), lambda target: fill_and_read(session, target))


def fill_and_read(session: Session, target: Target) -> Values:
    """Publish all messages, let one consumer read all of them, then ten, each from another place to the end."""
    count = session.options.count
    fill = replace(
        PERSISTENT,
        name="stream",
        size=SIZE,
        consumers=0,
        count=count,
        confirm_window=10_000,
        arguments={"x-queue-type": "stream"},
    )
    starts = [count * reader // READERS for reader in range(READERS)]
    one = replace(fill, publishers=0, consumers=1, wishes=[{"x-stream-offset": "first"}])
    ten = replace(one, consumers=READERS, wishes=[{"x-stream-offset": start} for start in starts])
    prepare(target, fill)
    try:
        filled = _run(session, target, fill, "publish", count)
        read = _run(session, target, one, "read from first", count)
        together = _run(session, target, ten, f"{READERS} readers", sum(count - start for start in starts))
    finally:
        clean(target, fill)
    values = {"publish_rate": filled["publish_rate"], "first_rate": read["rate"], "ten_rate": together["rate"]}
    for part, of in (("fill", filled), ("first", read), ("ten", together)):
        values |= {f"{part}_{key}": of[key] for key in ("rss_mib", "cpu_percent", "others_percent") if key in of}
    return values


def _run(session: Session, target: Target, scenario: Scenario, text: str, expected: int) -> Values:
    with session.reporter.running(f"{text} · {target.name}", expected) as progress:
        return run_prepared(target, scenario, session.load_cores, progress, expected if scenario.consumers else 0)
