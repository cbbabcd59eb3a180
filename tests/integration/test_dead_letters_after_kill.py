"""Times to live and dead letters over kill -9, on each engine: a message is in exactly one place, and dies on time."""

from __future__ import annotations

import time
from collections import Counter

import pika
from pika.adapters.blocking_connection import BlockingChannel

from benchmarks.nodes.process import BrokerProcess
from tests.integration.channels import OpenChannel, channel_of
from tests.integration.engines import broker

__all__ = ["broker", "channel_of"]

COUNT = 3000
DEADLINE = 30.0


def declare(channel: BlockingChannel, **arguments: object) -> None:
    """Declare dead, and q with dead as its dead-letter queue and these further arguments."""
    channel.queue_declare("dead", durable=True)
    letters = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}
    further = {f"x-{name.replace('_', '-')}": value for name, value in arguments.items()}
    channel.queue_declare("q", durable=True, arguments={**letters, **further})


def publish(channel: BlockingChannel, body: bytes, expiration: int | None = None) -> None:
    channel.basic_publish("", "q", body, properties_of(expiration))


def properties_of(expiration: int | None) -> pika.BasicProperties:
    return pika.BasicProperties(delivery_mode=2, expiration=None if expiration is None else str(expiration))


def wait_for(channel: BlockingChannel, queue: str, count: int) -> list[bytes]:
    """Fetch until `count` messages have come."""
    bodies: list[bytes] = []
    end = time.monotonic() + DEADLINE
    while len(bodies) < count:
        assert time.monotonic() < end, f"{len(bodies)} of {count} came"
        method, _, body = channel.basic_get(queue, auto_ack=True)
        if method is None:
            channel.connection.process_data_events(0.01)
        else:
            assert body is not None
            bodies.append(body)
    return bodies


def rest(channel: BlockingChannel, queue: str) -> list[bytes]:
    """Fetch what is there."""
    bodies = []
    while (answer := channel.basic_get(queue, auto_ack=True))[0] is not None:
        assert answer[2] is not None
        bodies.append(answer[2])
    return bodies


def test_what_was_published_before_a_kill_expires_after_it(broker: BrokerProcess, channel_of: OpenChannel) -> None:
    channel = channel_of(broker)
    declare(channel)
    channel.confirm_delivery()
    begun = time.monotonic()
    for body, expiration in ((b"long", 3_600_000), (b"for ever", None), (b"late", 4000), (b"soon", 2000)):
        publish(channel, body, expiration)
    broker.kill9()
    broker.start()
    channel = channel_of(broker)
    assert wait_for(channel, "dead", 1) == [b"soon"]
    assert time.monotonic() - begun >= 2
    assert wait_for(channel, "dead", 1) == [b"late"]
    assert time.monotonic() - begun >= 4
    publish(channel, b"new", 100)
    assert wait_for(channel, "dead", 1) == [b"new"]
    assert rest(channel, "q") == [b"long", b"for ever"]


def test_a_kill_among_dead_letters_leaves_each_message_in_one_place(
    broker: BrokerProcess, channel_of: OpenChannel
) -> None:
    channel = channel_of(broker)
    declare(channel, message_ttl=1000)
    channel.tx_select()
    for number in range(COUNT):
        publish(channel, b"%d" % number)
    channel.tx_commit()
    first = wait_for(channel, "dead", 1)
    broker.kill9()
    broker.start()
    channel = channel_of(broker)
    found = first + wait_for(channel, "dead", COUNT - len(first) - 1)
    again = Counter(found + rest(channel, "dead") + rest(channel, "q"))
    # The first one was acknowledged without an answer: it may be there again.
    assert [body for body, count in again.items() if count > 1] in ([], first)
    assert len(again) == COUNT
