"""Faults of a database under the confirmed load: what may befall it, and how soon confirms come back.

Knows the load, the broker's process and log, the server and the proxy before it; must not judge the history.
"""

from __future__ import annotations

import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from benchmarks.nodes.configuration import NodeConfiguration
from benchmarks.nodes.process import BrokerFailed, BrokerProcess
from tests.support.databases import DatabaseServer
from tests.support.declarer import Declarer
from tests.support.events import Event, Op, Outcome
from tests.support.load import HABITS, Load
from tests.support.proxy import Proxy

IN_FLIGHT = 800  # publishes that the load's publishers have at most without a confirm
RESOLVED = '"a commit without an answer is resolved"'
DEADLINE = 60.0
COMMITS = {
    "mariadb": b"\x07\0\0\0\x03COMMIT",  # a packet of seven octets, number 0: a query
    "postgresql": b"Q\0\0\0\x0bCOMMIT\0",
}
SHORT_TIMEOUTS = {
    "mariadb": "&socketTimeout=1000&connectTimeout=1000",
    "postgresql": "&socketTimeout=1&connectTimeout=1",
}
# Queues of the load then lie in the database for the most part, and are read while the faults happen.
SMALL_MEMORY = """\
import functools, sys
import broker.node.incarnation
from broker.__main__ import main
from broker.queue.settings import QueueLimits
broker.node.incarnation.QueueLimits = functools.partial(QueueLimits, memory=1 << 12, transient_memory=1 << 12)
sys.exit(main(sys.argv[1:]))
"""
FORGETFUL = (sys.executable, "-c", SMALL_MEMORY)

Fault = Callable[[], float]
"""Does its worst and returns the moment from which the database accepts again."""


class Storm:
    """One broker on one database, its load, and the rounds of faults it has lived through."""

    def __init__(self, broker: BrokerProcess, load: Load, server: DatabaseServer, proxy: Proxy, seed: int) -> None:
        self.broker = broker
        self.load = load
        self.proxy = proxy
        self.declarer = Declarer(broker.host, broker.port)
        self.resumed: list[float] = []  # for each round, seconds from the end of the fault to confirms of new publishes
        self._server = server
        self._random = random.Random(seed)

    @property
    def resolved(self) -> Counter[bool]:
        """How many commits without an answer the broker has found done, and how many not done."""
        lines = [line for line in self.broker.log.splitlines() if RESOLVED in line]
        return Counter('"committed": true' in line for line in lines)

    def rounds(self, fault: Fault, rounds: int, confirms: int) -> None:
        """Let `fault` happen again and again, each time after about `confirms` further confirms."""
        for _ in range(rounds):
            self._wait_for_confirms(self._random.randint(confirms // 2, confirms * 3 // 2))
            time.sleep(self._random.random() / 20)  # a confirm means that a commit has just ended: not only then
            start = len(self.load.recorder.events)
            accepted = fault()
            self._wait_for_confirms(IN_FLIGHT + 1)
            self.resumed.append(first_confirm(self.load.recorder.events[start:], accepted) - accepted)
        self._wait_for_confirms(confirms // 4)

    def end(self) -> int:
        """End the load, then fetch what the database has, and no memory of the broker; return how many messages."""
        self.declarer.stop()
        self.load.stop()
        began = time.monotonic()
        self.broker.kill9()
        self.load.recorder.add(Op.KILL, "harness", began=began)
        self.broker.start()
        return self.load.drain()

    def fault(self, name: str, seconds: float) -> Fault:
        """Return the fault of this name; some last for `seconds` or up to a quarter more."""
        faults: dict[str, Fault] = {
            "killed": self._kill,
            "suspended": partial(self._interrupt, self._server.suspend, self._server.resume, seconds),
            "hanging": partial(self._interrupt, self.proxy.hang, self.proxy.resume, seconds),
            "cut": self._cut,
            "cut before commit": partial(self._cut_commit, self.proxy.cut_before, False),
            "cut after commit": partial(self._cut_commit, self.proxy.cut_after, True),
        }
        return faults[name]

    def _kill(self) -> float:
        self._server.kill9()
        self._server.start()
        return time.monotonic()

    def _interrupt(self, begin: Callable[[], None], end: Callable[[], None], seconds: float) -> float:
        begin()
        time.sleep(seconds * (1 + self._random.random() / 4))
        end()
        return time.monotonic()

    def _cut(self) -> float:
        self.proxy.cut()
        return time.monotonic()

    def _cut_commit(self, cut: Callable[[bytes], None], is_done: bool) -> float:
        """Cut a commit of a batch; one of a reader may come first, then cut another."""
        before = self.resolved[is_done]
        while True:
            moment = self._cut_one(cut)
            with suppress(TimeoutError):
                self._wait_until(lambda: self.resolved[is_done] > before, deadline=1.0)
                return moment

    def _cut_one(self, cut: Callable[[bytes], None]) -> float:
        cuts = self.proxy.cuts
        cut(COMMITS[self._server.kind])
        self._wait_until(lambda: self.proxy.cuts > cuts)
        return time.monotonic()

    def _wait_for_confirms(self, number: int) -> None:
        total = self.load.recorder.confirmed + number
        self._wait_until(lambda: self.load.recorder.confirmed >= total)

    def _wait_until(self, condition: Callable[[], bool], deadline: float = DEADLINE) -> None:
        end = time.monotonic() + deadline
        while not condition():
            if not self.broker.is_running():
                raise BrokerFailed(f"the broker has ended\n{self.broker.log}")
            if time.monotonic() > end:
                raise TimeoutError(f"not within {deadline} s\n{self.broker.log}")
            time.sleep(0.005)


@contextmanager
def storm(
    directory: Path,
    server: DatabaseServer,
    database: str,
    *,
    seed: int,
    is_proxied: bool = False,
    has_short_timeouts: bool = False,
    command: Sequence[str] = FORGETFUL,
) -> Iterator[Storm]:
    """A broker under load on `database`, reached through a proxy or directly; killed at the end if it still runs.

    One that has short timeouts waits a second for each answer of the database.
    """
    with Proxy(server.port) as proxy:
        url = server.jdbc_url(database, port=proxy.port if is_proxied else None)
        url += SHORT_TIMEOUTS[server.kind] if has_short_timeouts else ""
        broker = BrokerProcess(directory / "broker", NodeConfiguration(url), command=command)
        broker.start()
        load = Load(broker.host, broker.port)
        try:
            load.start()
            yield Storm(broker, load, server, proxy, seed)
        finally:
            broker.close()
            load.stop()


def first_confirm(events: list[Event], since: float) -> float:
    """Return when the first publish made after `since` was confirmed."""
    new = {event.key for event in events if event.op is Op.PUBLISH and event.t_inv >= since}
    return min(event.t_ret for event in events if event.op is Op.CONFIRM and event.key in new)


def closed_by_broker(events: list[Event]) -> list[str]:
    """Return the channels that ended without their client's will; a consumer may have the habit of cutting its own."""
    cuts = {f"consumer{number}": habits.cut_every for number, habits in enumerate(HABITS) if habits.cut_every}
    seen: Counter[str] = Counter()
    closed = []
    for event in events:
        if event.op is Op.DELIVER:
            seen[event.process] += 1
        elif event.op is Op.CLOSE and event.type is Outcome.INFO:
            every = cuts.get(event.process, 0)
            if not every or not seen[event.process] or seen[event.process] % every:
                closed.append(event.channel)
    return closed
