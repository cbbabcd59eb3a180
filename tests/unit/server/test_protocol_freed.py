"""A connection that is over is freed at once: nothing of it waits for the collector of garbage (ADR 28)."""

from __future__ import annotations

import asyncio
import gc
import ssl
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme
import uvloop

from broker.codec.constants import FRAME_BODY, PROTOCOL_HEADER
from broker.codec.methods import (
    BasicAck,
    BasicConsume,
    BasicGet,
    BasicPublish,
    BasicQos,
    ChannelClose,
    ChannelOpen,
    ConfirmSelect,
    ConnectionClose,
    ConnectionCloseOk,
    ConnectionOpen,
    ConnectionTuneOk,
    QueueDeclare,
    TxSelect,
)
from broker.codec.properties import BasicProperties
from tests.support.edge import Edge, Node
from tests.support.harness import start_ok
from tests.support.peer import command, raw_frame

PERSISTENT = BasicProperties(delivery_mode=2)


def living() -> Counter[str]:
    """Return how many objects of the broker's classes there are."""
    kinds = (type(each) for each in gc.get_objects())
    return Counter(kind.__qualname__ for kind in kinds if str(kind.__module__).startswith("broker."))


def collected() -> Counter[str]:
    """Return how many there are when garbage is gone: tests that ran before may have left some for good."""
    gc.collect()
    return living()


def of_clients(objects: Counter[str]) -> Counter[str]:
    """Return those of them that belong to one client."""
    kinds = ("AmqpProtocol", "Connection", "Channel", "Consumer", "Output")
    return Counter({kind: objects[kind] for kind in kinds})


@contextmanager
def without_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def do_a_bit_of_everything(edge: Edge) -> None:
    """Leave on the connection what a client can leave: consumers, transactions, half a body, messages it holds."""
    send = edge.peer.send
    for channel in range(2, 8):
        send(channel, ChannelOpen())
    send(1, QueueDeclare(queue="d", durable=True))
    send(2, ConfirmSelect())
    send(2, BasicPublish(routing_key="d"), PERSISTENT, b"stays in its queue, and knows whom it was confirmed to")
    send(2, BasicPublish(routing_key="q"), BasicProperties(), b"m")
    send(3, BasicGet(queue="q"))
    send(2, BasicPublish(routing_key="q"), BasicProperties(), b"m")
    send(1, BasicQos(prefetch_count=10, global_=True))
    send(1, BasicConsume(queue="q"))
    send(1, BasicConsume(queue="d"))
    send(1, BasicAck(1))
    send(3, TxSelect())
    send(3, BasicPublish(routing_key="q"), BasicProperties(), b"m")
    send(4, QueueDeclare(queue="own", exclusive=True))
    send(4, BasicConsume(queue="own"))
    half = command(5, BasicPublish(routing_key="q"), BasicProperties(), b"x" * 1000)
    edge.deliver(half[: half.index(bytes((FRAME_BODY, 0, 5)))] + raw_frame(FRAME_BODY, 5, b"x" * 10))
    send(6, ConfirmSelect())
    send(6, ChannelClose())
    send(7, QueueDeclare(queue="nobody's", passive=True))


def lose(node: Node, edge: Edge) -> None:
    """The socket is gone without a word."""


def close(node: Node, edge: Edge) -> None:
    edge.peer.send(0, ConnectionClose(200, "", 0, 0))


def fail(node: Node, edge: Edge) -> None:
    edge.peer.send(0, ConnectionOpen("/"))
    edge.peer.send(0, ConnectionCloseOk())


def lose_while_a_handler_waits(node: Node, edge: Edge) -> None:
    node.harness.gate.is_open = False
    edge.peer.send(1, QueueDeclare(queue="e", durable=True))


@pytest.mark.parametrize("end", [lose, close, fail, lose_while_a_handler_waits])
async def test_nothing_of_a_connection_is_left(node: Node, end: Callable[[Node, Edge], None]) -> None:
    async def connect_and_end() -> None:
        edge = await Edge(node).open()
        do_a_bit_of_everything(edge)
        await node.turn()
        end(node, edge)
        await node.turn()
        edge.protocol.connection_lost(None)
        del edge.protocol
        node.harness.gate.is_open = True
        await node.turn()
        for name in ("d", "q"):
            node.harness.vhost.queues[name].purge()
        node.harness.commit()
        edge.peer.received()
        edge.peer.received_content()

    others = of_clients(collected())
    await connect_and_end()
    with without_collector():
        before = living()
        for _ in range(3):
            await connect_and_end()
        after = living()
    assert after - before == Counter()
    assert of_clients(before) - others == Counter()


async def test_a_message_in_its_queue_keeps_nothing_of_those_who_had_to_do_with_it(node: Node) -> None:
    others = of_clients(collected())
    edge = await Edge(node).open()
    do_a_bit_of_everything(edge)
    await node.turn()
    edge.protocol.connection_lost(None)
    del edge.protocol
    await node.turn()
    assert node.harness.vhost.queues["d"].ready_count == 1
    assert of_clients(collected()) - others == Counter()


def test_nothing_of_a_tls_connection_is_left(tmp_path: Path) -> None:
    """Each leaves 0.3 MB of buffers otherwise, in a few dozen objects that start no collection."""
    authority = trustme.CA()
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)

    async def connect_and_end(port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting, server_hostname="localhost")
        writer.write(PROTOCOL_HEADER + command(0, start_ok()) + command(0, ConnectionTuneOk(0, 0, 10)))
        writer.write(command(0, ConnectionOpen()) + command(1, ChannelOpen()))
        await reader.readuntil(command(1, ChannelOpen())[:3])
        writer.close()

    async def check() -> None:
        node = Node()
        async with node.tasks:
            port = await node.server.listen("127.0.0.1", 0, context)
            await connect_and_end(port)
            while node.server.protocols:
                await node.turn()
            with without_collector():
                before = protocols()
                for _ in range(5):
                    await connect_and_end(port)
                while node.server.protocols:
                    await node.turn()
                after = protocols()
            node.server.abort("the test ends")
            await node.turn()
        assert after == before

    def protocols() -> int:
        """Return how many ends of TLS connections there are."""
        return sum(type(each).__name__ in ("SSLProtocol", "SSLObject", "AmqpProtocol") for each in gc.get_objects())

    uvloop.run(check())
