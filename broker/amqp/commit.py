"""tx.commit: the publishes and settlements of a transaction take effect together (contract T3)."""

from __future__ import annotations

from typing import Any

from broker.amqp.deliveries import Deliveries
from broker.amqp.output import Output
from broker.amqp.publishing import Publisher, clones
from broker.amqp.transaction import Publication, Transaction
from broker.broker import Broker
from broker.message import PENDING, SETTLED, TRANSIENT, Message
from broker.ports.store import Journal
from broker.queue.outcome import ACKED, REJECTED


async def commit(
    broker: Broker, output: Output, publisher: Publisher, deliveries: Deliveries, transaction: Transaction
) -> None:
    """Empty the transaction and carry it out in one store transaction, all or nothing."""
    done = transaction.take()
    messages = _route(done.publications, broker, publisher)
    output.has_published |= bool(messages)
    settled = deliveries.take_settled(done.settled)
    acked, rejected, returned = settled[ACKED], settled[REJECTED], settled[None]
    deletes = [message for message in (*acked, *rejected) if message.state != TRANSIENT]
    await _store(broker.journal, messages, deletes, returned)
    for message in deletes:
        message.state = SETTLED
    touched = broker.touched
    by_queue: dict[Any, list[Message]] = {}
    for message in messages:
        by_queue.setdefault(message.queue, []).append(message)
    for queue, members in by_queue.items():
        queue.insert(members)
        touched.add(queue)
    deliveries.settle(acked, ACKED)
    deliveries.settle(rejected, REJECTED)
    deliveries.requeue(returned)


def _route(publications: list[Publication], broker: Broker, publisher: Publisher) -> list[Message]:
    """Return the messages of the publishes, one for each queue that is still there; send back what has to be."""
    messages: list[Message] = []
    for publication in publications:
        queues = [queue for queue in publication.queues if not queue.is_deleted]
        content = (publication.header, publication.body, publication.chunks)
        if queues:
            messages += clones(broker.ids, publication.route, queues, *content, publication.is_persistent)
        elif publication.route.mandatory:
            publisher.return_unroutable(publication.route, *content)
    return messages


async def _store(journal: Journal, messages: list[Message], deletes: list[Message], returned: list[Message]) -> None:
    """Record what must survive; until then no slot may cover a message of the transaction, or one it gives back."""
    inserts = [message for message in messages if message.state == PENDING]
    if not (inserts or deletes):
        return
    targets: list[Any] = [message.queue for message in (*messages, *returned)]
    for queue in targets:
        queue.begin_transaction()
    try:
        await journal.transact(inserts, deletes)
    finally:
        for queue in targets:
            queue.end_transaction()
