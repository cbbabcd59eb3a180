"""What several nodes on one database cost and bring: messages that travel, more nodes, nodes that fail."""

import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

from benchmarks.address import Address
from benchmarks.client import Client
from benchmarks.confirms import ConfirmCounter
from benchmarks.deliveries import DeliveryCounter, PeerFault
from benchmarks.frames import publish
from benchmarks.load import (
    STALL_LIMIT,
    START_LIMIT,
    LoadFailed,
    LoadResult,
    Report,
    consumer_process,
    publisher_process,
)
from benchmarks.nodes.configuration import FAST, SHIPPED, Rhythm
from benchmarks.own_broker import OwnBroker, OwnCluster
from benchmarks.results import Row, Values
from benchmarks.run import work_out
from benchmarks.scenario import Scenario
from benchmarks.session import Session
from benchmarks.shared import Shared
from benchmarks.target import Target

if TYPE_CHECKING:
    from collections.abc import Iterator

LATENCY = Scenario(
    "publish on one node, consume on the other, 1 000/s",
    persistent=True,
    confirm_window=1000,
    ack_every=100,
    prefetch=1000,
    rate=1000,
)
ACROSS = Scenario(
    "publish on one node, consume on the other", persistent=True, confirm_window=1000, ack_every=100, prefetch=1000
)
LATENCY_METRICS = ["p50_ms", "p95_ms", "p99_ms", "max_ms"]
RATE_METRICS = ["rate", "publish_rate"]
FAILURE_METRICS = ["first_delivery_s", "all_delivered_s"]
UNACKED = 100
FAILURE_LIMIT = 90.0
QUEUE = LATENCY.queue_name(0)


def run(session: Session) -> None:
    """Measure on the server of `--store`; the broker that was started on it makes room meanwhile."""
    own = session.subject.own
    store = session.options.store
    if own is None or store.startswith(("jdbc:sqlite", "sqlite")) or not store:
        session.reporter.say("cluster: skipped, it needs --store with a database server, and no --url")
        return
    own.kill()
    try:
        for meets_as_peers in (False, True):
            across(session, store, meets_as_peers=meets_as_peers)
        scaling(session, store)
        for rhythm, name in ((SHIPPED, "as shipped"), (FAST, f"heartbeatInterval {FAST.heartbeat_interval}")):
            for meets_as_peers in (False, True):
                failing(session, store, rhythm, f"{name}{', peers' * meets_as_peers}", meets_as_peers=meets_as_peers)
    finally:
        own.start()
        session.subject.pid = own.pid


def across(session: Session, store: str, *, meets_as_peers: bool) -> None:
    """Messages that are published here and wanted there."""
    with OwnCluster(2, store, SHIPPED, meets_as_peers=meets_as_peers) as cluster:
        here, there = cluster.addresses
        for scenario, metrics in ((LATENCY, LATENCY_METRICS), (ACROSS, RATE_METRICS)):
            name = f"{scenario.name}{', nodes meet as peers' * meets_as_peers}"
            measured(session, replace(scenario, name=name), metrics, [here], [there])


def scaling(session: Session, store: str) -> None:
    """As many publishers and consumers of a queue each as there are nodes, from one to three."""
    for size in (1, 2, 3):
        shape = replace(ACROSS, publishers=size, consumers=size, queues=size)
        with OwnCluster(size, store, SHIPPED) as cluster:
            name = f"{size} node{'s' * (size > 1)}, a publisher, a queue and a consumer on each"
            measured(session, replace(shape, name=name), RATE_METRICS, cluster.addresses, cluster.addresses)


def failing(session: Session, store: str, rhythm: Rhythm, rhythm_name: str, *, meets_as_peers: bool) -> None:
    """How long until another node delivers what a node held that was killed or stopped."""
    for name, victim, end in (
        ("kill -9 of the coordinator", 0, OwnBroker.kill),
        ("kill -9 of a member", 1, OwnBroker.kill),
        ("SIGTERM of a member", 1, OwnBroker.ask_to_stop),
    ):
        row = Row("cluster", f"{name} with {UNACKED} unacknowledged, {rhythm_name}", FAILURE_METRICS)

        def once(_: Target, victim: int = victim, end: Callable[[OwnBroker], None] = end) -> Values:
            with OwnCluster(2, store, rhythm, meets_as_peers=meets_as_peers) as cluster:
                return take_over(cluster.nodes[victim], cluster.nodes[1 - victim], end)

        session.rounds(row, once, [session.subject])


def measured(
    session: Session, scenario: Scenario, metrics: list[str], here: Sequence[Address], there: Sequence[Address]
) -> None:
    """Fill a row with what publishers on `here` and consumers on `there` see."""
    scenario = replace(scenario, seconds=session.options.seconds)

    def once(_: Target) -> Values:
        with queues(scenario, here[0]):
            return work_out(scenario, run_between(here, there, scenario, session.load_cores))

    session.rounds(Row("cluster", scenario.name, metrics), once, [session.subject])


