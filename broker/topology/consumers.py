"""The consumers of a virtual host's queues on this node, and what nodes know of each other's.

A node with consumers of a queue has a subscription, which every node knows. Exclusive use, the deletion of an
auto-delete queue and the single active consumer are decided from subscriptions. Exclusive queues and standalone nodes
have no subscriptions.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence, Set
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

from broker.errors import AccessRefused, NotFound
from broker.ports.cluster import Cluster
from broker.ports.cluster_rows import Incarnation
from broker.ports.records import Change, Drop, Put, SubscriptionKey, SubscriptionRecord
from broker.queue.dispatcher import QueueConsumer
from broker.queue.queue import Queue
from broker.topology.decision import Decision, Resource
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

    def decision(
        self,
        changes: Sequence[Change] = (),
        *,
        reads: Sequence[Resource] = (),
        writes: Sequence[Resource] = (),
        **_: Any,
    ) -> Decision[Any]:
        """Return a decision about things of this virtual host, whose resources are told without its name."""
        ...

    def deletion(self, queue: Queue, removed: Sequence[SubscriptionKey]) -> Decision[int]:
        """Decide to delete a queue and the subscriptions `removed`."""
        ...

    async def delete_unused(self) -> None:
        """Delete the auto-delete exchanges that a deletion has left without a binding."""
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

    async def subscribe(self, queue: Queue, consumer: QueueConsumer, client: Hashable = None) -> None:
        """Tell all nodes that this one consumes `queue`; raises `AccessRefused` when another node's consumer forbids it
        (contract B16).

        The caller then adds the consumer without awaiting anything first, or calls `unsubscribe`.
        """
        self._require_admissible(queue, consumer)
        starting = self._starting.setdefault(queue, {})
        starting[consumer] = None
        try:
            while self.needs_subscription(queue, consumer):  # the last consumer may leave while this one starts
                await self._vhost.recorder.change(lambda: self._subscribe(queue, consumer.is_exclusive), client)
        finally:
            del starting[consumer]
            if not starting:
                self._starting.pop(queue, None)

    def _subscribe(self, queue: Queue, is_exclusive: bool) -> Decision[None]:
        if self._vhost.queue(queue.name) is not queue:
            raise NotFound(f"no {self._vhost.phrase('queue', queue.name)}")
        own, subscribers = self._incarnation, self._subscribers(queue)
        others = [each for incarnation, each in subscribers.items() if incarnation.node_id != own.node_id]
        if others and (is_exclusive or any(each.exclusive for each in others)):
            raise self._in_use(queue)
        record = SubscriptionRecord(queue.queue_id, own.node_id, own.id, is_exclusive)
        if subscribers.get(own) == record:
            return self._vhost.decision(reads=[("queue", queue.name)])
        replaced = [incarnation for incarnation in subscribers if incarnation.node_id == own.node_id]
        changes: list[Change] = [*map(Drop, _keys(queue, replaced)), Put(record)]
        return self._vhost.decision(changes, writes=[("queue", queue.name)])

    async def unsubscribe(self, queue: Queue) -> None:
        """The last consumer on this node left: end the subscription, and delete an auto-delete queue that no node
        consumes any more (contract Q7).

        Does nothing when the queue has a consumer on this node again.
        """
        await self._vhost.recorder.maintain([lambda: self._unsubscribe(queue)])
        await self._vhost.delete_unused()

    def _unsubscribe(self, queue: Queue) -> Decision[Any]:
        if self._vhost.queues.get(queue.name) is not queue or queue.consumers or not self._has_left(queue):
            return self._vhost.decision(reads=[("queue", queue.name)])
        decision = self._end_subscriptions(queue, [self._incarnation])

        def begin() -> None:
            self._leaving.add(queue)
            decision.begin()

        def end(is_recorded: bool) -> None:
            self._leaving.discard(queue)
            decision.end(is_recorded)

        return replace(decision, begin=begin, end=end)

    def has_orphans(self, queue: Queue, over: Set[Incarnation]) -> bool:
        """Is `queue` exclusive to one of the incarnations `over`, or has one of them a subscription to it?"""
        if isinstance(queue.owner, RemoteOwner):
            return queue.owner.incarnation in over
        return any(incarnation in over for incarnation in self._subscribers(queue))

    async def remove_orphans(self, over: Set[Incarnation]) -> None:
        """Remove the subscriptions of ended incarnations, and the queues that one of them owned."""
        queues = [queue for queue in self._vhost.queues.values() if self.has_orphans(queue, over)]
        await self._vhost.recorder.maintain([partial(self._remove_orphans, queue, over) for queue in queues])
        await self._vhost.delete_unused()

    def _remove_orphans(self, queue: Queue, over: Set[Incarnation]) -> Decision[Any]:
        if self._vhost.queues.get(queue.name) is not queue or not self.has_orphans(queue, over):
            return self._vhost.decision(reads=[("queue", queue.name)])
        if queue.is_exclusive:
            return self._vhost.deletion(queue, ())
        return self._end_subscriptions(queue, over)

    def _end_subscriptions(self, queue: Queue, incarnations: Iterable[Incarnation]) -> Decision[Any]:
        ended = [incarnation for incarnation in incarnations if incarnation in self._subscribers(queue)]
        removed = _keys(queue, ended)
        if queue.auto_delete and len(ended) == len(self._subscribers(queue)):
            return self._vhost.deletion(queue, removed)
        return self._vhost.decision([Drop(key) for key in removed], writes=[("queue", queue.name)])

    def update_activity(self, queue: Queue) -> None:
        """Find out whether the single active consumer of `queue` is on this node (contract F11)."""
        if queue.settings.single_active_consumer:
            first = next(iter(self._subscribers(queue)), self._incarnation)
            if queue.set_active(first == self._incarnation):
                self._on_activity(queue)


def _keys(queue: Queue, incarnations: Iterable[Incarnation]) -> list[SubscriptionKey]:
    return [SubscriptionKey(queue.queue_id, incarnation.node_id, incarnation.id) for incarnation in incarnations]
