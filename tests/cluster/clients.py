"""What the tests of a cluster do with pika: publish with confirms, and take what comes until it is enough.

Knows pika; must not know nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic

import pika
from pika.adapters.blocking_connection import BlockingChannel

PERSISTENT = pika.BasicProperties(delivery_mode=2)
DEADLINE = 20.0


@dataclass(frozen=True, slots=True)
class Taken:
    """A message that was delivered."""

    body: bytes
    redelivered: bool
    tag: int


@dataclass(slots=True)
class Taking:
    """A consumer and what it was given."""

    channel: BlockingChannel
    tag: str = ""
    taken: list[Taken] = field(default_factory=list)
    cancelled: list[object] = field(default_factory=list)

    @property
    def bodies(self) -> list[bytes]:
        return [taken.body for taken in self.taken]

    @property
    def first_time(self) -> list[bytes]:
        """What came without the mark that it may have come before, or comes late."""
        return [taken.body for taken in self.taken if not taken.redelivered]

    def wait(self, count: int, deadline: float = DEADLINE) -> list[bytes]:
        """Return all bodies when there are at least so many."""
        process_until(self.channel, lambda: len(self.taken) >= count, deadline, lambda: f"{len(self.taken)} of {count}")
        return self.bodies

    def cancel(self) -> None:
        self.channel.basic_cancel(self.tag)


def process_until(
    channel: BlockingChannel, is_done: Callable[[], bool], deadline: float = DEADLINE, so_far: Callable[[], str] = str
) -> None:
    """Let pika handle what arrives until `is_done`."""
    until = monotonic() + deadline
    while not is_done():
        assert monotonic() < until, f"not within {deadline} s: {so_far()}"
        channel.connection.process_data_events(time_limit=0.05)


def consume(
    channel: BlockingChannel,
    queue: str,
    *,
    acks: bool = True,
    prefetch: int = 0,
    exclusive: bool = False,
    priority: int = 0,
) -> Taking:
    """Begin to consume; with `acks` each message is acknowledged at once."""
    taking = Taking(channel)
    if prefetch:
        channel.basic_qos(prefetch_count=prefetch)

    def on_message(channel: BlockingChannel, deliver: object, properties: object, body: bytes) -> None:
        taking.taken.append(Taken(body, deliver.redelivered, deliver.delivery_tag))  # type: ignore[attr-defined]
        if acks:
            channel.basic_ack(deliver.delivery_tag)  # type: ignore[attr-defined]

    channel.add_on_cancel_callback(taking.cancelled.append)
    arguments = {"x-priority": priority} if priority else None
    taking.tag = channel.basic_consume(queue, on_message, exclusive=exclusive, arguments=arguments)
    return taking


@contextmanager
def consuming(channel: BlockingChannel, queue: str, **options: bool | int) -> Iterator[Taking]:
    """Consume for a while."""
    taking = consume(channel, queue, **options)  # type: ignore[arg-type]
    yield taking
    taking.cancel()


def publish(channel: BlockingChannel, queue: str, bodies: Iterable[bytes], *, persistent: bool = True) -> None:
    """Publish to the default exchange; on a channel with confirms each one waits for its own."""
    for body in bodies:
        properties = PERSISTENT if persistent else pika.BasicProperties(delivery_mode=1)
        channel.basic_publish("", queue, body, properties, mandatory=True)


def numbered(count: int, first: int = 0) -> list[bytes]:
    return [b"%d" % number for number in range(first, first + count)]


def address_of(channel: BlockingChannel, queue: str) -> str:
    """Consume replies on a channel, and return their address as a request shows it; `queue` lets it through."""
    channel.basic_consume("amq.rabbitmq.reply-to", lambda *reply: None, auto_ack=True)
    channel.basic_publish("", queue, b"?", pika.BasicProperties(reply_to="amq.rabbitmq.reply-to"))
    _, properties, _ = channel.basic_get(queue, auto_ack=True)
    return str(properties.reply_to)


def ready(channel: BlockingChannel, queue: str) -> tuple[int, int]:
    """Return how many ready messages and consumers a queue has."""
    method = channel.queue_declare(queue, passive=True).method
    return int(method.message_count), int(method.consumer_count)


def ready_becomes(channel: BlockingChannel, queue: str, expected: tuple[int, int], deadline: float) -> None:
    """Return when the counts are these."""
    process_until(
        channel, lambda: ready(channel, queue) == expected, deadline, lambda: f"{ready(channel, queue)} != {expected}"
    )
