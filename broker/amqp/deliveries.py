"""What becomes of the deliveries of one channel: settled, given back, or kept for tx.commit (contract B22 to B26).

A delivery is outstanding from its frames on until the client settles it or gives it back; in a transaction it stays so
until the commit.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from itertools import chain, takewhile
from typing import Any, Final, Protocol

from broker.amqp.frame_reader import SettlementRun
from broker.amqp.late_tags import AnsweredTags, LateTags
from broker.amqp.output import Output
from broker.amqp.transaction import Settled, Transaction
from broker.errors import PreconditionFailed
from broker.message import SETTLED, Message
from broker.queue.dispatcher import QueueConsumer
from broker.queue.outcome import ACKED, REJECTED, Outcome
from broker.queue.queue import Queue
from broker.topology.dialect import PLAIN, ClientDialect

_SHORT_WALK: Final = 1000


class WaitingConsumer(QueueConsumer, Protocol):
    """A consumer of the channel that had no room for a message when it was asked."""

    queue: Queue


class AckHolder(Protocol):
    """What a channel works for: a branch of a distributed transaction."""

    def hold(self, messages: list[Message]) -> None:
        """Keep deliveries that were acknowledged until the branch is resolved."""
        ...


class Unacked:
    """Messages by delivery tag. Tags are handed out by the channel, ascending from 1."""

    __slots__ = ("_settled_below", "messages")

    def __init__(self) -> None:
        self.messages: dict[int, Message] = {}
        self._settled_below = 1  # no smaller tag is outstanding

    def take(self, tag: int) -> Message:
        """Remove and return one delivery; raises `PreconditionFailed` if it is not outstanding."""
        message = self.messages.pop(tag, None)
        if message is None:
            raise _unknown(tag)
        return message

    def take_up_to(self, last: int) -> list[Message]:
        """Remove and return all deliveries up to the tag `last`, in order."""
        messages = self.messages
        span = last + 1 - self._settled_below
        if span <= 2 * len(messages) + _SHORT_WALK:
            pop = messages.pop
            found = (pop(tag, None) for tag in range(self._settled_below, last + 1))
            taken = [message for message in found if message is not None]
        else:  # most of these tags were settled one by one
            tags = list(takewhile(last.__ge__, messages))
            taken = [messages.pop(tag) for tag in tags]
            self._compact()
        self._settled_below = max(self._settled_below, last + 1)
        return taken

    def first(self, after: int, last: int, excepted: set[int]) -> int | None:
        """Return the first outstanding tag above `after` and up to `last` that is not one of `excepted`."""
        messages = self.messages
        start = max(after + 1, self._settled_below)
        tags = range(start, last + 1) if last - start <= 2 * len(messages) + _SHORT_WALK else messages
        return next((tag for tag in tags if start <= tag <= last and tag in messages and tag not in excepted), None)

    def _compact(self) -> None:
        """Let the next look at the first messages begin with them: a dict walks over what was deleted before them."""
        rest = dict(self.messages)
        self.messages.clear()
        self.messages.update(rest)


def _unknown(tag: int) -> PreconditionFailed:
    return PreconditionFailed(f"unknown delivery tag {tag}")


class Deliveries:
    """The deliveries of one channel: their tags, what becomes of them, and the credit for more of them."""

    __slots__ = (
        "_default_exchange",
        "_gives_back_at_once",
        "_has_returned",
        "_late",
        "_on_room",
        "_output",
        "_touched",
        "_unacked",
        "acked",
        "branch",
        "consumer_prefetch",
        "got",
        "held",
        "is_flowing",
        "last_tag",
        "prefetch",
        "tells_count",
        "transaction",
        "unacked",
        "waiting",
    )

    def __init__(
        self,
        output: Output,
        touched: set[Queue],
        on_room: Callable[[], None],
        dialect: ClientDialect = PLAIN,
        default_exchange: str = "",
    ) -> None:
        """`touched` gets the queues that have something to dispatch after the batch.

        `on_room` is called when there may be room for deliveries under the prefetch of the whole channel: the channel
        calls `resume` after the batch. `default_exchange` is what the default exchange is called.
        """
        self._output = output
        self._touched = touched
        self._on_room = on_room
        self._unacked = Unacked()
        self.unacked = self._unacked.messages
        self.acked = 0
        """How many deliveries were acknowledged."""
        self._late = AnsweredTags(self.is_outstanding) if dialect.ignores_late_answers else LateTags()
        self._gives_back_at_once = dialect.gives_back_at_once
        self._has_returned = False  # has the client given something back itself since its last basic.recover?
        self.tells_count = dialect.tells_delivery_count
        """Does each delivery tell how often its message has been delivered?"""
        self._default_exchange = bytes((len(default_exchange),)) + default_exchange.encode()
        self.got = 0
        """Outstanding deliveries of basic.get: no prefetch counts them."""
        self.waiting: OrderedDict[WaitingConsumer, None] = OrderedDict()
        """Consumers that had a message but no room in the channel, in the order of their turns."""
        self.last_tag = 0
        self.prefetch = 0  # shared by all consumers, 0 for any number (contract B11)
        self.consumer_prefetch = 0  # of each later consumer by itself (contract B10)
        self.is_flowing = True
        self.transaction: Transaction | None = None
        self.branch: AckHolder | None = None
        """To what acknowledgements belong; never beside a transaction."""
        self.held: dict[int, Message] = {}
        """By id the deliveries that branches hold."""

    def told(self, routing: bytes) -> bytes:
        """Return the exchange and the key of a message as the client is told them: two short strings, as they were."""
        return routing if routing[0] else self._default_exchange + routing[1:]

    # Credit

    def shared_room(self) -> int:
        """Return how many more deliveries the prefetch of the whole channel allows (contract B11)."""
        return self.prefetch - len(self.unacked) + self.got

    def wait_for_room(self, consumer: WaitingConsumer) -> None:
        """`consumer` would take a message if the channel had room; its turn stays what it was."""
        self.waiting.setdefault(consumer)

    def wait_after_others(self, consumer: WaitingConsumer) -> None:
        """`consumer` has taken what there was room for: it is the turn of others."""
        self.waiting[consumer] = None
        self.waiting.move_to_end(consumer)

    def resume(self) -> None:
        """Deliver to the consumers that wait for room, in turn, as far as it goes."""
        waiting = self.waiting
        for _ in range(len(waiting)):
            if self._output.is_blocked or not self.is_flowing or (self.prefetch and self.shared_room() <= 0):
                break
            if not waiting:
                break
            consumer, _ = waiting.popitem(last=False)
            queue = consumer.queue
            queue.turns.wake_next(consumer)
            if (
                queue.turns.has_priorities
            ):  # then it is not turns that decide among the channel's consumers of one queue
                for other in [each for each in waiting if each.queue is queue]:
                    del waiting[other]
                    queue.turns.wake(other)
            queue.dispatch()

    def _end_run(
        self,
        consumer: Any,
        queue: Any,
        messages: list[Message],
        count: int,
        outcome: Outcome | None,
        is_lost: bool = False,
        is_unseen: bool = False,
    ) -> None:
        """Settle, or without an outcome give back, `count` deliveries that `consumer`, or basic.get without one, had of
        `queue`; the store knows of those in `messages`. Hot.
        """
        if consumer is None:
            self.got -= count
        else:
            consumer.unacked -= count
            if self.prefetch:
                self.waiting.setdefault(consumer)
            else:
                if consumer.is_resting:
                    queue.turns.wake(consumer)
                self._touched.add(queue)
        if outcome is not None:
            if outcome is ACKED:
                self.acked += count
            queue.settle(messages, outcome, count - len(messages))
            return
        for message in messages:
            message.consumer = None  # the message may lie in its queue for longer than the consumer lives
        # What a consumer gives back after it was cancelled, it had not come to.
        is_unseen = is_unseen or (consumer is not None and consumer not in queue.consumers)
        queue.requeue(messages, is_lost=is_lost, is_unseen=is_unseen)
        self._touched.add(queue)

    def _note_room(self) -> None:
        if self.prefetch:
            self._on_room()

    # What clients say

    def ack_run(self, acks: SettlementRun) -> int:
        """Acknowledge single deliveries in one loop (ADR 1), as long as the frames are like the first; return how many
        were. Hot.
        """
        pop = self.unacked.pop
        first = b""
        consumer: Any = None
        queue: Any = None
        stored: list[Message] = []  # of a run of messages that one consumer had, which are `count`
        count = total = 0
        for head, tag, end in acks:
            if end != 0x00CE or head != first:
                if total:
                    break
                first = head
            message = pop(tag, None)
            if message is None:
                if self._late.pop(tag):
                    total += 1
                    continue
                if count:
                    self._end_run(consumer, queue, stored, count, ACKED)
                self._note_room()
                raise _unknown(tag)
            total += 1
            if message.consumer is not consumer or consumer is None:
                if count:
                    self._end_run(consumer, queue, stored, count, ACKED)
                consumer, queue, stored, count = message.consumer, message.queue, [], 0
            count += 1
            if message.state < SETTLED:
                stored.append(message)
        if count:
            self._end_run(consumer, queue, stored, count, ACKED)
        self._note_room()
        return total

    def reject_run(self, rejects: SettlementRun, requeue: bool) -> int:
        """Reject or give back single deliveries in one loop, as long as the frames are like the first; return how many
        were.
        """
        pop = self.unacked.pop
        first: tuple[bytes, int] | None = None
        messages: list[Message] = []
        total = 0
        for head, tag, end in rejects:
            if (head, end) != first:
                if total:
                    break
                first = (head, end)
            message = pop(tag, None)
            if message is not None:
                messages.append(message)
            elif not self._late.pop(tag):
                self._end(messages, None if requeue else REJECTED)
                raise _unknown(tag)
            total += 1
        self._end(messages, None if requeue else REJECTED)
        return total

    def ack(self, tag: int, *, multiple: bool) -> None:
        """Settle what `tag` names, or note it for the commit: one delivery, or with `multiple` all up to it; 0 means
        all there are.

        Raises `PreconditionFailed` for a tag that is not outstanding. With `multiple` it is enough that the tag was
        handed out and something up to it is outstanding.
        """
        self._end_or_note(tag, multiple, ACKED)

    def reject(self, tag: int, *, multiple: bool, requeue: bool) -> None:
        """Settle what `tag` names as `ack` does, or give it back, or note either for the commit."""
        self._end_or_note(tag, multiple, None if requeue else REJECTED)

    def _end_or_note(self, tag: int, multiple: bool, outcome: Outcome | None) -> None:
        if self._late and self._is_late(tag, multiple):
            return
        if self.transaction is not None and not (outcome is None and self._gives_back_at_once):
            self._note(self.transaction, tag, multiple, outcome)
        elif not multiple:
            self._end([self._unacked.take(tag)], outcome)
        else:
            if tag > self.last_tag:
                raise _unknown(tag)
            messages = self._unacked.take_up_to(tag or self.last_tag)
            if tag and not messages:
                raise _unknown(tag)
            self._end(messages, outcome)

    def is_outstanding(self, tag: int) -> bool | None:
        """Is there a delivery with this tag that waits for an answer? None if there never was one."""
        if not 0 < tag <= self.last_tag:
            return None
        transaction = self.transaction
        return tag in self.unacked and not (transaction is not None and transaction.has_settled(tag))

    def _is_late(self, tag: int, multiple: bool) -> bool:
        """Is this an answer to nothing but deliveries that were taken back?"""
        if not multiple:
            return self._late.pop(tag)
        last, transaction = tag or self.last_tag, self.transaction
        if last > self.last_tag or not self._late.pop_up_to(last):
            return False
        after, settled = (
            (0, set[int]()) if transaction is None else (transaction.settled_up_to, transaction.settled_tags)
        )
        return self._unacked.first(after, last, settled) is None

    def _end(self, messages: list[Message], outcome: Outcome | None) -> None:
        """Settle messages, which are outstanding no more, or without an outcome give them back."""
        if outcome is None:
            self._has_returned = True
            self.requeue(messages)
        elif outcome is ACKED and self.branch is not None:
            held = [message for message in messages if not message.queue.is_stream]
            self.branch.hold(held)
            if len(held) < len(messages):  # what is read of a stream stays there, whatever becomes of the branch
                self.settle([message for message in messages if message.queue.is_stream], outcome)
        else:
            self.settle(messages, outcome)

    def hold(self, messages: list[Message]) -> None:
        """Keep deliveries that are outstanding no more, but take up their room until they are released."""
        self.held.update((message.id, message) for message in messages)
        self.got -= len(messages)

    def release(self, messages: list[Message]) -> None:
        """Deliveries that were held are to be settled, or given back, now."""
        for message in messages:
            del self.held[message.id]
        self.got += len(messages)

    def _note(self, transaction: Transaction, tag: int, multiple: bool, outcome: Outcome | None) -> None:
        """Note for the commit what `tag` names: it stays outstanding until then, so that a rollback costs nothing."""
        if not multiple:
            if tag not in self.unacked or transaction.has_settled(tag):
                raise _unknown(tag)
        elif tag > self.last_tag or (
            tag and self._unacked.first(transaction.settled_up_to, tag, transaction.settled_tags) is None
        ):
            raise _unknown(tag)
        transaction.settle(tag or self.last_tag, multiple, outcome)

    def take_settled(self, settled: list[Settled]) -> dict[Outcome | None, list[Message]]:
        """Remove and return, by outcome, the deliveries that a transaction has settled or, without one, given back."""
        messages: dict[Outcome | None, list[Message]] = {ACKED: [], REJECTED: [], None: []}
        for tag, multiple, outcome in settled:
            if multiple:
                messages[outcome] += self._unacked.take_up_to(tag)
            else:
                messages[outcome].append(self._unacked.take(tag))
        return messages

    @property
    def holds_any(self) -> bool:
        return bool(self.unacked or self.held)

    def take_back(self, queue: Queue, first: int, last: int) -> int:
        """Give those deliveries of `queue` with the tags `first` to `last` back that are outstanding, because no answer
        has come in time; return how many there were. An answer that still comes is ignored.
        """
        unacked, transaction = self.unacked, self.transaction
        tags = range(first, last + 1) if last - first <= len(unacked) else list(unacked)
        late = [
            tag
            for tag in tags
            if first <= tag <= last
            and tag in unacked
            and unacked[tag].queue is queue
            and not (transaction and transaction.has_settled(tag))
        ]
        if late:
            self._late.add(late)
            self.requeue([unacked.pop(tag) for tag in late], is_lost=True)
        return len(late)

    def recover(self) -> None:
        """Give everything back that is outstanding, as the client asks: what it has handled itself, some clients have
        given back before that, one by one.
        """
        self.requeue_all(is_unseen=self._has_returned)
        self._has_returned = False

    def requeue_all(self, *, is_lost: bool = False, is_unseen: bool = False) -> None:
        """Give everything back that is outstanding, but for what a transaction has settled."""
        transaction, unacked = self.transaction, self.unacked
        if transaction is None or not transaction.settled:
            messages = list(unacked.values())
            unacked.clear()
        else:
            messages = [unacked.pop(tag) for tag in list(unacked) if not transaction.has_settled(tag)]
        self.requeue(messages, is_lost=is_lost, is_unseen=is_unseen)

    def close(self) -> None:
        """The channel is gone: give everything back that is outstanding."""
        self._on_room = _nobody
        self.requeue_all(is_lost=True, is_unseen=True)
        self.waiting.clear()

    def held_ids(self, queue: Queue) -> Iterator[int]:
        """Return the ids of all messages of `queue` that were delivered and are not settled, or not for good."""
        messages = chain(self.unacked.values(), self.held.values())
        return (message.id for message in messages if message.queue is queue)

    # What becomes of deliveries that are outstanding no more

    def settle(self, messages: list[Message], outcome: Outcome) -> None:
        """Give messages their outcome; consumers have room for others."""
        for consumer, queue, run in _runs(messages):
            self._end_run(consumer, queue, run, len(run), outcome)
        self._note_room()

    def requeue(self, messages: list[Message], *, is_lost: bool = False, is_unseen: bool = False) -> None:
        """Give messages back to their queues, as far as these are still there. `is_lost`: it was not the client that
        gave them back; `is_unseen`: nothing tells that it has handled them.
        """
        # The youngest first: then each run has its place before what is ready.
        for consumer, queue, run in reversed(_runs(messages)):
            self._end_run(consumer, queue, run, len(run), None, is_lost, is_unseen)
        self._note_room()


def _runs(messages: list[Message]) -> list[tuple[Any, Any, list[Message]]]:
    """Divide messages into runs that one consumer, or basic.get, had of one queue: mostly that is a single one."""
    runs = []
    start, count = 0, len(messages)
    while start < count:
        consumer, queue = messages[start].consumer, messages[start].queue
        end = start + 1
        while end < count and messages[end].consumer is consumer and messages[end].queue is queue:
            end += 1
        runs.append((consumer, queue, messages if end - start == count else messages[start:end]))
        start = end
    return runs


def _nobody() -> None:
    """Stands where the channel was."""
