"""tx.commit: the publishes and settlements of a transaction take effect together (contract T3).

They do so in the store, in one transaction. What has to be done in memory for it may take many turns of the loop.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from broker.amqp.copies import COPIES_AT_ONCE, COPY_STEPS, clones, keyed_clones
from broker.amqp.deliveries import Deliveries
from broker.amqp.output import Output
from broker.amqp.publishing import Publisher
from broker.amqp.transaction import Publication, Transaction
from broker.broker import Broker
from broker.errors import PreconditionFailed
from broker.message import PENDING, SETTLED, TRANSIENT, KeyedMessage, Message
from broker.queue.admission import QueueAdmission
from broker.queue.outcome import ACKED, OVER_LENGTH, REJECTED, Outcome
from broker.queue.queue import Queue
from broker.topology.keys import keyed_among

_INSERT_STEPS: Final = 4
"""Putting the messages of one queue into it, and each of them."""


async def commit(
    broker: Broker,
    output: Output,
    publisher: Publisher,
    deliveries: Deliveries,
    transaction: Transaction,
    *,
    next_turn: Callable[[], Awaitable[None]],
    room: Callable[[], Awaitable[None]],
) -> None:
    """Empty the transaction and carry it out in one store transaction, all or nothing.

    `next_turn` returns in a later turn of the loop, `room` when publishers need not wait.
    """
    done = transaction.take()
    output.has_published |= bool(done.publications)
    settled = deliveries.take_settled(done.settled)
    refused: list[Message] = []
    copies = _copies(done.publications, broker, publisher, refused, is_late=done.is_stored)
    messages: list[Message] = []
    # Until all of it is recorded no slot may cover a message of the transaction, or one that it settles or gives back.
    covered = [message for outcome in settled.values() for message in outcome]
    begin(covered)
    try:
        for made in copies if done.is_stored else ():
            begin(made)
            messages += made
            if broker.work.is_over:
                await next_turn()
        await _record(broker, messages, settled, keyed_among(messages) if done.has_keys else ())
    except BaseException:
        end(messages)
        raise
    finally:
        end(covered)
    for routing, message in done.kept:
        for keeper in message.keepers:
            keeper.keep(routing, message)
    for outcome in (ACKED, REJECTED):
        deliveries.settle(settled[outcome], outcome)
    deliveries.requeue(settled[None])
    for _ in insert(broker, without_duplicates(messages) if done.has_keys else messages):
        await next_turn()
    if not done.is_stored:
        for _ in _append(broker, copies):
            await room()
            await next_turn()
    reply(done.publications, publisher)
    if refused:
        raise PreconditionFailed("partial tx completion")  # contract T4


def reply(publications: Iterable[Publication], publisher: Publisher) -> None:
    """Send what goes to channels that wait for replies."""
    for publication in publications:
        if publication.route.replies:
            content = (publication.header, publication.body, publication.chunks)
            publisher.replier.reply(publication.route, *content, None, is_routed=bool(publication.queues))


def begin(messages: Iterable[Message]) -> None:
    """No slot may cover these messages until `end`."""
    for message in messages:
        _queue_of(message).slots.begin_transaction()


def end(messages: Iterable[Message]) -> None:
    """These messages are recorded, or will never be."""
    for message in messages:
        _queue_of(message).slots.end_transaction()


def _queue_of(message: Message) -> Any:
    return message.queue


def _copies(
    publications: Iterable[Publication],
    broker: Broker,
    publisher: Publisher,
    refused: list[Message],
    *,
    is_late: bool,
) -> Iterator[list[Message]]:
    """Make the messages of the publishes, one for each queue that is still there; send back what has to be.

    Those whose queue has no room are in `refused`, and in nothing else. With `is_late` all are ready only after the
    last one is made.
    """
    admission = QueueAdmission()
    for publication in publications:
        content = (publication.header, publication.body, publication.chunks)
        is_routed = False
        at_once = len(publication.queues) or 1 if publication.rules else COPIES_AT_ONCE
        for start in range(0, len(publication.queues), at_once):
            queues = [queue for queue in publication.queues[start : start + at_once] if not queue.is_deleted]
            if queues:
                is_routed = True
                broker.work.done += COPY_STEPS * len(queues)
                if publication.rules:
                    made = keyed_copies(broker, publication, queues)
                else:
                    made = clones(broker.ids, publication.route, queues, *content, publication.is_persistent)
                if any(queue.refuses_publishers for queue in queues):
                    made = _admitted(made, refused, admission, is_late=is_late)
                yield made
        publisher.counts.note(publication.route, publication.queues)
        if not is_routed and not publication.route.replies:
            publisher.note_unroutable(publication.route, *content)


def keyed_copies(broker: Broker, publication: Publication, queues: Sequence[Queue]) -> list[Message]:
    """Return the messages of a publish for these queues, which ask for its keys."""
    content, is_persistent = (publication.header, publication.body, publication.chunks), publication.is_persistent
    return keyed_clones(broker.ids, publication.route, queues, content, publication.rules, is_persistent=is_persistent)


def without_duplicates(messages: Sequence[Message]) -> Sequence[Message]:
    """Return the messages that are in their queues, now that the store has decided about keys."""
    left_out = [message for message in keyed_among(messages) if message.state == SETTLED]
    if not left_out:
        return messages
    end(left_out)
    return [message for message in messages if message.state != SETTLED]


def _admitted(
    messages: Iterable[Message], refused: list[Message], admission: QueueAdmission, *, is_late: bool
) -> list[Message]:
    """Return the messages whose queues have room; the others are added to `refused`, and dead-lettered if need be."""
    admitted = []
    for message in messages:
        queue = _queue_of(message)
        if not admission.refuses(queue, message.size, is_late=is_late):
            admitted.append(message)
            continue
        refused.append(message)
        if queue.dead_letters_refused:
            message.state = TRANSIENT
            queue.settle((message,), OVER_LENGTH)
    return admitted


async def _record(
    broker: Broker,
    messages: Sequence[Message],
    settled: Mapping[Outcome | None, Sequence[Message]],
    keyed: Sequence[KeyedMessage],
) -> None:
    """Store what must survive, and delete what was settled."""
    inserts = [message for message in messages if message.state == PENDING]
    # What goes on to a dead-letter exchange is deleted when it is there.
    rejected = [message for message in settled[REJECTED] if not _queue_of(message).has_dead_letters]
    gone = (*settled[ACKED], *rejected)
    deletes = [message for message in gone if message.state != TRANSIENT and not message.queue.is_stream]
    if inserts or deletes or keyed:
        await broker.journal.transact(inserts, deletes, keyed=keyed)
    for message in deletes:
        message.state = SETTLED


def insert(broker: Broker, messages: Iterable[Message]) -> Iterator[None]:
    """Let consumers have the messages of a transaction that is recorded; pauses when a turn is used up."""
    by_queue: dict[Any, list[Message]] = {}
    for message in messages:
        by_queue.setdefault(message.queue, []).append(message)
    for queue, members in by_queue.items():
        end(members)
        queue.insert(members)
        broker.touched.add(queue)
        broker.work.done += _INSERT_STEPS * (1 + len(members))
        if broker.work.is_over:
            broker.dispatch()
            yield


def _append(broker: Broker, copies: Iterable[list[Message]]) -> Iterator[None]:
    """Put messages into their queues as they are made; pauses when a turn is used up."""
    for made in copies:
        for message in made:
            _queue_of(message).append(message)
            if message.due:
                _queue_of(message).expect_expiry((message,))
        broker.touched.update(map(_queue_of, made))
        if broker.work.is_over:
            broker.dispatch()
            broker.journal.check_full()
            yield
