"""Which keys a message asks for in each of its queues: those of the exchanges on its way, then that of the queue."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, TypeAlias

from broker.codec.properties import BasicProperties, decode_properties
from broker.message import KeyedMessage, Message, published_ms
from broker.queue.queue import Queue
from broker.topology.guards import NO_RULES, Guards, Rules

KeyRules: TypeAlias = Mapping[Queue, Rules]

NO_KEYS: Final[KeyRules] = {}
"""Those of nearly all messages."""


def key_rules(
    queues: Sequence[Queue],
    header: bytes,
    guards: Guards | None = None,
    *,
    properties: BasicProperties | None = None,
    is_strict: bool = False,
) -> KeyRules:
    """Return the keys that a message with this header (`Message.header`) asks for; queues of which it asks for none are
    left out. If it `is_strict`, it raises `PreconditionFailed` for a key that is none.
    `properties` are those in `header`, if they are known.
    """
    rules = dict(guards.rules) if guards is not None else {}
    asking = [
        (queue, wanted)
        for queue in queues
        if (wanted := queue.settings.deduplication) is not None and wanted.may_have_key(header)
    ]
    if not asking:
        return rules
    if properties is None:
        properties = decode_properties(header[4:-1])
    for queue, wanted in asking:
        rule = wanted.rule_for(queue.queue_id, properties, is_strict=is_strict)
        if rule is not None:
            rules[queue] = (*rules.get(queue, NO_RULES), rule)
    return rules


def keyed_among(messages: Iterable[Message]) -> list[KeyedMessage]:
    """Return the messages that ask for keys."""
    return [message for message in messages if isinstance(message, KeyedMessage)]


def ask_for_keys(
    messages: Sequence[Message], queues: Sequence[Queue], rules: KeyRules, *, is_binding: bool = True
) -> None:
    """Let the messages of one publish, made for these queues, ask for their keys, if they have any."""
    keyed = [(queue, message) for queue, message in zip(queues, messages, strict=True) if queue in rules]
    for queue, message in keyed:
        assert isinstance(message, KeyedMessage)
        # Of an exchange, a publish asks once; of its own queue, each message.
        message.claims = tuple(
            rule.claim(
                message.id if rule.scope > 0 else keyed[0][1].id, published_ms(message.id), is_binding=is_binding
            )
            for rule in rules[queue]
        )
