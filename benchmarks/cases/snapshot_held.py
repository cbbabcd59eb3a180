"""What a commit costs while another transaction, such as a dump, holds a snapshot of the database."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from benchmarks.results import Row, Values
from benchmarks.run import clean, measure, prepare, run_prepared
from benchmarks.scenario import Scenario
from benchmarks.session import Session
from benchmarks.target import Target
from broker.config.datasources import PoolConfiguration
from broker.ports.slot import Slot
from broker.store.server.engine import SessionTimeouts
from broker.store.server.opening import dialect_of

SINGLE = Scenario("commits of one message", persistent=True, confirm_window=1, ack_every=1, prefetch=100)
METRICS = ["commits_before", "commits_held", "commits_held_late"]
NOTHING = Slot(0, 0, 0, 0, 0)


def run(session: Session) -> None:
    """Measure on the server of `--store`; commits are counted per second."""
    store = session.options.store
    if session.subject.own is None or store.startswith(("jdbc:sqlite", "sqlite")) or not store:
        session.reporter.say("snapshot-held: skipped, it needs --store with a database server, and no --url")
        return
    session.rounds(
        Row("snapshot-held", f"{SINGLE.name}, {session.options.count} of them between the last two", METRICS),
        lambda target: before_and_while(session, target, store),
        [session.subject],
    )


def before_and_while(session: Session, target: Target, store: str) -> Values:
    """Return commits per second without a snapshot, when it has just been taken, and many commits later."""
    scenario = replace(SINGLE, seconds=session.options.seconds)
    text = f"{SINGLE.name} · {target.name}"

    def rate() -> float:
        with session.reporter.running(text, scenario.limit) as progress:
            return measure(target, scenario, session.load_cores, progress)["publish_rate"]

    before = rate()
    with snapshot_of(store):
        held = rate()
        between = replace(SINGLE, count=session.options.count, seconds=600.0)
        prepare(target, between)
        with session.reporter.running(f"{text}, in between", between.count) as progress:
            run_prepared(target, between, session.load_cores, progress)
        clean(target, between)
        return dict(zip(METRICS, (before, held, rate()), strict=True))


@contextmanager
def snapshot_of(store: str) -> Iterator[None]:
    """Hold a snapshot of the database at this URL, without any limit of time."""
    dialect = dialect_of(PoolConfiguration(url=store).store_url, SessionTimeouts(idle=0.0))
    with asyncio.Runner() as runner:
        raw = runner.run(dialect.connect(dialect.servers.in_order()[0]))
        try:
            runner.run(dialect.begin_read(raw))
            runner.run(dialect.read_slot(raw, NOTHING, 1))
            yield
        finally:
            dialect.abort(raw)
            runner.run(asyncio.sleep(0))
