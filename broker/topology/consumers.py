"""The consumers of a virtual host's queues on this node, and what nodes know of each other's.

A node with consumers of a queue has a subscription, which every node knows. Exclusive use, the deletion of an
auto-delete queue and the single active consumer are decided from subscriptions. Exclusive queues and standalone nodes
have no subscriptions.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence, Set
from dataclasses import replace
from functools import partial
from itertools import chain, takewhile
from operator import attrgetter
from typing import Any, Protocol

from broker.errors import AccessRefused, NotFound
from broker.ports.cluster import Cluster
from broker.ports.cluster_rows import Incarnation
from broker.ports.records import Change, Drop, Put, SubscriptionKey, SubscriptionRecord
from broker.queue.dispatcher import QueueConsumer
from broker.queue.queue import Queue
from broker.selector.selector import Selector
from broker.topology.decision import Decision, Resource
from broker.topology.declaration import RemoteOwner
from broker.topology.recorder import Recorder
from broker.topology.subscriptions import Subscriptions, incarnation_of


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
        """`on_activity` is called with a queue of which consumers on this node may have messages from now on: the
        single active one is among them, or they wait for nobody elsewhere any more.
        """
        self.subscriptions = Subscriptions()
        self._vhost = vhost
        self._incarnation = vhost.cluster.incarnation
        self._on_activity = on_activity
        self._starting: dict[Queue, dict[QueueConsumer, None]] = {}  # consumers whose subscription is being recorded
        self._leaving: set[Queue] = set()  # queues whose unsubscription is being recorded
        self._handing_over: set[Queue] = set()  # queues whose active consumer has left: another node may have the next

    def add(self, queue: Queue, consumer: QueueConsumer, selector: Selector | None = None) -> None:
        """Add `consumer` to the queue's dispatch, or raise `AccessRefused` (contract B16, F11)."""
        self._require_admissible(queue, consumer)
        queue.turns.add(consumer, selector)

    def remove(self, queue: Queue, consumer: QueueConsumer) -> bool:
        """Remove `consumer`; return whether the caller must await `unsubscribe` after that."""
        was_active = queue.remove_consumer(consumer)
        if queue.is_closing:
            return False
        may_move = was_active or _is_preempted(queue)
        if may_move and queue.consumers and self._is_outranked(queue):
            self._handing_over.add(queue)  # nobody gets anything until it is known who is next
            self.update_activity(queue)
        return self._has_left(queue)

    def _has_left(self, queue: Queue) -> bool:
        """Is there something to record now that a consumer of `queue` on this node has left?"""
        if not self._vhost.cluster.shares(queue):
            return not queue.consumers and queue.auto_delete and queue.turns.was_used
        own = self._subscribers(queue).get(self._incarnation)
        if own is None or not queue.consumers:
            return own is not None and not self._is_held_here(queue)
        return queue in self._handing_over or own.priority != self._priority(queue)

    def _is_held_here(self, queue: Queue) -> bool:
        """Do clients of this node still hold messages of a queue that only it may give out? Nobody else may until these
        are settled, or given back; `ends` is asked from time to time.
        """
        return queue.settings.is_given_by_one_node and queue.unacked_count > 0

    def ends(self, queue: Queue) -> bool:
        """Is the caller to await `unsubscribe`, because this node has no consumers of `queue`, and nothing of it is
        held here any more?
        """
        is_idle = not (queue.consumers or queue.is_closing or queue in self._starting or queue in self._leaving)
        return is_idle and self._has_left(queue)

    def _priority(self, queue: Queue) -> int:
        """Return what the priority of this node's subscription to a queue is to be."""
        consumers = chain(queue.consumers, self._starting.get(queue, ()))
        return max((consumer.priority for consumer in consumers), default=0)

    def _is_outranked(self, queue: Queue) -> bool:
        """Is the active consumer on this node, while another has one of a higher priority than all of this one?"""
        subscribers = self._subscribers(queue)
        if next(iter(subscribers), None) != self._incarnation:
            return False
        own = self._priority(queue)
        return any(subscribers[incarnation].priority > own for incarnation in self.elsewhere(queue))

    def _require_admissible(self, queue: Queue, consumer: QueueConsumer) -> None:
        starting = self._starting.get(queue, ())
        if consumer.is_exclusive and (queue.settings.single_active_consumer or queue.consumers or starting):
            raise self._in_use(queue)
        # One that is exclusive was let in alone, and lets nobody in beside it.
        if queue.turns.is_in_exclusive_use or (len(starting) == 1 and next(iter(starting)).is_exclusive):
            raise self._in_use(queue)

    def _in_use(self, queue: Queue) -> AccessRefused:
        return AccessRefused(f"{self._vhost.phrase('queue', queue.name)} in exclusive use")

    # Subscriptions: what other nodes must know of consumers

    def _subscribers(self, queue: Queue) -> Mapping[Incarnation, SubscriptionRecord]:
        return self.subscriptions.of(queue.queue_id)

    def subscribers(self, queue: Queue) -> Iterable[Incarnation]:
        """Return the nodes that have consumers of `queue`, the one with the single active consumer first."""
        return self._subscribers(queue)

    def elsewhere(self, queue: Queue) -> list[Incarnation]:
        """Return the other nodes that have consumers of `queue`."""
        return [each for each in self._subscribers(queue) if each.node_id != self._incarnation.node_id]

    def needs_subscription(self, queue: Queue, consumer: QueueConsumer) -> bool:
        """Must `subscribe` be awaited before this consumer is added?"""
        if not self._vhost.cluster.shares(queue):
            return False
        own = self._subscribers(queue).get(self._incarnation)
        if own is None or own.exclusive != consumer.is_exclusive or queue in self._leaving:
            return True
        return own.priority < consumer.priority

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
                await self._vhost.recorder.change(lambda: self._subscribe(queue, consumer), client)
        finally:
            del starting[consumer]
            if not starting:
                self._starting.pop(queue, None)

    def _subscribe(self, queue: Queue, consumer: QueueConsumer) -> Decision[None]:
        if self._vhost.queue(queue.name) is not queue:
            raise NotFound(f"no {self._vhost.phrase('queue', queue.name)}")
        own, subscribers = self._incarnation, self._subscribers(queue)
        others = [each for incarnation, each in subscribers.items() if incarnation.node_id != own.node_id]
        if others and (consumer.is_exclusive or any(each.exclusive for each in others)):
            raise self._in_use(queue)
        priority = self._priority(queue)
        record = SubscriptionRecord(queue.queue_id, own.node_id, own.id, consumer.is_exclusive, priority)
        known = subscribers.get(own)
        if known == record:
            return self._vhost.decision(reads=[("queue", queue.name)])
        if known is not None and known.exclusive == record.exclusive:
            wanted = [record if each is known else each for each in subscribers.values()]
        else:
            wanted = [*others, record]
        if _is_preempted(queue) and priority > wanted[0].priority:
            wanted = _highest_first(wanted)
        return self._vhost.decision(self._rearrangement(queue, wanted), writes=[("queue", queue.name)])

    def _rearrangement(self, queue: Queue, wanted: list[SubscriptionRecord]) -> list[Change]:
        """Return the changes after which `wanted` are the subscriptions to `queue`, in this order."""
        there = list(self._subscribers(queue).values())
        kept = [each for each in there if each in wanted]
        if kept != wanted[: len(kept)]:  # what is out of order is dropped and put again
            pairs = zip(there, wanted, strict=False)
            kept = [each for each, _ in takewhile(lambda pair: pair[0] == pair[1], pairs)]
        gone = [incarnation_of(each) for each in there if each not in kept]
        return [*map(Drop, _keys(queue, gone)), *map(Put, wanted[len(kept) :])]

    async def unsubscribe(self, queue: Queue) -> None:
        """A consumer on this node left. If it was the last, end the subscription, and delete an auto-delete queue that
        no node consumes any more (contract Q7). If it was the single active one, let the highest priority follow.

        Does nothing when all of that is no longer so.
        """
        try:
            await self._vhost.recorder.maintain([lambda: self._unsubscribe(queue)])
        finally:
            if queue in self._handing_over:
                self._handing_over.discard(queue)
                self.update_activity(queue)
        await self._vhost.delete_unused()

    def _unsubscribe(self, queue: Queue) -> Decision[Any]:
        if self._vhost.queues.get(queue.name) is not queue or not self._has_left(queue):
            return self._vhost.decision(reads=[("queue", queue.name)])
        ending = [] if queue.consumers else [self._incarnation]
        decision = self._end_subscriptions(queue, ending) if ending else self._lower(queue)

        def begin() -> None:
            self._leaving.add(queue)
            decision.begin()

        def end(is_recorded: bool) -> None:
            self._leaving.discard(queue)
            decision.end(is_recorded)

        return replace(decision, begin=begin, end=end)

    def _lower(self, queue: Queue) -> Decision[Any]:
        """Tell that this node's highest priority is lower now; hand over if that has to be."""
        subscribers = self._subscribers(queue)
        own = replace(subscribers[self._incarnation], priority=self._priority(queue))
        wanted = [own if each.node_id == own.node_id else each for each in subscribers.values()]
        if queue in self._handing_over and wanted[0] is own:
            wanted = _highest_first(wanted)
        return self._vhost.decision(self._rearrangement(queue, wanted), writes=[("queue", queue.name)])

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
        subscribers = self._subscribers(queue)
        ended = [incarnation for incarnation in incarnations if incarnation in subscribers]
        left = [each for incarnation, each in subscribers.items() if incarnation not in ended]
        if queue.auto_delete and not left:
            return self._vhost.deletion(queue, _keys(queue, ended))
        is_single = queue.settings.single_active_consumer
        if is_single and left and left[0] is not next(iter(subscribers.values())):
            left = _highest_first(left)
        return self._vhost.decision(self._rearrangement(queue, left), writes=[("queue", queue.name)])

    def update_activity(self, queue: Queue) -> None:
        """Find out whether the single active consumer of `queue` is on this node: it is on the one whose subscription
        is the first (contract F11), which also gives out the messages of queues of which one node does (ADR 84); and
        whether consumers of other nodes may come before those of this one (contract
        B17).
        """
        is_of_one_node = queue.settings.single_active_consumer or queue.settings.is_given_by_one_node
        if is_of_one_node or not queue.turns.dispatcher.is_active:
            first = next(iter(self._subscribers(queue)), self._incarnation)
            is_here = first == self._incarnation and queue not in self._handing_over
            if queue.turns.set_active(is_here or not is_of_one_node):
                self._on_activity(queue)
        if is_of_one_node:
            return
        if any(each.priority for each in self._subscribers(queue).values()):
            queue.rank()
        elif queue.turns.is_ranked:
            queue.unrank()
            self._on_activity(queue)


def _is_preempted(queue: Queue) -> bool:
    return queue.settings.single_active_consumer and queue.settings.is_active_preempted


def _highest_first(subscriptions: Iterable[SubscriptionRecord]) -> list[SubscriptionRecord]:
    """Return subscriptions with the first of the highest priority before all others."""
    others = list(subscriptions)
    highest = max(others, key=attrgetter("priority"))
    others.remove(highest)
    return [highest, *others]


def _keys(queue: Queue, incarnations: Iterable[Incarnation]) -> list[SubscriptionKey]:
    return [SubscriptionKey(queue.queue_id, incarnation.node_id, incarnation.id) for incarnation in incarnations]
