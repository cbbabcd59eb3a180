"""What prepares, commits and rolls back branches, in memory and in the store.

Prepare takes the acknowledged messages out of their queues and keeps them with the published ones in one transaction of
the store. Any node resolves the branch later, in one transaction too, from what is stored: this one remembers nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence

from broker.amqp.branch_content import BranchEntry, decode, encode
from broker.amqp.branches import Branch, Part
from broker.amqp.commit import begin, end, insert, keyed_copies, reply, without_duplicates
from broker.amqp.copies import COPIES_AT_ONCE, COPY_STEPS, clones
from broker.amqp.transaction import Publication
from broker.broker import Broker
from broker.codec.expiration import note_due
from broker.errors import BranchConflict, BranchNotAllowed, BranchStateInvalid, NotFound, NotImplementedFault
from broker.message import PENDING, SETTLED, TRANSIENT, KeyedMessage, Message, once_more, share_body
from broker.ports.branches import BranchKey, PreparedBranch
from broker.ports.store import BranchStore
from broker.queue.admission import QueueAdmission
from broker.queue.outcome import ACKED
from broker.queue.queue import Queue, state_of
from broker.topology.keys import ask_for_keys, key_rules, keyed_among
from broker.topology.vhost import VirtualHost

_COPY_STEPS = COPY_STEPS + 4


async def prepare(broker: Broker, branch: Branch, max_octets: int) -> bool:
    """Keep a branch in the store; False, having rolled it back, when a queue has no room for it, or it is too large.

    Raises `NotImplementedFault` for publishes that cannot be kept, and `BranchStateInvalid` when a branch of this name
    is prepared already, on whatever node; both roll back.
    """
    parts = list(branch.parts.values())
    publications = [each for part in parts for each in part.transaction.publications]
    acked = _acked(parts)
    if any(part.transaction.kept for part in parts) or any(_cannot_be_kept(each) for each in publications):
        branch.roll_back()
        raise NotImplementedFault(
            "a branch cannot keep replies, messages of which exchanges keep copies, or keys of exchanges"
        )
    if _is_refused(publications) or sum(message.weight for message in acked) > max_octets:
        branch.roll_back()
        return False
    for part in parts:
        for each in part.transaction.publications:
            if each.route.mandatory and all(queue.is_deleted for queue in each.queues):
                part.publisher.return_unroutable(each.route, each.header, each.body, each.chunks)
    content = encode(publications, acked)
    deletes = [message for message in acked if message.state != TRANSIENT]
    begin(acked)  # no slot may cover what the store does not have any more
    try:
        await broker.journal.transact((), deletes, prepared=[PreparedBranch(branch.key, content)])
    except BranchConflict:
        branch.roll_back()
        raise BranchStateInvalid("a branch of this name is prepared already") from None
    finally:
        end(acked)
    _settle(parts, deletes)
    return True


async def commit_at_once(broker: Broker, branch: Branch, next_turn: Callable[[], Awaitable[None]]) -> bool:
    """Commit a branch that is not prepared; False, having rolled it back, when a queue has no room for it."""
    parts = list(branch.parts.values())
    if _is_refused([each for part in parts for each in part.transaction.publications]):
        branch.roll_back()
        return False
    acked, messages = _acked(parts), list[Message]()
    begin(acked)
    try:
        for part in parts:
            for made in _copies(broker, part):
                begin(made)
                messages += made
                if broker.work.is_over:
                    await next_turn()
        inserts = [message for message in messages if message.state == PENDING]
        deletes = [message for message in acked if message.state != TRANSIENT]
        keyed = keyed_among(messages)
        if inserts or deletes or keyed:
            await broker.journal.transact(inserts, deletes, keyed=keyed)
    except BaseException:
        end(messages)
        raise
    finally:
        end(acked)
    for part in parts:
        for routing, kept in part.transaction.kept:
            for keeper in kept.keepers:
                keeper.keep(routing, kept)
    _settle(parts, deletes)
    for _ in insert(broker, without_duplicates(messages)):
        await next_turn()
    for part in parts:
        reply(part.transaction.publications, part.publisher)
    return True


async def resolve(
    broker: Broker,
    store: BranchStore,
    vhost: VirtualHost,
    key: BranchKey,
    next_turn: Callable[[], Awaitable[None]],
    *,
    is_commit: bool,
) -> None:
    """Commit or roll back a prepared branch, whichever node has prepared it. Raises `NotFound` when there is none."""
    branch = await store.read_branch(key)
    if branch is None:
        raise NotFound("no such branch")
    messages: list[Message] = []
    try:
        for entry in decode(branch.content):
            if entry.is_acked != is_commit:
                made = _restored(broker, vhost, entry)
                begin(made)
                messages += made
            if broker.work.is_over:
                await next_turn()
        inserts = [message for message in messages if message.state == PENDING]
        await broker.journal.transact(inserts, (), resolved=[key], keyed=keyed_among(messages))
    except BranchConflict:
        end(messages)
        raise NotFound("no such branch") from None
    except BaseException:
        end(messages)
        raise
    for _ in insert(broker, without_duplicates(messages)):
        await next_turn()


async def refuse_prepared(store: BranchStore, key: BranchKey) -> None:
    """Raise `BranchNotAllowed` when there is a prepared branch of this name."""
    if await store.read_branch(key) is not None:
        raise BranchNotAllowed("the branch is prepared already")


def _cannot_be_kept(publication: Publication) -> bool:
    of_exchanges = any(rule.scope < 0 for rules in publication.rules.values() for rule in rules)
    return bool(publication.route.replies) or of_exchanges


def _acked(parts: Sequence[Part]) -> list[Message]:
    return [message for part in parts for message in part.acked]


def _is_refused(publications: Sequence[Publication]) -> bool:
    """Has any queue no room for what a branch brings? Then none of it is done."""
    admission = QueueAdmission()
    return any(
        admission.refuses(queue, int.from_bytes(each.header[8:16], "big"), is_late=True)
        for each in publications
        for queue in each.queues
        if queue.refuses_publishers and not queue.is_deleted
    )


def _settle(parts: Sequence[Part], deletes: Sequence[Message]) -> None:
    """The deliveries are gone from the store: settle them in memory."""
    for message in deletes:
        message.state = SETTLED
    for part in parts:
        acked, part.acked = part.acked, []
        part.deliveries.release(acked)
        part.deliveries.settle(acked, ACKED)


def _copies(broker: Broker, part: Part) -> Iterator[list[Message]]:
    """Make the messages of the publishes of one channel; send back what has no queue."""
    for each in part.transaction.publications:
        queues = [queue for queue in each.queues if not queue.is_deleted]
        at_once = len(queues) if each.rules else COPIES_AT_ONCE
        for start in range(0, len(queues), at_once or 1):
            some = queues[start : start + at_once]
            broker.work.done += COPY_STEPS * len(some)
            if each.rules:
                yield keyed_copies(broker, each, some)
            else:
                yield clones(broker.ids, each.route, some, each.header, each.body, each.chunks, each.is_persistent)
        part.publisher.counts.note(each.route, queues)
        if not queues and not each.route.replies:
            part.publisher.note_unroutable(each.route, each.header, each.body, each.chunks)


def _restored(broker: Broker, vhost: VirtualHost, entry: BranchEntry) -> list[Message]:
    """Make the messages of an entry, with new ids, for those of its queues that are still there."""
    found: list[Queue | None] = [vhost.routing.queues_by_id.get(each) for each in entry.queue_ids]
    messages = []
    queues = [each for each in found if each is not None and not each.is_deleted]
    rules = key_rules(queues, entry.header)
    for queue in queues:
        state = state_of(queue, is_persistent=entry.is_persistent or queue in rules)
        content = (entry.routing, entry.header, entry.body, entry.chunks)
        message = (KeyedMessage if queue in rules else Message)(
            broker.ids.next(), queue.level_for(entry.header), *content, state
        )
        if entry.is_acked:
            message.redelivered = once_more(entry.deliveries)
        note_due(message)
        messages.append(message)
    # What is given back was in its queue before: it is no duplicate of what has come meanwhile.
    ask_for_keys(messages, queues, rules, is_binding=not entry.is_acked)
    share_body([message for message in messages if message.state == PENDING])
    broker.work.done += _COPY_STEPS * len(messages)
    return messages
