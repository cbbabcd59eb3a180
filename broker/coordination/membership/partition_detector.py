"""Decides whether a node sees enough living members of its cluster to take clients (andes §7.1).

A cluster whose network falls apart has at most one part of more than half of its nodes. The others take no clients:
these find a node that does. Pure: what counts as a living member is not decided here.
"""

from __future__ import annotations


class PartitionDetector:
    """Compares the number of members that a node sees with minimumClusterSize."""

    __slots__ = ("_minimum", "reason")

    def __init__(self, minimum: int) -> None:
        """With a `minimum` of 1 clients are always taken: a node sees itself."""
        self.reason = ""
        """Why no clients are taken; empty when they are."""
        self._minimum = minimum

    def on_size(self, size: int) -> bool:
        """This node sees so many living members, itself among them. Return whether `reason` is another one now."""
        before = self.reason
        self.reason = (
            f"this node sees {size} living {'member' if size == 1 else 'members'} of its cluster, itself included, and"
            f" takes no clients below {self._minimum} (minimumClusterSize)"
            if size < self._minimum
            else ""
        )
        return self.reason != before
