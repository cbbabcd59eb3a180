"""The coordinator's address, as far as this node knows it.

The election sees who holds the lease; `CoordinatorAddress` decides when the holder's address must be read.
"""

from __future__ import annotations

from math import inf
from typing import TypeAlias

from broker.ports.cluster_rows import Lease
from broker.ports.peer_calls import Fence

FencedAddress: TypeAlias = tuple[str, int, Fence]
"""Host, port, and the fence of the coordinator that answers there."""


class CoordinatorAddress:
    """The coordinator's fence, and its address once it has been read; `due` is the time to read it."""

    __slots__ = ("_node_id", "_retry_after", "address", "due", "fence")

    def __init__(self, node_id: str, retry_after: float) -> None:
        """An address that could not be read is read again after `retry_after` seconds."""
        self.address: FencedAddress | None = None
        self.due = inf
        self.fence = Fence()
        """The fence of the last holder of the lease; its power may not have begun yet, or may be over."""
        self._node_id = node_id
        self._retry_after = retry_after

    def on_own_power(self, own: FencedAddress) -> None:
        """This node holds the lease: the address is its own."""
        self.address, self.fence = own, own[2]
        self.due = inf

    def on_lease(self, lease: Lease | None, now: float) -> str | None:
        """The lease was read, and this node does not hold it. Return the id of the holder if it is a new one."""
        if lease is None or lease.holder is None or lease.holder == self._node_id:
            # The holder is nobody, or an earlier incarnation of this node, or this one, whose power is over.
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
        """The address is being read; it is read again if no answer comes."""
        self.due = now + self._retry_after

    def on_address(self, found: FencedAddress | None) -> bool:
        """The address was read. Return whether it belongs to the coordinator that the election has seen."""
        self.due = inf
        if found is None or found[2] != self.fence:
            self.address = None
            return False
        self.address = found
        return True
