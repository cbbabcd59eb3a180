"""What becomes of the deliveries of one channel: settled, given back, or kept for tx.commit (contract B22 to B26).

Knows unacknowledged messages, their queues and the journal; knows no frame and sends nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from broker.amqp.frame_reader import AckRun
from broker.amqp.transaction import Settlement, Transaction
from broker.amqp.unacked import Unacked
from broker.errors import PreconditionFailed
from broker.message import TRANSIENT, Message
from broker.queue.queue import Queue

if TYPE_CHECKING:
    from broker.amqp.channel import Channel


class Settler:
    """Acks, rejects and requeues for one channel."""

    __slots__ = ("_channel", "_settle", "_touched", "_unacked", "_vhost", "transaction", "unacked")

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._settle = channel.broker.journal.settle
        self._touched = channel.broker.touched
        self._unacked = Unacked()
        self._vhost = channel.vhost
        self.unacked = self._unacked.messages
        self.transaction: Transaction | None = None

    def shared_room(self) -> int:
        """Return how many more deliveries the prefetch of the whole channel allows (contract B11).

        What a transaction has acknowledged but not committed counts as unacknowledged.
        """
        transaction = self.transaction
        uncommitted = 0 if transaction is None else len(transaction.acked) + len(transaction.requeued)
        return self._channel.prefetch - len(self.unacked) - uncommitted

    def ack_run(self, acks: AckRun) -> int:
        """Acknowledge single deliveries in one loop (design §2). Hot."""
        pop = self.unacked.pop
        touch = self._touched.add
        settle = self._settle
        first = b""
        count = 0
        for head, tag, end in acks:
            if end != 0x00CE or head != first:
                if count:
                    break
                first = head
            message = pop(tag, None)
            if message is None:
                raise PreconditionFailed(f"unknown delivery tag {tag}")
            consumer = message.consumer
            if consumer is not None:
                consumer.unacked -= 1
                touch(consumer.queue)
            if message.state != TRANSIENT:
                settle(message)
            count += 1
        self._share_room()
        return count

    def ack(self, tag: int, *, multiple: bool) -> None:
        """Settle what `tag` names, or note it for the commit."""
        deliveries = self._unacked.take(tag, multiple, self._channel.last_delivery_tag)
        if self.transaction is not None:
            self.transaction.acked += deliveries
        else:
            self._settle_all(deliveries)

    def reject(self, tag: int, *, multiple: bool, requeue: bool) -> None:
        """Settle what `tag` names, or give it back, or note either for the commit."""
        if not requeue:
            self.ack(tag, multiple=multiple)
            return
        deliveries = self._unacked.take(tag, multiple, self._channel.last_delivery_tag)
        if self.transaction is not None:
            self.transaction.requeued += deliveries
        else:
            self.requeue([message for _, message in deliveries])

    def requeue_all(self) -> None:
        """Give everything back that is outstanding."""
        self.requeue(self._unacked.take_all())

    def roll_back(self, transaction: Transaction) -> None:
        """Empty the transaction: what it was to settle is outstanding again."""
        _, acked, requeued = transaction.take()
        self._unacked.put_back([*acked, *requeued])

    def requeue(self, messages: list[Message]) -> None:
        """Give messages back to their queues, as far as these are still there."""
        by_queue: dict[Queue, list[Message]] = {}
        for message in messages:
            queue: Any = message.queue
            by_queue.setdefault(queue, []).append(message)
            if message.consumer is not None:
                message.consumer.unacked -= 1
        for target, returned in by_queue.items():
            if self.is_here(target):
                target.requeue(returned)
                self._touched.add(target)
            else:
                self.drop(returned)
        self._share_room()

    def held_ids(self, queue: Queue) -> Iterator[int]:
        """Return the ids of all messages of `queue` that were delivered and are not settled, or not for good."""
        for message in self.unacked.values():
            if message.queue is queue:
                yield message.id
        if self.transaction is not None:
            for _, message in (*self.transaction.acked, *self.transaction.requeued):
                if message.queue is queue:
                    yield message.id

    def is_here(self, queue: Queue) -> bool:
        """Is the queue still the one of its name?"""
        return self._vhost.queues.get(queue.name) is queue

    def drop(self, messages: list[Message]) -> None:
        """The queue was deleted while its messages were being committed, or while a consumer held them."""
        for message in messages:
            if message.state != TRANSIENT:
                self._settle(message)

    def _settle_all(self, deliveries: list[Settlement]) -> None:
        settle = self._settle
        touch = self._touched.add
        for _, message in deliveries:
            consumer = message.consumer
            if consumer is not None:
                consumer.unacked -= 1
                touch(consumer.queue)
            if message.state != TRANSIENT:
                settle(message)
        self._share_room()

    def _share_room(self) -> None:
        """What one consumer has given back of the channel's prefetch, any of them may use."""
        if self._channel.prefetch:
            self._channel.touch_consumed_queues()
