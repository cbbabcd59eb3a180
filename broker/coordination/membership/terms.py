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

    __slots__ = ("_heartbeat_max_age", "_node_id", "_seen", "_terms")

    def __init__(self, node_id: str, terms: str, heartbeat_interval: float) -> None:
        """Without `terms`, or beside rows without any, nothing is compared."""
        self._node_id = node_id
        self._terms = terms
        self._heartbeat_max_age = 2 * heartbeat_interval
        self._seen: dict[str, tuple[NodeRow, float]] = {}

    def on_nodes(self, rows: Iterable[NodeRow], now: float) -> bool:
        """The rows of all nodes were read. Return whether this node may register; if not, read them again.

        Raises `TermsDiffer` when one that has other terms has beaten meanwhile.
        """
        may_register = True
        for row in rows:
            if row.node_id == self._node_id or row.state is not NodeState.UP or row.terms in ("", self._terms):
                continue
            first, since = self._seen.setdefault(row.node_id, (row, now))
            if row != first:
                raise TermsDiffer(
                    f"the nodes of a cluster must agree: node '{row.node_id}' has '{row.terms}', this one"
                    f" '{self._terms}'; stop all nodes, change all, and start them"
                )
            if now < since + self._heartbeat_max_age:
                may_register = False
        return may_register or not self._terms
