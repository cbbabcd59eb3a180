"""What clients may expect of a node: queues, deliveries, confirms, transactions, and what a crash may take.

Holds what docs/invariants.md says of durability, delivery, order and transactions as assertions. Knows no frame and
nothing of the broker.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(eq=False)
class Entry:
    """One message in one queue."""

    key: str
    queue: QueueModel
    is_stored: bool
    number: int = 0
    is_confirmed: bool = False
    was_delivered: bool = False
    is_recovered: bool = False
    """It lived through a crash, so it may be flagged as redelivered without having been delivered (invariant I22)."""

    def __repr__(self) -> str:
        return f"{self.key}@{self.queue.name}"


@dataclass(eq=False)
class QueueModel:
    name: str
    is_stored: bool
    auto_delete: bool = False
    owner: object | None = None
    is_alive: bool = True
    was_consumed: bool = False
    ready: list[Entry] = field(default_factory=list)
    returned: set[Entry] = field(default_factory=set)
    """Put back behind the queue's back: what was delivered at the same moment may not have known of them."""
    consumers: list[ConsumerModel] = field(default_factory=list)

    def put(self, entry: Entry) -> None:
        if self.is_alive:
            insort(self.ready, entry, key=_number)

    def require_prefix(self, delivered: set[Entry]) -> None:
        """What is delivered is what has waited longest (invariant I31, I33)."""
        possible = [entry for entry in self.ready if entry in delivered or entry not in self.returned]
        assert set(possible[: len(delivered)]) == delivered, f"{delivered} came before {possible[: len(delivered)]}"


def _number(entry: Entry) -> int:
    return entry.number


@dataclass(eq=False)
class ConsumerModel:
    tag: str
    channel: ChannelModel
    queue: QueueModel
    no_ack: bool
    prefetch: int
    unacked: int = 0
    last_number: int = 0
    """Of deliveries that are not redelivered (invariant I32)."""

    @property
    def has_credit(self) -> bool:
        """The prefetch of a channel holds back those without acknowledgement, too; it does not count what was got."""
        channel = self.channel
        if channel.prefetch and channel.delivered >= channel.prefetch:
            return False
        return self.no_ack or not (self.prefetch and self.unacked >= self.prefetch)


@dataclass(eq=False)
class Delivery:
    entry: Entry
    consumer: ConsumerModel | None
    tag: int


@dataclass(eq=False)
class Publication:
    """A publish with what is owed to its publisher."""

    key: str
    entries: list[Entry]
    is_mandatory: bool

    @property
    def is_returned(self) -> bool:
        """Nothing is there to take it: for a transaction that is decided when it is committed (contract T2)."""
        return self.is_mandatory and not self.entries


@dataclass(eq=False)
class ChannelModel:
    mode: str
    prefetch: int = 0
    last_tag: int = 0
    confirmed: int = 0
    unacked: dict[int, Delivery] = field(default_factory=dict)
    consumers: dict[str, ConsumerModel] = field(default_factory=dict)
    published: list[Publication] = field(default_factory=list)
    returns: list[str] = field(default_factory=list)
    """Keys of messages that must come back."""
    transaction: list[Publication] = field(default_factory=list)
    settling: list[tuple[Delivery, bool]] = field(default_factory=list)
    """Settled in the transaction: the delivery, and whether it is to be requeued."""

    @property
    def delivered(self) -> int:
        """How many deliveries are outstanding, without those of basic.get."""
        outstanding = [*self.unacked.values(), *(delivery for delivery, _ in self.settling)]
        return sum(delivery.consumer is not None for delivery in outstanding)


