"""A million messages nobody consumes, then somebody does."""

from dataclasses import replace

from benchmarks.cases.throughput import PERSISTENT
from benchmarks.client import Client
from benchmarks.results import Row, Values
from benchmarks.run import clean, prepare, run_prepared
from benchmarks.scenario import Scenario
from benchmarks.session import Session
from benchmarks.target import MIB, Target

METRICS = ["publish_rate", "rss_growth_mib", "drain_rate", "drain_rss_growth_mib", "left"]


def filling(session: Session) -> Scenario:
    """Return the load that builds the backlog."""
    options = session.options
    return replace(PERSISTENT, name="backlog publish", consumers=0, count=options.count, size=options.size)


def run(session: Session) -> None:
    """Fill and drain on every broker."""
    options = session.options
    session.rounds(
        Row("backlog", f"{options.count:,} × {options.size} B persistent".replace(",", " "), METRICS),
        lambda target: fill_and_drain(session, target),
    )


def fill_and_drain(session: Session, target: Target) -> Values:
    """Publish the backlog, look at the memory, drain it, see that nothing is left."""
    fill = filling(session)
    drain = replace(fill, name="backlog drain", publishers=0, consumers=1)
    prepare(target, fill)
    try:
        before = target.rss() or 0
        with session.reporter.running(f"publish · {target.name}", fill.count) as progress:
            filled = run_prepared(target, fill, session.load_cores, progress)
        with session.reporter.running(f"drain · {target.name}", fill.count) as progress:
            drained = run_prepared(target, drain, session.load_cores, progress, expected=fill.count)
        client = Client(target.address)
        left = client.declare_queue(fill.queue_name(0), durable=True, passive=True)
        client.close()
    finally:
        clean(target, fill)
    values = {"publish_rate": filled["publish_rate"], "drain_rate": drained["rate"], "left": float(left)}
    if "rss_mib" in filled:
        values["rss_growth_mib"] = filled["rss_mib"] - before / MIB
        values["drain_rss_growth_mib"] = drained["rss_mib"] - before / MIB
    return values
