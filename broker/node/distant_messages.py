"""Messages of a queue that are not on this node: got one by one, counted and purged, wherever they lie.

Nodes are asked where they answer. Those that cannot be called are reached by the store: what is free in it is claimed,
and an event tells them to hand something off, or to purge.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final

import structlog

from broker.clock import Clock
from broker.coordination.membership.agent import ClusterAgent
from broker.coordination.peers import Peers
from broker.coordination.replication.event_codec import Purge, Wanted
from broker.coordination.replication.replicator import Replicator
from broker.coordination.slots.demand import name_of
from broker.coordination.slots.runner import SlotRunner
from broker.errors import CoordinationError, Fenced, StoreUnavailable
from broker.node.incarnation import NodeIncarnation
from broker.ports.cluster import SlotService
from broker.ports.peer_calls import QueueName, Unavailable
from broker.queue.queue import Queue
from broker.store.retrying import Retry
from broker.store.server.store import ServerStore

_log = structlog.get_logger(__name__)

_PURGE_TIMEOUT: Final = 5.0
_WANTED: Final = 100
"""Messages that other nodes hand off for a basic.get that only the store can serve."""
_CLAIMS: Final = 10
_CLAIM_INTERVAL: Final = 0.1
_WANT_PAUSE: Final = 5.0


class DistantMessages:
    """What other nodes and the store have of this node's queues."""

    def __init__(
        self,
        parts: NodeIncarnation,
        shared: ServerStore,
        slots: SlotRunner,
        replicator: Replicator,
        agent: ClusterAgent,
        peers: Peers,
        clock: Clock,
        retry: Retry,
        *,
        is_cut_off: Callable[[], bool],
    ) -> None:
        """`is_cut_off` tells whether somebody cannot be asked; `retry` does what a store that is away delays."""
        self._parts = parts
        self._shared = shared
        self._slots = slots
        self._replicator = replicator
        self._agent = agent
        self._peers = peers
        self._clock = clock
        self._retry = retry
        self._is_cut_off = is_cut_off
        self._want_at: dict[int, float] = {}
        """By queue id, when to ask nodes for messages again that had none to give."""

    async def fetch(self, queue: Queue) -> bool:
        """Bring a message of the queue here, if any is elsewhere; return whether one has come."""
        for level in reversed(queue.levels):
            if await self._slots.fetch(level):
                return True
        if not self._is_cut_off():
            return False
        try:
            for level in reversed(queue.levels):
                if await self._fetch_stored(level):
                    return True
            return False
        except (StoreUnavailable, Fenced) as error:
            _log.debug("nothing was got from the store", queue=queue.name, reason=str(error))
            return False

    async def _fetch_stored(self, queue: Queue) -> bool:
        """Take what is free in the store, and if nothing is, let nodes that cannot be called hand some off first."""
        if await self._slots.claim(queue):
            return True
        now = self._clock.monotonic()
        if now < self._want_at.get(queue.queue_id, now) or not await self.has_unseen(queue):
            return False
        await self._replicator.tell(Wanted(queue.queue_id, _WANTED))
        for _ in range(_CLAIMS):
            if await self._slots.claim(queue):
                return True
            await asyncio.sleep(_CLAIM_INTERVAL)
        self._want_at[queue.queue_id] = self._clock.monotonic() + _WANT_PAUSE
        return False

    async def has_unseen(self, queue: Queue) -> bool:
        """Are messages of the queue where this node cannot look?"""
        return self._is_cut_off() and await self._stored(queue) > queue.ready_count + queue.unacked_count

    async def purge(self, queue: Queue) -> int:
        """Delete the queue's ready messages that are not on this node; return how many there were.

        Raises `Unavailable` when a living node does not tell that it has done so.
        """
        name, caller, applied = name_of(queue), self._peers.caller(), self._replicator.applied
        are_some_apart = bool(self._agent.apart)

        async def purge_on(service: SlotService) -> int | None:
            try:
                async with asyncio.timeout(_PURGE_TIMEOUT):
                    return await service.purge_queue(name, caller, applied)
            except (TimeoutError, CoordinationError) as error:
                _log.info("a node is told of a purge by the store", queue=queue.name, reason=str(error))
                return None

        async with asyncio.TaskGroup() as tasks:
            purges = [tasks.create_task(purge_on(service)) for service in self._peers.others().values()]
        counts = [task.result() for task in purges]
        count = sum(count or 0 for count in counts) + await self._purge_free(queue)
        if None in counts or are_some_apart or self._agent.apart:
            count += await self._purge_by_event(queue)
        queue.set_remote_counts(0, queue.consumer_count - len(queue.consumers), 0)
        return count

    async def purge_here(self, name: QueueName, last_event_id: int | None) -> int:
        """Purge for another node what this one has of a queue; return how many messages that were.

        Raises `Unavailable` when a purge that came by an event has overtaken this one, or may have: clients may have
        published since, and what they published would be confirmed as purged.
        """
        self._replicator.check_purge(last_event_id)
        queue = self._parts.topology.find_queue(name.queue_id)
        if queue is None:
            return 0
        return await self._parts.vhosts[queue.vhost].purge_here(queue)

    async def _purge_free(self, queue: Queue) -> int:
        slots, count = self._shared.slots, 0
        for level in queue.levels:
            count += await self._retry.until_done(partial(slots.purge, level.queue_id))
        return count

    async def _purge_by_event(self, queue: Queue) -> int:
        """Let nodes that cannot be called purge; return how many stored messages went with that.

        Raises `Unavailable` when one has not done so yet: it will, and take with it what is published there till then.
        """
        before = await self._stored(queue)
        if late := await self._replicator.tell(Purge(queue.queue_id)):
            raise Unavailable(
                f"{', '.join(late)} did not purge queue '{queue.name}' in time, and may do so later; purge it again"
            )
        await self._purge_free(queue)
        return max(before - await self._stored(queue), 0)

    async def _stored(self, queue: Queue) -> int:
        """Return how many messages of a queue the store has, without those whose delete is on its way from here."""
        await self._parts.journal.flushed()
        slots, count = self._shared.slots, 0
        for level in queue.levels:
            count += await self._retry.until_done(partial(slots.stored, level.queue_id))
        return count
