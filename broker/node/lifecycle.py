"""The steps in which a standalone and a clustered node differ."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from broker.ports.cluster import Cluster
from broker.ports.cluster_rows import MembershipChange
from broker.ports.records import Topology
from broker.ports.slot import Slot
from broker.ports.store import Registration
from broker.queue.queue import Queue
from broker.queue.services import QueueObserver
from broker.topology.schedules import ScheduleChange


@dataclass(frozen=True, slots=True)
class SeenMember:
    """A living node of the cluster, as this node sees it."""

    node_id: str
    host: str
    port: int
    """Of its Thrift service; 0 for a node that has none."""
    is_coordinator: bool
    beat_age: float | None = None
    """Seconds since its last beat was seen; None of this node itself."""


PartsT_contra = TypeVar("PartsT_contra", contravariant=True)


class Lifecycle(Protocol[PartsT_contra]):
    """The steps of an incarnation in which a standalone and a clustered node differ."""

    @property
    def cluster(self) -> Cluster[Queue]:
        """The nodes that share the store, as the core sees them; available from `attach` on."""
        ...

    @property
    def observer(self) -> QueueObserver[Queue]:
        """The observer of this node's queues; available from `attach` on."""
        ...

    def members(self) -> Sequence[SeenMember]:
        """Return the living nodes that share the store, this one among them, by id; available from `attach` on."""
        ...

    @property
    def epoch(self) -> int:
        """How often the coordinator has changed, as far as this node knows."""
        ...

    def tells_length(self) -> bool:
        """Does this node tell how long streams are, which all nodes share, and see to their retention?"""
        ...

    async def timeline(self, limit: int) -> Sequence[MembershipChange]:
        """Return what has happened to the members last, the newest first. Raises `StoreUnavailable`."""
        ...

    async def change_delayed(self, vhost: str, ids: Sequence[int], due: int) -> Mapping[int, ScheduleChange]:
        """Let the other nodes cancel or move delayed messages (`topology/schedules.Elsewhere`)."""
        ...

    async def register(self, loops: asyncio.TaskGroup) -> Registration:
        """Register this node with the store; from here on it may write."""
        ...

    def attach(self, parts: PartsT_contra) -> None:
        """Connect to the objects of this incarnation, before it has any queue."""
        ...

    async def load(self) -> Topology:
        """Return the recorded topology."""
        ...

    async def backlog(self) -> Sequence[Slot]:
        """Return the slots of stored messages that this node continues to serve."""
        ...

    async def start(self, loops: asyncio.TaskGroup) -> list[asyncio.Task[None]]:
        """Start background tasks in `loops`; return those that must end before `leave`."""
        ...

    async def hand_over(self) -> None:
        """Give other nodes what this one has: its clients are gone, and it goes on. Raises `StoreUnavailable`."""
        ...

    async def hand_off(self) -> None:
        """Hand messages off to other nodes: the clients are gone, the journal still writes."""
        ...

    async def leave(self) -> None:
        """Sign off from the store, so that the next start knows exactly what was delivered; nothing writes any more."""
        ...

    async def close(self) -> None:
        """Release everything else, however this incarnation ended."""
        ...
