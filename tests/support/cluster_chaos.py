"""Chaos in a cluster under the confirmed load: a seeded schedule of faults, and what came of it.

Knows the cluster's faults, its load and its watch; must not judge the history, which the checker does.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.nodes.process import BrokerProcess
from tests.support.cluster import ClusterOfProcesses
from tests.support.cluster_load import CLUSTER_RULES, RATE, ClusterLoad, Disturbance
from tests.support.cluster_watch import IncarnationEnded, Watch
from tests.support.databases import ServerFailed
from tests.support.events import Fault, write_jsonl
from tests.support.history import check
from tests.support.hooks import jump

GRACE = 15.0  # after a fault; then an incarnation that ends did not end for it
DRAIN_PAUSE = 15.0  # without a message less in the database: then those that are left are stuck
DRAIN_DEADLINE = 180.0
ACK_GRACE = 3.0  # nodes, clients and the database share a machine: what a client sent may be read that much later
START_DEADLINE = 120.0  # of a node that shares its machine
ALL_NODES = -1
NO_NODE = -2
SNAPSHOT = 20.0  # seconds, the longest
_HOLD = {
    "postgresql": "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM pg_class; SELECT pg_sleep({}); COMMIT",
    "mariadb": "START TRANSACTION WITH CONSISTENT SNAPSHOT; SELECT SLEEP({}); COMMIT",
}
_FAULTS_RECORDED = 50


@dataclass(frozen=True, slots=True)
class Struck:
    """A fault that happened; `node` is none of the nodes when the database itself was struck, or nobody was."""

    name: str
    node: int
    began: float
    ended: float


@dataclass(slots=True)
class Outcome:
    """What came of a run: its faults, the promises it broke, and figures for a person."""

    struck: list[Struck]
    broken: list[Fault]
    overlaps: list[str]
    stuck: int
    drained: int
    died: list[str]
    figures: dict[str, object] = field(default_factory=dict)

    @property
    def table(self) -> str:
        """How often each fault happened and how long it lasted, then the figures."""
        times = Counter(each.name for each in self.struck)
        lasted = {name: [each.ended - each.began for each in self.struck if each.name == name] for name in times}
        lines = [f"{'fault':<24}{'times':>6}{'shortest s':>12}{'longest s':>12}"]
        lines += [
            f"{name:<24}{count:>6}{min(lasted[name]):>12.1f}{max(lasted[name]):>12.1f}"
            for name, count in sorted(times.items())
        ]
        lines += [f"{name:<32}{value!s:>8}" for name, value in self.figures.items()]
        return "\n".join(lines)


def brief(broken: list[Fault]) -> list[str]:
    """Return a line for each kind of broken promise: how many there are, and the first."""
    kinds = Counter(fault.kind for fault in broken)
    first = {fault.kind: fault for fault in reversed(broken)}
    return [f"{kind}: {count}, first {first[kind]}" for kind, count in kinds.items()]


class Chaos:
    """Strikes a cluster with one fault after the other, sometimes two at a time, on nodes chosen by chance."""

    def __init__(self, cluster: ClusterOfProcesses, seed: int, *, longest: float = 30.0) -> None:
        self._cluster = cluster
        self._random = random.Random(seed)
        self._longest = longest
        self._is_ahead: set[int] = set()
        self.struck: list[Struck] = []
        self.died: list[str] = []
        self.faults: dict[str, Callable[[BrokerProcess], None]] = {
            "killed": self._kill,
            "restarted": self._restart,
            "suspended": self._suspend,
            "no database, silent": lambda node: self._isolate(node, is_silent=True),
            "no database, refused": lambda node: self._isolate(node, is_silent=False),
            "no peers": self._isolate_from_peers,
            "deaf to peers": self._deafen,
            "connections cut": self._cluster.cut,
            "clock jumps": self._jump,
            "snapshot held": lambda _: self._hold_snapshot(),
        }
        self._holder: threading.Thread | None = None

    def run(self, seconds: float) -> None:
        """Strike for so long; in the end all nodes run and reach everything."""
        until = time.monotonic() + seconds
        names = list(self.faults)
        while time.monotonic() < until:
            self._random.shuffle(names)
            for name in [*names, "database restarted"]:
                if time.monotonic() < until:
                    self._strike(name)
        self._mourn()
        self._cluster.heal()
        if self._holder is not None:
            self._holder.join()

    def _mourn(self) -> None:
        """Note, and start again, the nodes that have ended by themselves: no fault may bring that about."""
        for node in self._cluster.nodes:
            if not node.is_running():
                self.died.append(f"{node}: " + "\n".join(node.log.splitlines()[-5:]))
                node.close()
                node.start(START_DEADLINE)

    def _strike(self, name: str) -> None:
        self._mourn()
        node = self._random.choice(self._cluster.nodes)
        began = time.monotonic()
        if name in self.faults:
            self.faults[name](node)
        else:
            self._cluster.server.kill9()
            time.sleep(self._random.uniform(0, 2))
            self._cluster.server.start()
        number = {"snapshot held": NO_NODE, "database restarted": ALL_NODES}.get(name, node.number)
        self.struck.append(Struck(name, number, began, time.monotonic()))
        time.sleep(self._random.choice([0.2, 1.0, 4.0]))

    def _last(self, most: float | None = None) -> None:
        """Let a fault last, mostly for a short time."""
        time.sleep(min(self._longest, 0.5 * (60.0 ** self._random.random()), most or self._longest))

    def _kill(self, node: BrokerProcess) -> None:
        node.kill9()
        self._last(6.0)
        node.start(START_DEADLINE)

    def _restart(self, node: BrokerProcess) -> None:
        node.stop(60.0)
        node.start(START_DEADLINE)

    def _suspend(self, node: BrokerProcess) -> None:
        node.suspend()
        self._last()
        node.resume()

    def _isolate(self, node: BrokerProcess, *, is_silent: bool) -> None:
        self._cluster.isolate_from_database(node, is_silent=is_silent)
        self._last()
        self._cluster.reconnect(node)

    def _isolate_from_peers(self, node: BrokerProcess) -> None:
        self._cluster.isolate_from_peers(node)
        self._last()
        self._cluster.reconnect(node)

    def _deafen(self, node: BrokerProcess) -> None:
        self._cluster.deafen(node)
        self._last()
        self._cluster.reconnect(node)

    def _hold_snapshot(self) -> None:
        """Let another transaction see the database as it is now, as a dump does, while further faults strike."""
        if self._holder is None or not self._holder.is_alive():
            statement = _HOLD[self._cluster.server.kind].format(min(self._longest, SNAPSHOT))
            self._holder = threading.Thread(target=self._ask, args=(statement,), name="snapshot")
            self._holder.start()

    def _ask(self, statement: str) -> None:
        with contextlib.suppress(ServerFailed):  # it ends with the server
            self._cluster.server.sql(statement, self._cluster.database)

    def _jump(self, node: BrokerProcess) -> None:
        """Forward and, the next time, back again: a process that was started anew is not ahead."""
        jump(node, is_forward=node.pid not in self._is_ahead)
        self._is_ahead ^= {node.pid}


def survive(
    cluster: ClusterOfProcesses,
    seed: int,
    seconds: float,
    *,
    longest: float = 30.0,
    record: Path | None = None,
    strike: Callable[[ClusterLoad], list[Struck]] | None = None,
    rate: float = RATE,
) -> Outcome:
    """Run load and chaos for so long, or until `strike` returns, wait until all is delivered, then see what the history
    says.

    What the history says of the first messages about which a promise is broken is written to `record`.
    """
    load = ClusterLoad(cluster.nodes, seed, rate=rate)
    chaos = Chaos(cluster, seed, longest=longest)
    load.start()
    with closing(Watch(cluster)) as watch:
        if strike is not None:
            chaos.struck += strike(load)
        else:
            chaos.run(seconds)
        cluster.wait_until_complete(60.0)
        calm = time.monotonic()
        load.stop_publishing()
        stuck, counted = _wait_until_drained(cluster, load)
        settled = time.monotonic() - calm
        load.stop()
    drained = load.drain(cluster.nodes[0])
    unexplained = [incarnation for incarnation in watch.ended if not causes_of(incarnation, chaos.struck, cluster)]
    load.disturbances += [disturbance(incarnation, chaos.struck, cluster) for incarnation in watch.ended]
    history = load.history()
    broken = check(
        history,
        CLUSTER_RULES,
        confirm_deadline=60.0,
        clock_error=0.3,
        expiry_grace=10.0,
        ack_grace=ACK_GRACE,
        may_come_late=True,
    )
    if broken and record is not None:
        keys = {fault.key for fault in broken[:_FAULTS_RECORDED]}
        write_jsonl((event for event in history if event.key is None or event.key in keys), record)
        trouble = [*chaos.struck, *watch.ended, *load.disturbances]
        record.with_suffix(".trouble").write_text("\n".join(map(str, trouble)))
    figures: dict[str, object] = {
        "seed": seed,
        "engine": cluster.server.kind,
        "seconds": round(seconds),
        "published, confirmed": load.recorder.confirmed,
        "incarnations ended": len(watch.ended),
        "ended without a fault": len(unexplained),
        "nodes that ended by themselves": len(chaos.died),
        "coordinators": len(watch.coordinators),
        "looks at the slots": watch.looks,
        "most slots": watch.most_slots,
        "overlaps": len(watch.overlaps),
        "calm to drained, s": round(settled, 1),
        "stuck": stuck,
        "counted of these": counted,
        "drained by force": drained,
        "broken promises": len(broken),
    }
    return Outcome(chaos.struck, broken, watch.overlaps, stuck, drained, chaos.died, figures)


def _wait_until_drained(cluster: ClusterOfProcesses, load: ClusterLoad) -> tuple[int, int]:
    """Return how many messages the database still has when all had time to be delivered, and how many a node counts.

    Every queue has consumers: nothing may stay.
    """
    least, now = cluster.stored(), time.monotonic()
    end, pause_end = now + DRAIN_DEADLINE, now + DRAIN_PAUSE
    while (stored := cluster.stored()) and (now := time.monotonic()) < min(end, pause_end):
        if stored < least:
            least, pause_end = stored, now + DRAIN_PAUSE
        time.sleep(0.5)
    return stored, load.waiting(cluster.nodes[0]) if stored else 0


def causes_of(incarnation: IncarnationEnded, struck: list[Struck], cluster: ClusterOfProcesses) -> list[Struck]:
    """Return the faults of its node, or of the database, that this incarnation may have ended for."""
    number = next(node.number for node in cluster.nodes if node.node_id == incarnation.node_id)
    return [
        each
        for each in struck
        if each.node in (number, ALL_NODES)
        and each.began <= incarnation.at
        and incarnation.last_seen <= each.ended + GRACE
    ]


def disturbance(incarnation: IncarnationEnded, struck: list[Struck], cluster: ClusterOfProcesses) -> Disturbance:
    """Return what the end of an incarnation means for the sessions of its node. Its trouble began with the first of its
    faults; a stop of the process that it was not seen to survive made it silent.
    """
    number = next(node.number for node in cluster.nodes if node.node_id == incarnation.node_id)
    causes = causes_of(incarnation, struck, cluster)
    if not causes:
        return Disturbance(number, incarnation.last_seen - GRACE, incarnation.at)
    first = min(causes, key=lambda each: each.began)
    stops = [each for each in causes if each.name in ("killed", "suspended") and incarnation.last_seen <= each.ended]
    silences = tuple((each.began, each.ended) for each in stops)
    ended = max(first.ended, incarnation.at, *(until for _, until in silences))
    return Disturbance(number, first.began, ended, silences)
