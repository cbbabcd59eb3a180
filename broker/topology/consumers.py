"""The consumers of a virtual host's queues on this node, and what nodes know of each other's.

A node with consumers of a queue has a subscription, which every node knows. Exclusive use, the deletion of an
auto-delete queue and the single active consumer are decided from subscriptions. Exclusive queues and standalone nodes
have no subscriptions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from typing import Protocol

from broker.errors import AccessRefused, NotFound
from broker.ports.cluster import Cluster
from broker.ports.cluster_rows import Incarnation
from broker.ports.records import Change, Drop, Put, SubscriptionKey, SubscriptionRecord
from broker.queue.dispatcher import QueueConsumer
from broker.queue.queue import Queue
from broker.topology.declaration import RemoteOwner
from broker.topology.recorder import Recorder
from broker.topology.subscriptions import Subscriptions


class Host(Protocol):
    """What `Consumers` needs of its virtual host."""

    cluster: Cluster[Queue]
    recorder: Recorder
    queues: Mapping[str, Queue]

    def phrase(self, kind: str, name: str) -> str:
        """Return the words that name a resource in a reply text."""
        ...

    def queue(self, name: str) -> Queue:
        """Return the queue or raise `NotFound`."""
        ...

    async def record_and_apply(self, changes: Sequence[Change]) -> None:
        """Record decided `changes` and apply them; the caller holds a lock of the recorder."""
        ...

    async def delete_now(self, queue: Queue, removed: Sequence[SubscriptionKey]) -> int:
        """Delete a queue and the subscriptions `removed`; the caller holds a lock of the recorder."""
        ...


class Consumers:
    """The consumers of one virtual host."""

    def __init__(self, vhost: Host, on_activity: Callable[[Queue], None]) -> None:
        """`on_activity` is called with a queue whose single active consumer is on this node from now on."""
        self.subscriptions = Subscriptions()
        self._vhost = vhost
        self._incarnation = vhost.cluster.incarnation
        self._on_activity = on_activity
        self._starting: dict[Queue, dict[QueueConsumer, None]] = {}  # consumers whose subscription is being recorded
        self._leaving: set[Queue] = set()  # queues whose unsubscription is being recorded

    def add(self, queue: Queue, consumer: QueueConsumer) -> None:
        """Add `consumer` to the queue's dispatch, or raise `AccessRefused` (contract B16, F11)."""
        self._require_admissible(queue, consumer)
        queue.add_consumer(consumer)

    def remove(self, queue: Queue, consumer: QueueConsumer) -> bool:
        """Remove `consumer`; return whether the caller must await `unsubscribe` after that."""
        queue.remove_consumer(consumer)
        return not queue.consumers and not queue.is_closing and self._has_left(queue)

    def _has_left(self, queue: Queue) -> bool:
        """Is there something to record when `queue` has no consumer on this node any more?"""
        if self._vhost.cluster.shares(queue):
            return self._incarnation in self._subscribers(queue)
        return queue.auto_delete and queue.was_consumed

    def _require_admissible(self, queue: Queue, consumer: QueueConsumer) -> None:
        starting = self._starting.get(queue, ())
        if consumer.is_exclusive and (queue.settings.single_active_consumer or queue.consumers or starting):
            raise self._in_use(queue)
        # One that is exclusive was let in alone, and lets nobody in beside it.
        if queue.is_in_exclusive_use or (len(starting) == 1 and next(iter(starting)).is_exclusive):
            raise self._in_use(queue)

    def _in_use(self, queue: Queue) -> AccessRefused:
        return AccessRefused(f"{self._vhost.phrase('queue', queue.name)} in exclusive use")

    # Subscriptions: what other nodes must know of consumers

    def _subscribers(self, queue: Queue) -> Mapping[Incarnation, SubscriptionRecord]:
        return self.subscriptions.of(queue.queue_id)

    def elsewhere(self, queue: Queue) -> list[Incarnation]:
        """Return the other nodes that have consumers of `queue`."""
        return [each for each in self._subscribers(queue) if each.node_id != self._incarnation.node_id]

    def needs_subscription(self, queue: Queue, consumer: QueueConsumer) -> bool:
        """Must `subscribe` be awaited before this consumer is added?"""
        if not self._vhost.cluster.shares(queue):
            return False
        own = self._subscribers(queue).get(self._incarnation)
        return own is None or own.exclusive != consumer.is_exclusive or queue in self._leaving

    async def subscribe(self, queue: Queue, consumer: QueueConsumer) -> None:
        """Tell all nodes that this one consumes `queue`; raises `AccessRefused` when another node's consumer forbids it
        (contract B16).

        The caller then adds the consumer without awaiting anything first, or calls `unsubscribe`.
        """
        self._require_admissible(queue, consumer)
        starting = self._starting.setdefault(queue, {})
        starting[consumer] = None
        try:
            while self.needs_subscription(queue, consumer):  # the last consumer may leave while this one starts
                await self._vhost.recorder.change(lambda: self._subscribe(queue, consumer.is_exclusive))
        finally:
            del starting[consumer]
            if not starting:
                self._starting.pop(queue, None)

    async def _subscribe(self, queue: Queue, is_exclusive: bool) -> None:
        if self._vhost.queue(queue.name) is not queue:
            raise NotFound(f"no {self._vhost.phrase('queue', queue.name)}")
        own, subscribers = self._incarnation, self._subscribers(queue)
        others = [each for incarnation, each in subscribers.items() if incarnation.node_id != own.node_id]
        if others and (is_exclusive or any(each.exclusive for each in others)):
            raise self._in_use(queue)
        record = SubscriptionRecord(queue.queue_id, own.node_id, own.id, is_exclusive)
        if subscribers.get(own) == record:
            return
        replaced = [incarnation for incarnation in subscribers if incarnation.node_id == own.node_id]
        await self._vhost.record_and_apply([*map(Drop, _keys(queue, replaced)), Put(record)])

    async def unsubscribe(self, queue: Queue) -> None:
        """The last consumer on this node left: end the subscription, and delete an auto-delete queue that no node
        consumes any more (contract Q7).

        Does nothing when the queue has a consumer on this node again.
        """
        await self._vhost.recorder.maintain(lambda: self._unsubscribe(queue))

    async def _unsubscribe(self, queue: Queue) -> None:
        if self._vhost.queues.get(queue.name) is queue and not queue.consumers and self._has_left(queue):
            self._leaving.add(queue)
            try:
                await self._end_subscriptions(queue, [self._incarnation])
            finally:
                self._leaving.discard(queue)

    def has_orphans(self, queue: Queue, over: Set[Incarnation]) -> bool:
        """Is `queue` exclusive to one of the incarnations `over`, or has one of them a subscription to it?"""
        if isinstance(queue.owner, RemoteOwner):
            return queue.owner.incarnation in over
        return any(incarnation in over for incarnation in self._subscribers(queue))

    async def remove_orphans(self, queue: Queue, over: Set[Incarnation]) -> None:
        """Remove the subscriptions to `queue` of ended incarnations, or the queue if one of them owned it."""
        await self._vhost.recorder.maintain(lambda: self._remove_orphans(queue, over))

    async def _remove_orphans(self, queue: Queue, over: Set[Incarnation]) -> None:
        if self._vhost.queues.get(queue.name) is not queue or not self.has_orphans(queue, over):
            return
        if queue.is_exclusive:
            await self._vhost.delete_now(queue, ())
        else:
            await self._end_subscriptions(queue, over)

    async def _end_subscriptions(self, queue: Queue, incarnations: Iterable[Incarnation]) -> None:
        ended = [incarnation for incarnation in incarnations if incarnation in self._subscribers(queue)]
        removed = _keys(queue, ended)
        if queue.auto_delete and len(ended) == len(self._subscribers(queue)):
            await self._vhost.delete_now(queue, removed)
        else:
            await self._vhost.record_and_apply([Drop(key) for key in removed])

    def update_activity(self, queue: Queue) -> None:
        """Find out whether the single active consumer of `queue` is on this node (contract F11)."""
        if queue.settings.single_active_consumer:
            first = next(iter(self._subscribers(queue)), self._incarnation)
            if queue.set_active(first == self._incarnation):
                self._on_activity(queue)


def _keys(queue: Queue, incarnations: Iterable[Incarnation]) -> list[SubscriptionKey]:
    return [SubscriptionKey(queue.queue_id, incarnation.node_id, incarnation.id) for incarnation in incarnations]
