"""What becomes of the deliveries of one channel: settled, given back, or kept for tx.commit (contract B22 to B26).

A delivery is outstanding from its frames on until the client settles it or gives it back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from broker.amqp.frame_reader import AckRun
from broker.amqp.transaction import Transaction
from broker.errors import PreconditionFailed
from broker.message import SETTLED, Message
from broker.queue.outcome import ACKED, REJECTED, Outcome
from broker.queue.queue import Queue


class Unacked:
    """Messages by delivery tag. Tags are handed out by the channel, ascending from 1."""

    __slots__ = ("_settled_below", "messages")

    def __init__(self) -> None:
        self.messages: dict[int, Message] = {}
        self._settled_below = 1  # no smaller tag is outstanding

    def __len__(self) -> int:
        return len(self.messages)

    def take(self, tag: int, multiple: bool, last_tag: int) -> list[tuple[int, Message]]:
        """Remove and return what `tag` names: one delivery, or with `multiple` all up to it; 0 means all there are.

        Raises `PreconditionFailed` for a tag that is not outstanding. With `multiple` it is enough that the tag was
        handed out and something up to it is outstanding.
        """
        if not multiple:
            message = self.messages.pop(tag, None)
            if message is None:
                raise PreconditionFailed(f"unknown delivery tag {tag}")
            return [(tag, message)]
        if tag == 0:
            taken = sorted(self.messages.items())
            self.messages.clear()
            self._settled_below = last_tag + 1
            return taken
        if tag > last_tag:
            raise PreconditionFailed(f"unknown delivery tag {tag}")
        pop = self.messages.pop
        taken = []
        for each in range(self._settled_below, tag + 1):
            message = pop(each, None)
            if message is not None:
                taken.append((each, message))
        self._settled_below = max(self._settled_below, tag + 1)
        if not taken:
            raise PreconditionFailed(f"unknown delivery tag {tag}")
        return taken

    def put_back(self, deliveries: list[tuple[int, Message]]) -> None:
        """Make deliveries outstanding again (a transaction that was rolled back)."""
        for tag, message in deliveries:
            self.messages[tag] = message
            self._settled_below = min(self._settled_below, tag)

    def take_all(self) -> list[Message]:
        """Remove and return everything, in the order of delivery."""
        messages = [message for _, message in sorted(self.messages.items())]
        self.messages.clear()
        return messages


class Deliveries:
    """The deliveries of one channel: their tags, what becomes of them, and the credit for more of them."""

    __slots__ = (
        "_on_shared_room",
        "_touched",
        "_unacked",
        "is_flowing",
        "last_tag",
        "prefetch",
        "transaction",
        "unacked",
    )

    def __init__(self, touched: set[Queue], on_shared_room: Callable[[], None]) -> None:
        """`touched` gets the queues that have something to dispatch after the batch.

        `on_shared_room` is called when any consumer of the channel may have credit again.
        """
        self._touched = touched
        self._on_shared_room = on_shared_room
        self._unacked = Unacked()
        self.unacked = self._unacked.messages
        self.last_tag = 0
        self.prefetch = 0  # shared by all consumers, 0 for any number (contract B11)
        self.is_flowing = True
        self.transaction: Transaction | None = None

    def shared_room(self) -> int:
        """Return how many more deliveries the prefetch of the whole channel allows (contract B11).

        What a transaction has acknowledged but not committed counts as unacknowledged.
        """
        uncommitted = 0 if self.transaction is None else self.transaction.settlement_count
        return self.prefetch - len(self.unacked) - uncommitted

    def ack_run(self, acks: AckRun) -> int:
        """Acknowledge single deliveries in one loop (ADR 1). Hot."""
        pop = self.unacked.pop
        first = b""
        consumer: Any = None
        stored: list[Message] = []  # of a run of messages that one consumer had, which are `count`
        count = total = 0
        for head, tag, end in acks:
            if end != 0x00CE or head != first:
                if total:
                    break
                first = head
            message = pop(tag, None)
            if message is None:
                self._settle_run(consumer, stored, count)
                self._note_shared_room()
                raise PreconditionFailed(f"unknown delivery tag {tag}")
            total += 1
            if message.consumer is not consumer:
                self._settle_run(consumer, stored, count)
                consumer, stored, count = message.consumer, [], 0
            if consumer is None:  # from basic.get
                queue: Any = message.queue
                queue.settle([message], ACKED)
                continue
            count += 1
            if message.state < SETTLED:
                stored.append(message)
        self._settle_run(consumer, stored, count)
        self._note_shared_room()
        return total

    def _settle_run(self, consumer: Any, stored: list[Message], count: int) -> None:
        """Settle `count` messages that `consumer` had; the store knows of those in `stored`."""
        if count:
            consumer.unacked -= count
            queue = consumer.queue
            self._touched.add(queue)
            queue.settle(stored, ACKED, count - len(stored))

    def _note_shared_room(self) -> None:
        """Deliveries are outstanding no more. Called once for all of them: it costs a look at every consumer."""
        if self.prefetch:
            self._on_shared_room()

    def ack(self, tag: int, *, multiple: bool) -> None:
        """Settle what `tag` names, or note it for the commit."""
        deliveries = self._unacked.take(tag, multiple, self.last_tag)
        if self.transaction is not None:
            self.transaction.acked += deliveries
        else:
            self.settle([message for _, message in deliveries], ACKED)

    def reject(self, tag: int, *, multiple: bool, requeue: bool) -> None:
        """Settle what `tag` names, or give it back, or note either for the commit."""
        deliveries = self._unacked.take(tag, multiple, self.last_tag)
        if self.transaction is not None:
            (self.transaction.requeued if requeue else self.transaction.rejected).extend(deliveries)
        elif requeue:
            self.requeue([message for _, message in deliveries])
        else:
            self.settle([message for _, message in deliveries], REJECTED)

    def requeue_all(self) -> None:
        """Give everything back that is outstanding."""
        self.requeue(self._unacked.take_all())

    def close(self) -> None:
        """The channel is gone: give everything back that is outstanding."""
        self._on_shared_room = _nobody
        self.requeue_all()

    def roll_back(self, transaction: Transaction) -> None:
        """Empty the transaction: what it was to settle is outstanding again."""
        self._unacked.put_back(transaction.take().settlements)

    def requeue(self, messages: list[Message]) -> None:
        """Give messages back to their queues, as far as these are still there."""
        by_queue: dict[Queue, list[Message]] = {}
        for message in messages:
            queue: Any = message.queue
            by_queue.setdefault(queue, []).append(message)
            if message.consumer is not None:
                message.consumer.unacked -= 1
                message.consumer = None  # the message may lie in its queue for longer than the consumer lives
        for target, returned in by_queue.items():
            target.requeue(returned)
            self._touched.add(target)
        self._note_shared_room()

    def held_ids(self, queue: Queue) -> Iterator[int]:
        """Return the ids of all messages of `queue` that were delivered and are not settled, or not for good."""
        for message in self.unacked.values():
            if message.queue is queue:
                yield message.id
        if self.transaction is not None:
            for _, message in self.transaction.settlements:
                if message.queue is queue:
                    yield message.id

    def settle(self, messages: list[Message], outcome: Outcome) -> None:
        """Give messages, which are outstanding no more, their outcome; consumers have room for others. Hot."""
        start, count = 0, len(messages)
        while start < count:
            # What one consumer had is settled in one call: mostly that is everything.
            first = messages[start]
            consumer = first.consumer
            end = start + 1
            if consumer is None:
                queue: Any = first.queue
            else:
                while end < count and messages[end].consumer is consumer:
                    end += 1
                queue = consumer.queue
                consumer.unacked -= end - start
                self._touched.add(queue)
            queue.settle(messages if end - start == count else messages[start:end], outcome)
            start = end
        self._note_shared_room()


def _nobody() -> None:
    """Stands where the channel was."""
