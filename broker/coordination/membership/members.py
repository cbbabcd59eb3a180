"""The other members of the cluster, as this node sees them in the rows of all nodes (ADR 16).

A member counts as silent when its beat stands still for a time on this node's own clock. Timestamps that other machines
wrote are never compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import inf
from typing import TypeAlias

from broker.ports.cluster_rows import NodeRow, NodeState


@dataclass(frozen=True, slots=True)
class MemberJoined:
    """An incarnation of a node was seen alive for the first time."""

    node_id: str
    incarnation: str


@dataclass(frozen=True, slots=True)
class MemberLeft:
    """An incarnation of a node has ended: it left, was evicted, or came back as another one (andes §5.4)."""

    node_id: str
    incarnation: str


MemberEvent: TypeAlias = MemberJoined | MemberLeft


class Members:
    """Knows which nodes are alive, and since when the beat of each has stood still.

    Every node watches the others, so that one that becomes the coordinator can evict a silent node without waiting
    first.
    """

    __slots__ = ("_beats", "_heartbeat_max_age", "_next_silent_at", "_node_id", "_seen", "_silent", "members")

    def __init__(self, node_id: str, heartbeat_interval: float) -> None:
        self.members: Mapping[str, NodeRow] = {}
        self._node_id = node_id
        self._heartbeat_max_age = 2 * heartbeat_interval
        self._seen: dict[str, tuple[NodeRow, float]] = {}
        self._beats: dict[str, tuple[NodeRow, float]] = {}
        self._silent: list[NodeRow] = []
        self._next_silent_at = inf

    def on_nodes(self, rows: Iterable[NodeRow], *, asked_at: float, now: float) -> list[MemberEvent]:
        """All rows were read. Return what has changed since the last read."""
        members = {row.node_id: row for row in rows if row.state is NodeState.UP and row.node_id != self._node_id}
        events = changes(self.members, members)
        self.members = members
        self._observe(members, asked_at, now)
        return events

    def on_store_failed(self) -> None:
        """The store did not answer this node, so it may not have answered the others: their silence counts anew."""
        self._seen.clear()
        self._silent.clear()
        self._next_silent_at = inf

    def evictable(self) -> list[NodeRow]:
        """Return the rows of the nodes whose beat has stood still for `heartbeat_max_age` up to the last read.

        The coordinator evicts a node only if its incarnation and beat are still those of the row.
        """
        return list(self._silent)

    def last_beats(self) -> dict[str, float]:
        """Return when the last beat of each member was first seen, by node id."""
        return {node_id: at for node_id, (_, at) in self._beats.items()}

    def next_deadline(self) -> float:
        """Return when the next node will have been silent for too long unless it beats: read all rows then."""
        return self._next_silent_at

    def _observe(self, members: Mapping[str, NodeRow], asked_at: float, now: float) -> None:
        self._silent = []
        seen = {}
        first = inf
        self._beats = {
            node_id: known if (known := self._beats.get(node_id)) and is_same_beat(known[0], row) else (row, now)
            for node_id, row in members.items()
        }
        for node_id, row in members.items():
            before, since = self._seen.get(node_id, (None, 0.0))
            if before is None or not is_same_beat(before, row):
                since = now
            elif asked_at >= since + self._heartbeat_max_age:
                self._silent.append(row)
                seen[node_id] = (row, since)
                continue
            seen[node_id] = (row, since)
            first = min(first, since)
        self._seen = seen
        self._next_silent_at = first + self._heartbeat_max_age


def changes(before: Mapping[str, NodeRow], after: Mapping[str, NodeRow]) -> list[MemberEvent]:
    """Return what happened between two sets of living members; those that left come first."""
    left = {node_id: row for node_id, row in before.items() if not is_same_incarnation(row, after.get(node_id))}
    joined = {node_id: row for node_id, row in after.items() if not is_same_incarnation(row, before.get(node_id))}
    events: list[MemberEvent] = [MemberLeft(row.node_id, row.incarnation) for row in left.values()]
    events += [MemberJoined(row.node_id, row.incarnation) for row in joined.values()]
    return events


def is_same_beat(row: NodeRow, other: NodeRow) -> bool:
    """Return whether a node has not beaten between these two rows of it."""
    return (row.incarnation, row.beat) == (other.incarnation, other.beat)


def is_same_incarnation(row: NodeRow, other: NodeRow | None) -> bool:
    """Return whether both rows are of the same incarnation of a node."""
    return other is not None and other.incarnation == row.incarnation
