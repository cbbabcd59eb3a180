"""tx.commit: the publishes and settlements of a transaction become real together (contract T3).

Knows the channel's parts, queues and the journal; knows no frame.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from broker.amqp.deliveries import Settler
from broker.amqp.publishing import Publisher, clones
from broker.amqp.transaction import Publication, Transaction
from broker.message import PENDING, SETTLED, TRANSIENT, Message
from broker.ports.store import Journal

if TYPE_CHECKING:
    from broker.amqp.channel import Channel


async def commit(channel: Channel, publisher: Publisher, settler: Settler, transaction: Transaction) -> None:
    """Empty the transaction and carry it out in one store transaction, all or nothing."""
    publications, acked, requeued = transaction.take()
    messages = _route(publications, channel, publisher, settler)
    channel.connection.has_committed |= bool(messages)
    deletes = [message for _, message in acked if message.state != TRANSIENT]
    returned = [message for _, message in requeued]
    await _store(channel.broker.journal, messages, deletes, returned)
    for message in deletes:
        message.state = SETTLED
    touched = channel.broker.touched
    by_queue: dict[Any, list[Message]] = {}
    for message in messages:
        by_queue.setdefault(message.queue, []).append(message)
    for queue, members in by_queue.items():
        if settler.is_here(queue):
            queue.insert(members)
            touched.add(queue)
        else:
            settler.drop(members)
    for _, message in acked:
        if message.consumer is not None:
            message.consumer.unacked -= 1
            touched.add(message.consumer.queue)
    settler.requeue(returned)


def _route(publications: list[Publication], channel: Channel, publisher: Publisher, settler: Settler) -> list[Message]:
    """Return the messages of the publishes, one for each queue that is still there; send back what has to be."""
    messages: list[Message] = []
    for publication in publications:
        queues = [queue for queue in publication.queues if settler.is_here(queue)]
        content = (publication.header, publication.body, publication.chunks)
        if queues:
            messages += clones(channel.broker.ids, publication.route, queues, *content, publication.is_persistent)
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
        queue.holds += 1
    try:
        await journal.transact(inserts, deletes)
    finally:
        for queue in targets:
            queue.holds -= 1
