"""The copies of one message, one for each queue that it goes to, all with the same octets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

from broker.codec.expiration import note_due
from broker.message import PENDING, TRANSIENT, KeyedMessage, Message, MessageIdGenerator, share_body
from broker.queue.queue import Queue, state_of
from broker.topology.keys import KeyRules, ask_for_keys
from broker.topology.routing import Route

# What copies cost, in steps of work.
COPY_STEPS: Final = 3
"""A message put into a queue, and what it costs the queue's next dispatch."""
COPIES_AT_ONCE: Final = 250

Content: TypeAlias = tuple[bytes, bytes, list[bytes] | None]
"""Header and body as frame tails; a body of several frames is in the list."""


def clones(
    ids: MessageIdGenerator,
    route: Route,
    queues: Sequence[Queue],
    header: bytes,
    body: bytes,
    chunks: list[bytes] | None,
    is_persistent: bool,
) -> list[Message]:
    """Return one message per queue, all with the same octets; stored bodies of some size are shared."""
    routing = route.routing
    messages = []
    stored = []
    for queue in queues:
        state = PENDING if (is_persistent or queue.is_stream) and queue.is_stored else TRANSIENT
        message = Message(ids.next(), queue.level_for(header), routing, header, body, chunks, state)
        note_due(message)
        messages.append(message)
        if state == PENDING:
            stored.append(message)
    share_body(stored)
    return messages


def keyed_clones(
    ids: MessageIdGenerator,
    route: Route,
    queues: Sequence[Queue],
    content: Content,
    rules: KeyRules,
    *,
    is_persistent: bool,
) -> list[Message]:
    """Return what `clones` returns; what asks for keys by `rules` does so, and is stored in every case."""
    messages: list[Message] = []
    for queue in queues:
        is_keyed = queue in rules
        state = state_of(queue, is_persistent=is_persistent or is_keyed)
        new = KeyedMessage if is_keyed else Message
        message = new(ids.next(), queue.level_for(content[0]), route.routing, *content, state)
        note_due(message)
        messages.append(message)
    ask_for_keys(messages, queues, rules)
    share_body([message for message in messages if message.state == PENDING])
    return messages
