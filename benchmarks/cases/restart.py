"""How long after a crash with many stored messages the first one is delivered again."""

import time

from benchmarks.cases.backlog import filling
from benchmarks.frames import ack
from benchmarks.own_broker import START_LIMIT, OwnBroker
from benchmarks.results import Row, Values
from benchmarks.run import clean, prepare, run_prepared
from benchmarks.session import Session
from benchmarks.target import Target

METRICS = ["listening_s", "first_delivery_s", "missing"]


def run(session: Session) -> None:
    """Kill and start our own broker; a peer, or one that was running before, is left alone."""
    own = session.subject.own
    if own is None:
        session.reporter.say("restart: skipped, only a broker started by the benchmark may be killed")
        return
    options = session.options
    session.rounds(
        Row("restart", f"kill -9 with {options.count:,} × {options.size} B".replace(",", " "), METRICS),
        lambda target: crash_and_restart(session, target, own),
        [session.subject],
    )


def crash_and_restart(session: Session, target: Target, own: OwnBroker) -> Values:
    """Store messages, kill the process, start it, consume one message."""
    fill = filling(session)
    prepare(target, fill)
    with session.reporter.running(f"publish · {target.name}", fill.count) as progress:
        run_prepared(target, fill, session.load_cores, progress)
    own.kill()
    started = time.monotonic()
    own.start(wait=False)
    target.pid = own.pid
    client = own.connect(START_LIMIT)
    listening = time.monotonic()
    queue = fill.queue_name(0)
    stored = client.declare_queue(queue, durable=True, passive=True)
    client.consume(queue, no_ack=False, prefetch=1)
    client.expect(60, 60)
    delivered = time.monotonic()
    client.sock.sendall(ack(1, multiple=False))
    client.sock.close()
    clean(target, fill)
    return {
        "listening_s": listening - started,
        "first_delivery_s": delivered - started,
        "missing": float(fill.count - stored),
    }
