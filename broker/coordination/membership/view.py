"""What a node's membership is taken from: of the nodes that live by the store, whom this one counts as members.

Safety does not depend on it: lease, fence and trust are the store's, whichever way a cluster meets (ADR 76).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from broker.ports.cluster_rows import Incarnation


class MembershipView(Protocol):
    """Whom a node sees, and whether it is its turn to coordinate."""

    @property
    def needs_store(self) -> bool:
        """Does this node see nobody while the store does not answer?"""
        ...

    def includes(self, member: Incarnation) -> bool:
        """Is a node that lives by the store a member, as this one sees it?"""
        ...

    def is_nominated(self, living: Collection[Incarnation]) -> bool:
        """May this node claim the lease when nobody holds it? `living` are the nodes that live by the store."""
        ...


class StoreView:
    """The view of a cluster that meets in the database: who lives by the store is a member, and anybody may claim."""

    needs_store = True

    def includes(self, member: Incarnation) -> bool:
        return True

    def is_nominated(self, living: Collection[Incarnation]) -> bool:
        return True
