"""What things cost in memory while they do nothing, and whether they slow others down."""

import resource
import time
from collections.abc import Callable
from dataclasses import replace

from benchmarks.cases.throughput import LATENCY, TRANSIENT
from benchmarks.client import NO_WAIT, Client, queue_declare
from benchmarks.frames import method, short_string
from benchmarks.results import Row, Values
from benchmarks.run import clean, measure, prepare, run_prepared
from benchmarks.session import Session
from benchmarks.target import Target

MESSAGES = 100_000
# Memory is read once the broker has had time to finish what it does in the background.
SETTLE = 1.0


def run(session: Session) -> None:
    """Measure connections, queues and messages one after the other."""
    options = session.options
    allow_files(2 * options.connections + 200)
    rows: list[tuple[str, list[str], Callable[[Target], Values]]] = [
        (f"{options.connections} idle connections", ["each_kb"], lambda target: connections(session, target)),
        (f"{options.queues} empty queues", ["each_kb"], lambda target: queues(session, target)),
        (f"{MESSAGES} messages of 100 B in memory", ["each_kb"], lambda target: messages(session, target)),
    ]
    for name, metrics, once in rows:
        session.rounds(Row("memory", name, metrics), once, [t for t in session.targets if t.pid])
    for name, idle in (("alone", False), ("beside idle connections and queues", True)):
        session.rounds(
            Row("memory", f"latency at 5 000/s {name}", ["p50_ms", "p99_ms", "confirm_p50_ms", "confirm_p99_ms"]),
            lambda target, idle=idle: latency(session, target, idle=idle),  # type: ignore[misc]
        )


def allow_files(wanted: int) -> None:
    """Raise the limit of open files as far as allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))


def connections(session: Session, target: Target) -> Values:
    """Open idle connections with one channel each."""
    clients: list[Client] = []
    try:
        # The first ones fill what the process has freed since its start; they are not counted.
        clients += open_connections(session, target)
        time.sleep(SETTLE)
        before = target.rss() or 0
        clients += open_connections(session, target)
        time.sleep(SETTLE)
        grown = (target.rss() or 0) - before
    finally:
        close_connections(clients)
    return {"each_kb": grown / 1e3 / session.options.connections}


def queues(session: Session, target: Target) -> Values:
    """Declare transient queues and leave them empty."""
    try:
        with session.reporter.running(f"queues · {target.name}", 2 * session.options.queues):
            declare_queues(session, target)
            time.sleep(SETTLE)
            before = target.rss() or 0
            declare_queues(session, target, part=1)
            time.sleep(SETTLE)
        grown = (target.rss() or 0) - before
    finally:
        delete_queues(session, target)
        delete_queues(session, target, part=1)
    return {"each_kb": grown / 1e3 / session.options.queues}


def messages(session: Session, target: Target) -> Values:
    """Queue transient messages nobody consumes."""
    fill = replace(TRANSIENT, name="fill", consumers=0, confirm_window=1000, count=MESSAGES)
    prepare(target, fill)
    try:
        before = target.rss() or 0
        with session.reporter.running(f"messages · {target.name}", MESSAGES) as progress:
            run_prepared(target, fill, session.load_cores, progress)
        time.sleep(SETTLE)
        grown = (target.rss() or 0) - before
    finally:
        clean(target, fill)
    return {"each_kb": grown / 1e3 / MESSAGES}


def latency(session: Session, target: Target, *, idle: bool) -> Values:
    """Measure latency, with the idle things of the other rows around it or without."""
    scenario = replace(LATENCY, seconds=session.options.seconds)
    clients: list[Client] = []
    try:
        if idle:
            clients = open_connections(session, target)
            declare_queues(session, target)
        with session.reporter.running(f"latency · {target.name}", scenario.limit) as progress:
            return measure(target, scenario, session.load_cores, progress)
    finally:
        close_connections(clients)
        if idle:
            delete_queues(session, target)


def open_connections(session: Session, target: Target) -> list[Client]:
    """Open as many connections as the options say."""
    wanted = session.options.connections
    with session.reporter.running(f"connections · {target.name}", wanted) as progress:
        clients = []
        for number in range(wanted):
            clients.append(Client(target.address))
            progress(number + 1, 0)
    return clients


def close_connections(clients: list[Client]) -> None:
    """Close them all in order."""
    for client in clients:
        client.close()


def queue_numbers(session: Session, part: int) -> range:
    """Return the numbers of one part of the queues; each part has as many as the options say."""
    count = session.options.queues
    return range(part * count, (part + 1) * count)


def declare_queues(session: Session, target: Target, part: int = 0) -> None:
    """Declare the queues without waiting for each."""
    client = Client(target.address)
    numbers = queue_numbers(session, part)
    client.sock.sendall(b"".join(method(1, 50, 10, queue_declare(f"bench.idle.{n}", NO_WAIT)) for n in numbers))
    # An answer to this one means that all before it are done.
    client.declare_queue(f"bench.idle.{numbers[0]}")
    client.close()


def delete_queues(session: Session, target: Target, part: int = 0) -> None:
    """Delete what `declare_queues` declared."""
    client = Client(target.address)
    names = [short_string(f"bench.idle.{n}") for n in queue_numbers(session, part)]
    # The last bit of the flags is no-wait (0-9-1 queue.delete).
    client.sock.sendall(b"".join(method(1, 50, 40, b"\x00\x00" + name + b"\x04") for name in names))
    client.delete_queue("bench.idle.0")
    client.close()
