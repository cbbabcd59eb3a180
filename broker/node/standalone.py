"""A standalone node: no other node uses its store."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from broker.node.incarnation import NodeIncarnation
from broker.node.lifecycle import SeenMember
from broker.ports.cluster import NoOtherNodes
from broker.ports.cluster_rows import MembershipChange
from broker.ports.records import Topology
from broker.ports.slot import Slot
from broker.ports.store import Registration
from broker.queue.queue import Queue
from broker.queue.services import UNOBSERVED
from broker.store.retrying import Retry, RetryingStore
from broker.topology.schedules import ScheduleChange


class Standalone:
    """The lifecycle of a standalone node."""

    observer = UNOBSERVED

    def __init__(self, store: RetryingStore, node_id: str, start_retry: Retry) -> None:
        self._store = store
        self._node_id = node_id
        self._start_retry = start_retry
        self._parts: NodeIncarnation
        self.cluster: NoOtherNodes

    def members(self) -> Sequence[SeenMember]:
        return (SeenMember(self._node_id, "", 0, is_coordinator=True),)  # of itself

    epoch = 0

    def tells_length(self) -> bool:
        return True

    async def timeline(self, limit: int) -> Sequence[MembershipChange]:
        return ()

    async def register(self, loops: asyncio.TaskGroup) -> Registration:
        return await self._start_retry.until_done(lambda: self._store.store.register(self._node_id))

    def attach(self, parts: NodeIncarnation) -> None:
        self._parts = parts
        self.cluster = NoOtherNodes(self._store.record, parts.journal.forget)

    async def load(self) -> Topology:
        return await self._store.load()

    async def change_delayed(self, vhost: str, ids: Sequence[int], due: int) -> Mapping[int, ScheduleChange]:
        return {}

    async def backlog(self) -> Sequence[Slot]:
        return await self._store.backlog()

    async def start(self, loops: asyncio.TaskGroup) -> list[asyncio.Task[None]]:
        return []

    async def hand_over(self) -> None:
        """Nothing to do: there is no other node."""

    async def hand_off(self) -> None:
        """Nothing to do: there is no other node to hand messages off to."""

    async def leave(self) -> None:
        await mark_what_was_delivered(self._parts)
        await self._store.store.resign()

    async def close(self) -> None:
        """Nothing to do: a standalone node holds no further resources."""


async def mark_what_was_delivered(parts: NodeIncarnation) -> None:
    """Record which of the messages that stay in the store were delivered."""
    left = {queue: queue.leave_behind() for queue in parts.levels}
    redelivered = [message for messages, _ in left.values() for message in messages]
    if redelivered:
        await parts.store.store.mark_redelivered(redelivered)
    for queue, (_, slots) in left.items():
        for slot in slots:
            await _mark_redelivered(parts, queue, slot)


async def _mark_redelivered(parts: NodeIncarnation, queue: Queue, slot: Slot) -> None:
    """Mark every message of a slot that a crash left: each of them may have been delivered."""
    store = parts.store.store
    while messages := await store.read(queue, slot, queue.limits.read_ahead, queue.limits.read_ahead_bytes):
        await store.mark_redelivered(messages)
        slot.start = messages[-1].id + 1
