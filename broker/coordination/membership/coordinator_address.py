"""Where the coordinator answers, as far as this node knows: followed from what the election has seen.

Decides when the address is to be read again. Does no I/O and reads no clock.
"""

from __future__ import annotations

from math import inf
from typing import TypeAlias

from broker.ports.cluster_rows import Lease
from broker.ports.peer_calls import Fence

CoordinatorAddress: TypeAlias = tuple[str, int, Fence]


class Whereabouts:
    """The coordinator's fence, and its address once that was read; `due` is when to read it."""

    __slots__ = ("_node_id", "_retry_after", "address", "due", "fence")

    def __init__(self, node_id: str, retry_after: float) -> None:
        """An address that could not be read is read again after `retry_after` seconds."""
        self.address: CoordinatorAddress | None = None
        self.due = inf
        self.fence = Fence()
        """Whom this node takes for the coordinator; perhaps not in power yet, or not any more."""
        self._node_id = node_id
        self._retry_after = retry_after

    def on_own_power(self, own: CoordinatorAddress) -> None:
        """This node has the lease."""
        self.address, self.fence = own, own[2]
        self.due = inf

    def on_lease(self, lease: Lease | None, now: float) -> str | None:
        """The lease was read, by a node that does not hold it; return the node that is a new coordinator."""
        if lease is None or lease.holder is None or lease.holder == self._node_id:
            # Nobody, or an earlier incarnation of this node, or this one before it has noticed that its power is over.
            self.address, self.due = None, inf
            return None
        seen = Fence(lease.epoch, lease.term)
        is_new = seen != self.fence
        if is_new:
            self.address, self.fence = None, seen
        if self.address is None and (is_new or self.due == inf):
            self.due = now
        return lease.holder if is_new else None

    def on_asked(self, now: float) -> None:
        """The address is being read; without an answer it is read again later."""
        self.due = now + self._retry_after

    def on_address(self, found: CoordinatorAddress | None) -> bool:
        """The address was read; return whether it is that of the coordinator whom the election has seen."""
        self.due = inf
        if found is None or found[2] != self.fence:
            self.address = None
            return False
        self.address = found
        return True
