"""What clients do with many deliveries, and many consumers."""

import struct
from collections.abc import Iterator

from benchmarks.attacks.requests import declare_queues, delete_queues, empty_publish, finish
from benchmarks.client import Client
from benchmarks.frames import ACK, FRAME_END, ack, method, nack_head, short_string
from benchmarks.target import Target

SECONDS = 300.0
"""How long one answer may take."""
QUEUE = "fair.deliveries"
READY = 100_000
TX_SELECT, TX_COMMIT, TX_ROLLBACK = (method(1, 90, method_id) for method_id in (10, 20, 30))


def consume(tag: str) -> bytes:
    """Encode a `basic.consume` with acknowledgements and without an answer."""
    return method(1, 60, 20, b"\x00\x00" + short_string(QUEUE) + short_string(tag) + b"\x08" + bytes(4))


def cancel(tag: str, *, no_wait: bool) -> bytes:
    """Encode a `basic.cancel`."""
    return method(1, 60, 30, short_string(tag) + bytes((no_wait,)))


def holding(client: Client, held: int, ready: int) -> None:
    """Fill the queue, and let the client hold the first `held` messages; `ready` more stay behind them."""
    finish(client, declare_queues([QUEUE]))
    finish(client, empty_publish("", QUEUE) * (held + ready))
    client.call(method(1, 60, 10, struct.pack(">IHB", 0, held, 0)), 60, 11)
    client.sock.sendall(consume("holder"))
    for _ in range(held):
        client.skip_to(60, 60)
    client.sock.sendall(cancel("holder", no_wait=False))
    client.skip_to(60, 31)


def clean(client: Client) -> None:
    """Delete the queue and close."""
    finish(client, delete_queues([QUEUE]))
    client.close()


def requeues(target: Target) -> Iterator[None]:
    """500 messages given back one by one, none of them the oldest, before 100 000 that are ready."""
    client = Client(target.address, SECONDS)
    holding(client, 500, READY)
    nacks = [ACK.pack(nack_head(1), tag, 2, FRAME_END) for tag in (*range(2, 501), 1)]
    yield
    for nack in nacks:
        client.sock.sendall(nack)
    finish(client)
    yield
    clean(client)


def commits(target: Target) -> Iterator[None]:
    """200 transactions of a message each, one after the other, into a queue of 100 000."""
    client, other = Client(target.address, SECONDS), Client(target.address, SECONDS)
    holding(client, 1, READY)
    client.call(TX_SELECT, 90, 11)
    flood = empty_publish("", QUEUE) * 500
    yield
    for _ in range(200):
        client.sock.sendall(empty_publish("", QUEUE) + TX_COMMIT)
        other.sock.sendall(flood)
    for _ in range(200):
        client.expect(90, 21)
    yield
    other.close()
    clean(client)


def rollbacks(target: Target) -> Iterator[None]:
    """100 times: acknowledge 50 000 deliveries at once, and roll that back."""
    client = Client(target.address, SECONDS)
    holding(client, 50_000, 0)
    client.call(TX_SELECT, 90, 11)
    request = (ack(50_000, multiple=True) + TX_ROLLBACK) * 100
    yield
    client.sock.sendall(request)
    for _ in range(100):
        client.expect(90, 31)
    yield
    clean(client)


def consumers(target: Target) -> Iterator[None]:
    """40 000 consumers of one queue on one channel come, and go."""
    client = Client(target.address, SECONDS)
    finish(client, declare_queues([QUEUE]))
    tags = [f"consumer.{number}" for number in range(40_000)]
    request = b"".join(map(consume, tags)) + b"".join(cancel(tag, no_wait=True) for tag in tags)
    yield
    finish(client, request)
    yield
    clean(client)


def idle_consumers(target: Target) -> Iterator[None]:
    """1000 publishes, one by one, to a queue with 5000 consumers that have no credit left."""
    client, other = Client(target.address, SECONDS), Client(target.address, SECONDS)
    finish(client, declare_queues([QUEUE]))
    client.call(method(1, 60, 10, struct.pack(">IHB", 0, 1, 0)), 60, 11)
    finish(client, b"".join(consume(f"consumer.{number}") for number in range(5000)))
    finish(other, empty_publish("", QUEUE) * 5000)
    yield
    for _ in range(1000):
        finish(other, empty_publish("", QUEUE))
    yield
    finish(other, delete_queues([QUEUE]))
    client.sock.close()
    other.close()


ATTACKS = {
    "500 requeues before 100 000 messages": requeues,
    "200 commits into a queue of 100 000 messages": commits,
    "100 rollbacks of 50 000 acknowledgements": rollbacks,
    "40 000 consumers that come and go": consumers,
    "1000 publishes to 5000 consumers without credit": idle_consumers,
}
