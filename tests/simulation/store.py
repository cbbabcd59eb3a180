"""The store of the simulated world: the compare-and-set rules of ADR 16, and what must never commit.

Each method is one committed transaction. What it sees as a violation it raises: a run stops at the first one.
"""

from __future__ import annotations

from broker.ports.cluster_rows import Lease


class Violation(AssertionError):
    """An invariant is broken."""


class Audit:
    """The committed writes of coordinators, in the order of their commits."""

    def __init__(self) -> None:
        self.entries: list[tuple[int, str, str]] = []

    def record(self, node: str, epoch: int, term: str) -> None:
        """Note a committed write of a coordinator and hold invariant I51 against all earlier ones."""
        if self.entries:
            last_epoch, last_term, last_node = self.entries[-1]
            if epoch < last_epoch:
                raise Violation(f"I51: {node} wrote with epoch {epoch} after {last_node} wrote with {last_epoch}")
            if epoch == last_epoch and (term, node) != (last_term, last_node):
                raise Violation(f"I51: both {last_node} and {node} wrote with epoch {epoch}")
        self.entries.append((epoch, term, node))


class SimulatedStore:
    """Lease, fence and the audit of coordinators' writes; without `fenced`, a planted bug, the fence lets all pass."""

    def __init__(self, *, fenced: bool = True) -> None:
        self.lease = Lease(0, 0, "", None)
        self.fence = (0, "")
        self.audit = Audit()
        self.refused = 0
        self.claims = 0
        self._fenced = fenced
        self._pairs: set[tuple[int, str]] = set()
        self._history: list[tuple[float, Lease, tuple[int, str], int]] = []

    def read_lease(self) -> Lease:
        return self.lease

    def claim(self, node: str, seen: Lease, term: str) -> bool:
        lease = self.lease
        if (lease.epoch, lease.beat, lease.term) != (seen.epoch, seen.beat, seen.term):
            return False
        if (lease.epoch + 1, term) in self._pairs:
            raise Violation(f"I56: epoch {lease.epoch + 1} with term {term} was given out twice")
        self.claims += 1
        self.lease = Lease(lease.epoch + 1, 0, term, node)
        self.fence = (lease.epoch + 1, term)
        self._pairs.add(self.fence)
        return True

    def renew(self, epoch: int, term: str) -> bool:
        lease = self.lease
        if (lease.epoch, lease.term) != (epoch, term) or lease.holder is None:
            return False
        self.lease = Lease(epoch, lease.beat + 1, term, lease.holder)
        return True

    def resign(self, epoch: int, term: str) -> bool:
        lease = self.lease
        if (lease.epoch, lease.term) != (epoch, term) or lease.holder is None:
            return False
        self.lease = Lease(epoch, lease.beat + 1, term, None)
        return True

    def write(self, node: str, epoch: int, term: str) -> bool:
        """A coordinator uses its power: assigns a slot, evicts a node."""
        if (epoch, term) != self.fence:
            if self._fenced:
                self.refused += 1
                return False
            raise Violation(f"I51: {node} wrote with epoch {epoch} when {self.fence[0]} had begun")
        self.audit.record(node, epoch, term)
        return True

    def remember(self, now: float) -> None:
        """Keep the state as of `now`, for a fail-over that loses the last commits."""
        self._history.append((now, self.lease, self.fence, len(self.audit.entries)))

    def fail_over(self, now: float) -> None:
        """Become the replica that has not got what was committed after `now`."""
        for at, lease, fence, written in reversed(self._history):
            if at <= now:
                self.lease, self.fence = lease, fence
                del self.audit.entries[written:]
                return
