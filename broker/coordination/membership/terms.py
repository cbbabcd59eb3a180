"""Nodes of one cluster that disagree about how they meet do not start beside each other (ADR 76).

What they must agree about is in their rows, in words. The row of a node that was killed says UP until somebody evicts
it, so a start waits until it is seen whether it still beats. Pure: does no I/O and reads no clock.
"""

from __future__ import annotations

from collections.abc import Iterable

from broker.errors import CoordinationError
from broker.ports.cluster_rows import NodeRow, NodeState


class TermsDiffer(CoordinationError):
    """A living node of the cluster has other terms than this one."""


class TermsCheck:
    """Compares the terms of a node that is about to register with those of the nodes that live."""

    __slots__ = ("_asked", "_heartbeat_max_age", "_later", "_node_id", "_seen", "_terms")

    def __init__(self, node_id: str, terms: str, heartbeat_interval: float) -> None:
        """Without `terms`, or beside rows without any, nothing is compared."""
        self._node_id = node_id
        self._terms = terms
        self._heartbeat_max_age = 2 * heartbeat_interval
        self._seen: dict[str, tuple[NodeRow, float]] = {}
        self._asked: set[str] = set()
        self._later: dict[str, float] = {}

    def on_nodes(self, rows: Iterable[NodeRow], now: float) -> bool:
        """The rows of all nodes were read. Return whether this node may register; if not, read them again.

        Raises `TermsDiffer` when one that has other terms has beaten meanwhile.
        """
        may_register = True
        for row in self._differing(rows):
            first, since = self._seen.setdefault(row.node_id, (row, now))
            if row != first:
                raise self.difference(row)
            if now < since + self._heartbeat_max_age:
                may_register = False
        return may_register

    def take_unasked(self) -> list[NodeRow]:
        """Return the rows with other terms that were not returned before: their processes may answer for them."""
        unasked = [row for node_id, (row, _) in self._seen.items() if node_id not in self._asked]
        self._asked.update(row.node_id for row in unasked)
        return unasked

    def on_registered(self, rows: Iterable[NodeRow], now: float) -> bool:
        """The rows were read after this node had registered. Return whether it may stay; if not, read them again.

        Of two nodes that registered at the same time one at least sees the other. The one with the lesser id stays if
        the other one ends for it; if that goes on, which has not seen this one, this one ends. Raises `TermsDiffer`.
        """
        may_stay = True
        for row in self._differing(rows):
            if self._is_silent(row):
                continue
            since = self._later.setdefault(row.node_id, now)
            if row.node_id < self._node_id or now >= since + self._heartbeat_max_age:
                raise self.difference(row)
            may_stay = False
        return may_stay

    def difference(self, row: NodeRow) -> TermsDiffer:
        """Return what is wrong with two nodes of one cluster, with both values."""
        return TermsDiffer(
            f"the nodes of a cluster must agree: node '{row.node_id}' has '{row.terms}', this one '{self._terms}';"
            " stop all nodes, change all, and start them"
        )

    def _differing(self, rows: Iterable[NodeRow]) -> Iterable[NodeRow]:
        if not self._terms:
            return ()
        return (
            row
            for row in rows
            if row.node_id != self._node_id and row.state is NodeState.UP and row.terms not in ("", self._terms)
        )

    def _is_silent(self, row: NodeRow) -> bool:
        """Did this row stand still when this node registered, and has not moved since?"""
        seen = self._seen.get(row.node_id)
        return seen is not None and seen[0] == row
