"""The processes that generate load; `run_load` starts and watches them and returns their reports."""

import os
import time
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess

from benchmarks.address import Address
from benchmarks.client import Client
from benchmarks.consumer import Consumer
from benchmarks.deliveries import PeerFault
from benchmarks.publisher import Publisher
from benchmarks.scenario import Scenario, encode_batch
from benchmarks.shared import Shared

POLL = 0.02
START_LIMIT = 60.0
# A run fails after so many seconds without progress.
STALL_LIMIT = 30.0

Tick = Callable[[int, int], None]


class LoadFailed(Exception):
    """A measurement could not be completed."""


@dataclass(slots=True)
class Report:
    """The observations of one process; times are nanoseconds of the machine's monotonic clock."""

    role: str
    count: int = 0
    first_ns: int = 0
    last_ns: int = 0
    nacked: int = 0
    parsed: int = 0
    latencies: bytes = b""
    error: str = ""


@dataclass(slots=True)
class LoadResult:
    """The reports of all processes of one run."""

    reports: list[Report] = field(default_factory=list)

    def of(self, role: str) -> list[Report]:
        """Return the reports of the publishers or of the consumers."""
        return [report for report in self.reports if report.role == role]

    def latencies(self, role: str) -> list[int]:
        """Return all latencies in nanoseconds, ascending."""
        samples: array[int] = array("q")
        for report in self.of(role):
            samples.frombytes(report.latencies)
        return sorted(samples)


def publisher_process(
    address: Address, scenario: Scenario, slot: int, shared: Shared, pipe: Connection, cores: set[int]
) -> None:
    """The main function of a publishing process."""
    with reporting("publisher", pipe, cores) as report:
        client = Client(address)
        if scenario.confirm_window:
            client.select_confirms()
        client.sock.settimeout(None)
        publisher = Publisher(client, scenario, encode_batch(scenario, slot, client.frame_max), shared, slot)
        pipe.send("ready")
        shared.go.wait()
        report.first_ns = time.monotonic_ns()
        publisher.run()
        report.count, report.nacked = publisher.sent, publisher.nacked
        report.last_ns = publisher.last_confirm_ns or time.monotonic_ns()
        report.latencies = publisher.latencies.tobytes()
        client.close()


def consumer_process(
    address: Address, scenario: Scenario, slot: int, shared: Shared, pipe: Connection, cores: set[int]
) -> None:
    """The main function of a consuming process."""
    with reporting("consumer", pipe, cores) as report:
        client = Client(address)
        queue = scenario.consumed_queue_name(slot % scenario.queues)
        if scenario.publishers == 0:
            # The time of a drain starts here, when the broker may begin to deliver.
            pipe.send("ready")
            shared.go.wait()
            report.first_ns = time.monotonic_ns()
        wish = scenario.wish_of(slot)
        client.consume(queue, no_ack=not scenario.ack_every, prefetch=scenario.prefetch, arguments=wish)
        consumer = Consumer(client, scenario, shared, slot)
        if scenario.publishers:
            pipe.send("ready")
        consumer.run()
        report.count, report.parsed = consumer.counter.received, consumer.counter.parsed
        report.first_ns, report.last_ns = report.first_ns or consumer.first_ns, consumer.last_ns
        report.latencies = (consumer.counter.latencies or array("q")).tobytes()
        client.close()


@contextmanager
def reporting(role: str, pipe: Connection, cores: set[int]) -> Iterator[Report]:
    """Send the report, with the error that ended the work if there was one; run on `cores`."""
    report = Report(role)
    try:
        if cores:
            os.sched_setaffinity(0, cores)
        yield report
    except (OSError, PeerFault) as error:
        report.error = f"{role}: {error}"
    pipe.send(report)


@dataclass(slots=True)
class _Worker:
    process: SpawnProcess
    pipe: Connection

    def receive(self, limit: float) -> object:
        if not self.pipe.poll(limit):
            raise LoadFailed(f"{self.process.name} said nothing for {limit:.0f} s")
        try:
            said = self.pipe.recv()
        except EOFError as error:
            raise LoadFailed(f"{self.process.name} ended with code {self.process.exitcode}") from error
        if isinstance(said, Report) and said.error:
            raise LoadFailed(said.error)
        return said


def run_load(address: Address, scenario: Scenario, cores: set[int], tick: Tick, expected: int = 0) -> LoadResult:
    """Run one scenario on existing queues; `expected` is how many messages a drain without publishers must receive."""
    context = get_context("spawn")
    shared = Shared.create(context, scenario.publishers, scenario.consumers)
    workers: list[_Worker] = []

    def start(name: str, entry: Callable[..., None], slot: int) -> _Worker:
        mine, theirs = context.Pipe()
        arguments = (address, scenario, slot, shared, theirs, cores)
        process = context.Process(target=entry, args=arguments, name=f"{name} {slot}", daemon=True)
        process.start()
        theirs.close()
        workers.append(_Worker(process, mine))
        return workers[-1]

    try:
        publishers = [start("publisher", publisher_process, slot) for slot in range(scenario.publishers)]
        consumers = [start("consumer", consumer_process, slot) for slot in range(scenario.consumers)]
        for worker in workers:
            worker.receive(START_LIMIT)
        shared.go.set()
        result = LoadResult()
        result.reports += _await_publishers(publishers, shared, tick)
        target = expected or scenario.copies * sum(report.count for report in result.reports)
        if consumers:
            _await_consumers(consumers, shared, target, tick)
        shared.stop.value = 1
        result.reports += [_report(worker) for worker in consumers]
        return result
    finally:
        shared.stop.value = 1
        _end(workers)


def _await_publishers(workers: list[_Worker], shared: Shared, tick: Tick) -> list[Report]:
    waiting = list(workers)
    reports: list[Report] = []
    watch = _Stall()
    while waiting:
        for worker in [worker for worker in waiting if worker.pipe.poll()]:
            reports.append(_report(worker))
            waiting.remove(worker)
        published, consumed = sum(shared.published), sum(shared.consumed)
        tick(published, consumed)
        watch.check(published + consumed, "publishing")
        time.sleep(POLL)
    return reports


def _await_consumers(workers: list[_Worker], shared: Shared, target: int, tick: Tick) -> None:
    watch = _Stall()
    while (consumed := sum(shared.consumed)) < target:
        for worker in workers:
            if worker.pipe.poll():
                worker.receive(0)
        tick(target, consumed)
        watch.check(consumed, f"delivering: {consumed} of {target}")
        time.sleep(POLL)
    tick(target, consumed)


class _Stall:
    __slots__ = ("_seen", "_since")

    def __init__(self) -> None:
        self._seen = -1
        self._since = time.monotonic()

    def check(self, progress: int, doing: str) -> None:
        now = time.monotonic()
        if progress != self._seen:
            self._seen, self._since = progress, now
        elif now - self._since > STALL_LIMIT:
            raise LoadFailed(f"no progress for {STALL_LIMIT:.0f} s while {doing}")


def _report(worker: _Worker) -> Report:
    said = worker.receive(STALL_LIMIT)
    if not isinstance(said, Report):
        raise LoadFailed(f"{worker.process.name} said {said!r}")
    return said


def _end(workers: list[_Worker]) -> None:
    for worker in workers:
        worker.process.join(1.0)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join(5.0)
        worker.pipe.close()
