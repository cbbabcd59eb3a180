"""The fault table of a cluster: each fault, what it does to three nodes under load, and what must be noticed of it.

Knows the cluster's faults and the words of its logs; must not know clients.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from benchmarks.nodes.process import BrokerProcess
from tests.support.cluster import ClusterOfProcesses
from tests.support.hooks import jump
from tests.support.waiting import wait_until

LEFT: Final = "Member left"
JOINED: Final = "Member joined"
UNREACHED: Final = "Member cannot be reached"
REACHED: Final = "Member is reached again"
ELECTED: Final = "This node is now the coordinator"
_ALL: Final = (LEFT, JOINED, UNREACHED, REACHED, ELECTED)
WHOLE_DEADLINE: Final = 120.0

Act = Callable[[ClusterOfProcesses, BrokerProcess], None]


@dataclass(frozen=True, slots=True)
class Row:
    """One fault. `seconds` is how long it lasts at least; it lasts until all that must notice it have."""

    name: str
    strike: Act
    mend: Act
    of_coordinator: bool = False
    """Is the node the coordinator, or another one?"""
    seconds: float = 0.0
    is_gone: bool = False
    """Must the others list the node as gone?"""
    is_unreached: bool = False
    """Must they say that it cannot be reached, or that it is gone?"""
    hands_over: bool = False
    """Must another node coordinate?"""
    ends_all: bool = False
    """Do all nodes end? Then it is right that they are seen to leave, and a round takes long."""


@dataclass(frozen=True, slots=True)
class Round:
    """One time that a fault was struck; times are seconds, None for what must not happen and has not."""

    row: Row
    node: int
    began: float
    over: float
    """When the fault had ended and everything was whole again, on the monotonic clock like `began`."""
    noticed: float | None
    """From the fault to the last of the others that noticed."""
    handed_over: float | None
    whole: float
    """From the end of the fault to a cluster with all its members and a coordinator."""
    needless: int
    """How often a member was listed as gone that was there."""


def _nothing(_: ClusterOfProcesses, __: BrokerProcess) -> None:
    pass


def _start(_: ClusterOfProcesses, node: BrokerProcess) -> None:
    node.start(WHOLE_DEADLINE)


def _kill_all(cluster: ClusterOfProcesses, _: BrokerProcess) -> None:
    for node in cluster.nodes:
        node.kill9()


def _start_all(cluster: ClusterOfProcesses, _: BrokerProcess) -> None:
    for node in cluster.nodes:
        node.start(WHOLE_DEADLINE)


def _restart_all(cluster: ClusterOfProcesses, _: BrokerProcess) -> None:
    for node in cluster.nodes:
        node.stop(WHOLE_DEADLINE)
        node.start(WHOLE_DEADLINE)
        cluster.wait_until_complete(WHOLE_DEADLINE)


def _restart_database(cluster: ClusterOfProcesses, _: BrokerProcess) -> None:
    cluster.server.kill9()
    cluster.server.start()


def _database_away(cluster: ClusterOfProcesses, _: BrokerProcess) -> None:
    for node in cluster.nodes:
        cluster.isolate_from_database(node)


def _database_back(cluster: ClusterOfProcesses, _: BrokerProcess) -> None:
    for node in cluster.nodes:
        cluster.reconnect(node)


def _jump(is_forward: bool) -> Act:
    return lambda _, node: jump(node, is_forward=is_forward)


def rows(beat: float) -> list[Row]:
    """Return the table for a heartbeat interval of so many seconds."""
    kill: Act = lambda _, node: node.kill9()  # noqa: E731
    suspend: Act = lambda _, node: node.suspend()  # noqa: E731
    resume: Act = lambda _, node: node.resume()  # noqa: E731
    no_database: Act = lambda cluster, node: cluster.isolate_from_database(node)  # noqa: E731
    refused: Act = lambda cluster, node: cluster.isolate_from_database(node, is_silent=False)  # noqa: E731
    no_peers: Act = lambda cluster, node: cluster.isolate_from_peers(node)  # noqa: E731
    deaf: Act = lambda cluster, node: cluster.deafen(node)  # noqa: E731
    no_thrift: Act = lambda cluster, node: cluster.mute_slots(node)  # noqa: E731
    cut: Act = lambda cluster, node: cluster.cut(node)  # noqa: E731
    reconnect: Act = lambda cluster, node: cluster.reconnect(node)  # noqa: E731
    return [
        Row("member killed", kill, _start, is_gone=True),
        Row("coordinator killed", kill, _start, of_coordinator=True, is_gone=True, hands_over=True),
        Row("all nodes killed", _kill_all, _start_all, ends_all=True),
        Row("coordinator stands still for a third of a beat", suspend, resume, of_coordinator=True, seconds=beat / 3),
        Row("member stands still", suspend, resume, is_gone=True),
        Row("coordinator stands still", suspend, resume, of_coordinator=True, is_gone=True, hands_over=True),
        Row("database killed and started", _restart_database, _nothing),
        Row("database away for two thirds of a beat", _database_away, _database_back, seconds=2 * beat / 3),
        Row("database away for four beats", _database_away, _database_back, seconds=4 * beat),
        Row("member without database", no_database, reconnect, is_gone=True),
        Row("coordinator without database", no_database, reconnect, of_coordinator=True, is_gone=True, hands_over=True),
        Row("member refused by the database", refused, reconnect, is_gone=True),
        Row("member without peers", no_peers, reconnect, is_unreached=True),
        Row("coordinator without peers", no_peers, reconnect, of_coordinator=True, is_unreached=True),
        Row("member deaf to peers", deaf, reconnect, is_unreached=True),
        Row("member's Thrift answers nothing", no_thrift, reconnect, is_unreached=True),
        Row("connections of a node cut", cut, reconnect, seconds=beat / 3),
        Row("wall clock an hour ahead, and back", _jump(True), _jump(False), of_coordinator=True, seconds=beat),
        Row("all nodes restarted in turn", _restart_all, _nothing, ends_all=True),
    ]


class Heard:
    """What one node says of the others and of power, read from its log as it comes."""

    def __init__(self, node: BrokerProcess) -> None:
        self.said: list[dict[str, Any]] = []
        self._log = node.output
        self._read = self._log.mark()

    def catch_up(self) -> list[dict[str, Any]]:
        """Return all that the node has said of this until now."""
        lines = self._log.since(self._read).splitlines()
        self._read += len(lines)
        self.said += [json.loads(line) for line in lines if line.startswith("{") and any(word in line for word in _ALL)]
        return self.said

    def since(self, mark: int, words: Sequence[str], of: BrokerProcess | None = None) -> list[dict[str, Any]]:
        """Return what the node has said since then with these words, of another node if one is given."""
        return [
            event
            for event in self.catch_up()[mark:]
            if event["event"] in words and (of is None or event.get("member") == of.node_id)
        ]

    def sees(self, other: BrokerProcess, mark: int) -> bool:
        """Does the node, as far as it has said since then, see and reach the other one?"""
        last = {event["event"]: event["timestamp"] for event in self.since(mark, _ALL, other)}
        joined = last.get(JOINED, "")
        return last.get(LEFT, "") <= joined and last.get(UNREACHED, "") <= max(joined, last.get(REACHED, ""))


class Striker:
    """Strikes a cluster, one round after the other, and notes how soon it was noticed."""

    def __init__(self, cluster: ClusterOfProcesses, seed: int) -> None:
        self._cluster = cluster
        self._random = random.Random(seed)
        self._heard = {node.node_id: Heard(node) for node in cluster.nodes}
        self._since = self._marks()

    def round(self, row: Row) -> Round:
        """Strike, wait until those that must have noticed, mend, and wait until the cluster is whole.

        Raises `ClusterFailed` when one of these takes too long.
        """
        cluster = self._cluster
        self._wait_until_whole(f"before {row.name}")
        coordinator = cluster.coordinator()
        node = coordinator if row.of_coordinator else self._random.choice(cluster.others(coordinator))
        others = cluster.others(node)
        marks = self._since
        began = time.monotonic()
        row.strike(cluster, node)
        noticed = handed_over = None
        if row.is_gone or row.is_unreached:
            words = (LEFT,) if row.is_gone else (LEFT, UNREACHED)
            self._wait(row, node, "is noticed", lambda: all(self._says(each, marks, words, node) for each in others))
            noticed = time.monotonic() - began
        if row.hands_over:
            self._wait(row, node, "is followed", lambda: any(self._says(each, marks, (ELECTED,)) for each in others))
            handed_over = time.monotonic() - began
        time.sleep(max(0.0, began + row.seconds - time.monotonic()))
        ended = time.monotonic()
        row.mend(cluster, node)
        self._wait_until_whole(f"after {row.name}")
        over = time.monotonic()
        needless = 0 if row.ends_all else self._needless(row, node, marks)
        return Round(row, node.number, began, over, noticed, handed_over, over - ended, needless)

    def _wait(self, row: Row, node: BrokerProcess, what: str, condition: Callable[[], bool]) -> None:
        wait_until(condition, WHOLE_DEADLINE, f"{row.name}: {node} {what}", self._cluster.nodes)

    def _wait_until_whole(self, when: str) -> None:
        """Return when every node, as far as its log says since it last did, sees and reaches every other one."""
        nodes, marks = self._cluster.nodes, self._since

        def is_whole() -> bool:
            self._since = self._marks()
            pairs = ((node, other) for node in nodes for other in nodes if other is not node)
            return all(self._heard[node.node_id].sees(other, marks[node.node_id]) for node, other in pairs)

        wait_until(is_whole, WHOLE_DEADLINE, f"{when}: all nodes see each other", nodes)
        self._cluster.wait_until_complete(WHOLE_DEADLINE)

    def _marks(self) -> dict[str, int]:
        return {node_id: len(heard.catch_up()) for node_id, heard in self._heard.items()}

    def _says(
        self, node: BrokerProcess, marks: Mapping[str, int], words: Sequence[str], of: BrokerProcess | None = None
    ) -> int:
        """Return how often a node has said this since then."""
        return len(self._heard[node.node_id].since(marks[node.node_id], words, of))

    def _needless(self, row: Row, node: BrokerProcess, marks: Mapping[str, int]) -> int:
        is_noticed = row.is_gone or row.is_unreached
        return sum(
            self._says(each, marks, (LEFT,), other)
            for each in self._cluster.nodes
            for other in self._cluster.nodes
            if not (is_noticed and node in (each, other))
        )
