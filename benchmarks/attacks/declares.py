"""Many changes of topology at once, each of which waits for the store."""

from collections.abc import Iterator

from benchmarks.attacks.requests import declare_queues, delete_queues, finish
from benchmarks.client import DURABLE, EXCLUSIVE, NO_WAIT, Client, queue_declare
from benchmarks.frames import method
from benchmarks.target import Target

SECONDS = 300.0
CHANNELS = range(2, 2002)


def durable_declares(target: Target) -> Iterator[None]:
    """2000 durable queues, each declared on a channel of its own, so that all of them wait together."""
    client = Client(target.address, SECONDS)
    client.sock.sendall(b"".join(method(channel, 20, 10, b"\0") for channel in CHANNELS))
    for _ in CHANNELS:
        client.expect(20, 11)
    names = [f"fair.{channel}" for channel in CHANNELS]
    request = b"".join(
        method(channel, 50, 10, queue_declare(name, DURABLE)) for channel, name in zip(CHANNELS, names, strict=True)
    )
    yield
    client.sock.sendall(request)
    for _ in CHANNELS:
        client.expect(50, 11)
    yield
    finish(client, delete_queues(names))
    client.close()


def end_of_exclusive_queues(target: Target) -> Iterator[None]:
    """The end of a connection with 2000 exclusive queues that are bound."""
    client, other = Client(target.address, SECONDS), Client(target.address, SECONDS)
    names = [f"fair.{number}" for number in range(2000)]
    finish(client, declare_queues(names, EXCLUSIVE | NO_WAIT))
    client.bind("amq.topic", [(name, "k") for name in names])
    yield
    client.close()
    yield
    other.close()


ATTACKS = {
    "2000 durable declares on 2000 channels": durable_declares,
    "the end of a connection with 2000 exclusive queues": end_of_exclusive_queues,
}