class Model:
    """Everything clients could know, exact whenever the node is idle."""

    def __init__(self) -> None:
        self.queues: dict[str, QueueModel] = {}
        self.bindings: set[tuple[str, str, str]] = set()
        self.limbo: set[Entry] = set()
        """Stored messages that are final, but whose delete may not be committed yet."""
        self.committing: tuple[list[Entry], list[Entry]] | None = None
        """A transaction under way: what it publishes, what it takes away."""
        self._last_number = 0

    # Publishing

    def publish(
        self, channel: ChannelModel, key: str, queues: Iterable[str], persistent: bool, mandatory: bool
    ) -> None:
        targets = [self.queues[name] for name in queues]
        entries = [Entry(key, queue, persistent and queue.is_stored) for queue in targets]
        publication = Publication(key, entries, mandatory)
        if channel.mode == "tx":
            channel.transaction.append(publication)
            return
        if publication.is_returned:
            channel.returns.append(key)
        self._enqueue(publication)
        if channel.mode == "confirm":
            channel.published.append(publication)

    def _enqueue(self, publication: Publication) -> None:
        for entry in publication.entries:
            self._last_number += 1
            entry.number = self._last_number
            entry.queue.put(entry)

    def confirm(self, channel: ChannelModel, tag: int, multiple: bool) -> None:
        """Each publish is confirmed once (invariant I3), after its return if there is one (invariant I4)."""
        first = channel.confirmed + 1 if multiple else tag
        assert first == channel.confirmed + 1 <= tag <= len(channel.published), f"confirm of {tag}"
        for publication in channel.published[first - 1 : tag]:
            assert publication.key not in channel.returns, f"{publication.key} is confirmed before it is returned"
            for entry in publication.entries:
                entry.is_confirmed = True
        channel.confirmed = tag

    def returned(self, channel: ChannelModel, key: str) -> None:
        assert channel.returns, f"{key} is returned"
        assert channel.returns.pop(0) == key

    # Deliveries

    def deliver(
        self, channel: ChannelModel, consumer: ConsumerModel | None, entry: Entry, tag: int, flag: bool
    ) -> None:
        """`consumer` is None for a get. The caller has checked the order within the queue."""
        assert tag == channel.last_tag + 1, f"delivery tag {tag} after {channel.last_tag}"
        channel.last_tag = tag
        if flag:
            assert entry.was_delivered or entry.is_recovered, f"{entry} flagged as redelivered, but it never was"
        else:
            assert not entry.was_delivered, f"{entry} delivered again without the flag"
            if consumer is not None:
                assert entry.number > consumer.last_number
                consumer.last_number = entry.number
        entry.was_delivered = True
        entry.queue.ready.remove(entry)
        if consumer is not None:
            assert consumer.has_credit, f"prefetch of {consumer.tag} is exceeded"
            if consumer.no_ack:
                self._gone(entry)
                return
            consumer.unacked += 1
        channel.unacked[tag] = Delivery(entry, consumer, tag)

    def take_unacked(self, channel: ChannelModel, tag: int, multiple: bool) -> list[Delivery]:
        tags = [each for each in channel.unacked if not tag or each <= tag] if multiple else [tag]
        return [channel.unacked.pop(each) for each in tags]

    def settle(self, channel: ChannelModel, deliveries: Sequence[Delivery], *, requeue: bool) -> None:
        if channel.mode == "tx":
            channel.settling += [(delivery, requeue) for delivery in deliveries]
            return
        for delivery in deliveries:
            self._settle(delivery, requeue)

    def _settle(self, delivery: Delivery, requeue: bool) -> None:
        if delivery.consumer is not None:
            delivery.consumer.unacked -= 1
        if requeue:
            delivery.entry.queue.put(delivery.entry)
        else:
            self._gone(delivery.entry)

    def _gone(self, entry: Entry) -> None:
        if entry.is_stored:
            self.limbo.add(entry)

    def recover(self, channel: ChannelModel) -> None:
        """basic.recover: what is unacknowledged goes back, even on a channel with a transaction."""
        deliveries, channel.unacked = list(channel.unacked.values()), {}
        for delivery in deliveries:
            self._settle(delivery, requeue=True)

    def forget_get(self, channel: ChannelModel, tag: int) -> None:
        """A get without acknowledgement: it is final at once."""
        self._gone(channel.unacked.pop(tag).entry)

    # Transactions (invariant I41, I42)

    def begin_commit(self, channel: ChannelModel) -> None:
        published, taken = channel.transaction, [delivery for delivery, requeue in channel.settling if not requeue]
        for publication in published:
            publication.entries = [entry for entry in publication.entries if entry.queue.is_alive]
        self.committing = (
            [entry for publication in published for entry in publication.entries if entry.is_stored],
            [delivery.entry for delivery in taken if delivery.entry.is_stored and delivery.entry.queue.is_alive],
        )

    def end_commit(self, channel: ChannelModel) -> None:
        published, channel.transaction = channel.transaction, []
        settling, channel.settling = channel.settling, []
        self.committing = None
        for publication in published:
            if publication.is_returned:
                channel.returns.append(publication.key)
            self._enqueue(publication)
            for entry in publication.entries:
                entry.is_confirmed = True
        for delivery, requeue in settling:
            self._settle(delivery, requeue)
            self.limbo.discard(delivery.entry)

    def roll_back(self, channel: ChannelModel) -> None:
        channel.transaction.clear()
        for delivery, _ in channel.settling:
            channel.unacked[delivery.tag] = delivery
        channel.settling.clear()
        channel.unacked = dict(sorted(channel.unacked.items()))

    # Ends

    def cancel(self, consumer: ConsumerModel) -> None:
        del consumer.channel.consumers[consumer.tag]
        queue = consumer.queue
        if consumer in queue.consumers:
            queue.consumers.remove(consumer)
        if queue.is_alive and queue.auto_delete and not queue.consumers:
            self.delete(queue)

    def close(self, channel: ChannelModel) -> None:
        self.roll_back(channel)
        for delivery in channel.unacked.values():
            self._settle(delivery, requeue=True)
            delivery.entry.queue.returned.add(delivery.entry)
        channel.unacked.clear()
        for consumer in list(channel.consumers.values()):
            self.cancel(consumer)

    def delete(self, queue: QueueModel) -> None:
        queue.is_alive = False
        del self.queues[queue.name]
        self.bindings = {binding for binding in self.bindings if binding[2] != queue.name}
        queue.ready.clear()
        for consumer in queue.consumers:
            consumer.channel.consumers.pop(consumer.tag, None)
        queue.consumers.clear()

    def purge(self, queue: QueueModel) -> int:
        ready, queue.ready = queue.ready, []
        for entry in ready:
            self._gone(entry)
        return len(ready)

    def idle(self) -> None:
        """Nothing moves: deletes are committed, what is owed is paid, nobody waits in vain (invariant I3, I14, I61)."""
        self.limbo.clear()
        for queue in self.queues.values():
            queue.returned.clear()
            waiting = [consumer.tag for consumer in queue.consumers if queue.ready and consumer.has_credit]
            assert not waiting, f"{waiting} wait for {queue.ready[0]}"

    def owed(self, channels: Iterable[ChannelModel]) -> None:
        for channel in channels:
            assert channel.confirmed == len(channel.published), "a publish was never confirmed"
            assert not channel.returns, f"{channel.returns} never came back"

    # After an end of the node

    def stop(self, stored: Mapping[str, Sequence[str]]) -> None:
        """Every client is gone and the node has stopped in order: what is stored is exact."""
        self._forget_what_does_not_last()
        for queue in self.queues.values():
            queue.ready = [entry for entry in queue.ready if entry.is_stored]
            expected = [entry.key for entry in queue.ready]
            assert expected == list(stored.get(queue.name, ())), f"{queue.name}: {expected} should be in {stored}"

    def crash(self, stored: Mapping[str, Sequence[str]], channels: Iterable[ChannelModel]) -> None:
        """Hold `stored`, the keys by queue that the store still has, against what a crash may take; go on with it."""
        published, taken = self.committing or ([], [])
        for channel in channels:
            for delivery in [*channel.unacked.values(), *(delivery for delivery, _ in channel.settling)]:
                delivery.entry.queue.put(delivery.entry)
        for entry in published:
            self._last_number += 1
            entry.number = self._last_number
            entry.queue.put(entry)
        self._forget_what_does_not_last()
        outcomes = set[bool]()
        for queue in self.queues.values():
            finals = [entry for entry in self.limbo if entry.queue is queue]
            known = sorted([*(entry for entry in queue.ready if entry.is_stored), *finals], key=_number)
            survivors = set(stored.get(queue.name, ()))
            assert list(stored.get(queue.name, ())) == [entry.key for entry in known if entry.key in survivors]
            for entry in known:
                if entry in published or entry in taken:
                    outcomes.add((entry.key in survivors) is (entry in published))
                elif entry.is_confirmed and entry not in self.limbo:
                    assert entry.key in survivors, f"{entry} was confirmed and is lost"
                entry.is_recovered = True
            queue.ready = [entry for entry in known if entry.key in survivors]
        assert len(outcomes) < 2, "half of a transaction"
        self.limbo.clear()
        self.committing = None

    def _forget_what_does_not_last(self) -> None:
        for queue in list(self.queues.values()):
            queue.consumers.clear()
            queue.returned.clear()
            queue.was_consumed = False
            if not queue.is_stored:
                self.delete(queue)
