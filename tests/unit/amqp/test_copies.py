"""The copies of one message: what they share, and which of them are stored."""

from __future__ import annotations

from broker.amqp.copies import clones, keyed_clones
from broker.message import PENDING, TRANSIENT, KeyedMessage, MessageIdGenerator
from broker.topology.keys import NO_KEYS
from broker.topology.routing import Route
from tests.support.composition import new_queue

HEADER = b"\x00" * 22
LARGE = b"x" * 10_000 + b"\xce"
ROUTE = Route(b"\0\0\1x\1k\0", "x", "k", False, 0)


def test_each_queue_gets_a_message_with_the_same_octets() -> None:
    queues = [new_queue("a", 1), new_queue("b", 2, durable=False)]
    first, second = clones(MessageIdGenerator(0), ROUTE, queues, HEADER, LARGE, None, True)
    assert (first.queue, second.queue) == (queues[0], queues[1])
    assert first.id < second.id
    assert first.body is second.body is LARGE
    assert (first.state, second.state) == (PENDING, TRANSIENT)
    assert first.routing == ROUTE.routing == b"\1x\1k"


def test_those_that_are_stored_share_a_large_body_in_the_store() -> None:
    queues = [new_queue(name, number) for number, name in enumerate("abc", 1)]
    messages = clones(MessageIdGenerator(0), ROUTE, queues, HEADER, LARGE, None, True)
    assert {message.content_id for message in messages} == {messages[0].id}
    apart = clones(MessageIdGenerator(0), ROUTE, queues, HEADER, b"small\xce", None, True)
    assert [message.content_id for message in apart] == [0, 0, 0]


def test_without_rules_no_copy_asks_for_a_key() -> None:
    queues = [new_queue("a", 1)]
    (message,) = keyed_clones(MessageIdGenerator(0), ROUTE, queues, (HEADER, LARGE, None), NO_KEYS, is_persistent=False)
    assert not isinstance(message, KeyedMessage)
    assert message.state == TRANSIENT