@contextmanager
def queues(scenario: Scenario, address: Address) -> "Iterator[None]":
    """Declare the queues of a scenario, empty, and delete them afterwards."""
    names = [scenario.queue_name(number) for number in range(scenario.queues)]
    client = Client(address)
    for name in names:
        client.delete_queue(name)
        client.declare_queue(name, durable=True)
    client.close()
    yield
    client = Client(address)
    for name in names:
        client.delete_queue(name)
    client.close()


def run_between(here: Sequence[Address], there: Sequence[Address], scenario: Scenario, cores: set[int]) -> LoadResult:
    """Run the load's processes with the publishers on some nodes and the consumers on others."""
    context = get_context("spawn")
    shared = Shared.create(context, scenario.publishers, scenario.consumers)
    workers = []
    for entry, count, addresses in (
        (publisher_process, scenario.publishers, here),
        (consumer_process, scenario.consumers, there),
    ):
        for slot in range(count):
            mine, theirs = context.Pipe()
            arguments = (addresses[slot % len(addresses)], scenario, slot, shared, theirs, cores)
            process = context.Process(target=entry, args=arguments, daemon=True)
            process.start()
            theirs.close()
            workers.append((process, mine))
    try:
        for _, pipe in workers:
            receive(pipe, START_LIMIT)
        shared.go.set()
        result = LoadResult()
        pipes = [pipe for _, pipe in workers]
        result.reports += [report(pipe, scenario.seconds + STALL_LIMIT) for pipe in pipes[: scenario.publishers]]
        await_consumers(shared, sum(each.count for each in result.reports))
        shared.stop.value = 1
        result.reports += [report(pipe, STALL_LIMIT) for pipe in pipes[scenario.publishers :]]
        return result
    finally:
        shared.stop.value = 1
        for process, pipe in workers:
            process.join(2.0)
            if process.is_alive():
                process.kill()
                process.join(5.0)
            pipe.close()


def await_consumers(shared: Shared, expected: int) -> None:
    """Return when all is consumed; raise when nothing comes any more."""
    seen, since = -1, time.monotonic()
    while (consumed := sum(shared.consumed)) < expected:
        if consumed != seen:
            seen, since = consumed, time.monotonic()
        elif time.monotonic() - since > STALL_LIMIT:
            raise LoadFailed(f"no progress for {STALL_LIMIT:.0f} s: {consumed} of {expected} delivered")
        time.sleep(0.02)


def receive(pipe: Connection, limit: float) -> object:
    """Return what a process says within `limit` seconds."""
    if not pipe.poll(limit):
        raise LoadFailed(f"a process of the load said nothing for {limit:.0f} s")
    try:
        said = pipe.recv()
    except EOFError as error:
        raise LoadFailed("a process of the load has ended") from error
    if isinstance(said, Report) and said.error:
        raise LoadFailed(said.error)
    return said


def report(pipe: Connection, limit: float) -> Report:
    """Return the report of a process."""
    said = receive(pipe, limit)
    if not isinstance(said, Report):
        raise LoadFailed(f"a process of the load said {said!r}")
    return said


def take_over(victim: OwnBroker, other: OwnBroker, end: Callable[[OwnBroker], None]) -> Values:
    """Let a client of `victim` hold messages, end that node, and time their delivery by the other."""
    holder, waiter = victim.connect(START_LIMIT), other.connect(START_LIMIT)
    waiter.delete_queue(QUEUE)
    waiter.declare_queue(QUEUE, durable=True)
    holder.select_confirms()
    holder.sock.sendall(publish("", QUEUE, 100, persistent=True, frame_max=holder.frame_max) * UNACKED)
    confirms = ConfirmCounter()
    while confirms.settled < UNACKED:
        confirms.take(read(holder))
    holding = victim.connect(START_LIMIT)
    holding.consume(QUEUE, no_ack=False, prefetch=UNACKED)
    deliveries(holding, UNACKED, START_LIMIT)
    waiter.consume(QUEUE, no_ack=True, prefetch=0)
    began = time.monotonic()
    end(victim)
    first, last = deliveries(waiter, UNACKED, FAILURE_LIMIT)
    for client in (holder, holding):
        client.sock.close()
    waiter.close()
    return {"first_delivery_s": first - began, "all_delivered_s": last - began}


def deliveries(client: Client, count: int, limit: float) -> tuple[float, float]:
    """Return when the first and when the last of so many deliveries came."""
    counter = DeliveryCounter(1 << 20)
    ahead = client.take_ahead()
    counter.buffer[: len(ahead)] = ahead
    first = time.monotonic()
    received = counter.take(len(ahead))
    client.sock.settimeout(limit)
    while counter.received < count:
        size = client.sock.recv_into(memoryview(counter.buffer)[counter.filled :])
        if not size:
            raise PeerFault("the broker closed the consumer's connection")
        if counter.take(size) and not received:
            first, received = time.monotonic(), counter.received
    return first, time.monotonic()


def read(client: Client) -> bytes:
    """Read what there is."""
    data = client.sock.recv(1 << 16)
    if not data:
        raise PeerFault("the broker closed the publisher's connection")
    return data
