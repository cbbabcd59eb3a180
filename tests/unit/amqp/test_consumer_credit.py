"""Credit that several consumers share, and what consumers get when their connection ends (contract B11, C14)."""

from __future__ import annotations

import pytest

from broker.codec.method import frame
from broker.codec.methods import (
    BasicAck,
    BasicConsume,
    BasicGet,
    BasicPublish,
    BasicQos,
    ChannelClose,
    ConnectionClose,
    QueueDeclare,
    QueueDeclareOk,
    TxCommit,
    TxSelect,
)
from tests.support.harness import Client, Harness
from tests.support.peer import raw_frame


@pytest.fixture
def harness() -> Harness:
    return Harness()


@pytest.fixture
def peer(harness: Harness) -> Client:
    client = harness.peer()
    for name in ("a", "b"):
        client.call(1, QueueDeclare(queue=name))
    client.send(1, BasicQos(prefetch_count=1, global_=True))
    return client


def test_an_ack_frees_the_shared_credit_for_every_queue_of_the_channel(harness: Harness, peer: Client) -> None:
    other = harness.peer()
    for name in ("a", "b"):
        peer.send(1, BasicConsume(queue=name))
    other.publish("a", b"first")
    other.publish("b", b"second")
    assert peer.bodies() == [b"first"]
    peer.send(1, BasicAck(1))
    assert peer.bodies() == [b"second"]


def test_an_ack_of_a_get_frees_the_shared_credit(harness: Harness, peer: Client) -> None:
    other = harness.peer()
    other.publish("a", b"got", b"first")
    peer.send(1, BasicGet(queue="a"))
    peer.send(1, BasicConsume(queue="a"))
    assert peer.bodies() == [b"got"]
    peer.send(1, BasicAck(1))
    assert peer.bodies() == [b"first"]


def test_an_ack_frees_the_shared_credit_when_it_is_committed(harness: Harness, peer: Client) -> None:
    other = harness.peer()
    peer.send(1, TxSelect())
    peer.send(1, BasicConsume(queue="a"))
    other.publish("a", b"first", b"second")
    peer.send(1, BasicAck(1))
    assert peer.bodies() == [b"first"]
    peer.send(1, TxCommit())
    assert peer.bodies() == [b"second"]


def test_what_a_stopping_node_takes_back_goes_to_no_connection_that_is_told_to_close(harness: Harness) -> None:
    first, second, other = harness.peer(), harness.peer(), harness.peer()
    first.call(1, QueueDeclare(queue="q"))
    first.send(1, BasicConsume(queue="q"))
    other.publish("q", b"m")
    second.send(1, BasicConsume(queue="q", no_ack=True))
    for client in (first, second):
        client.connection.force_close("shutdown")
    harness.run()
    assert second.bodies() == []
    assert other.call(1, QueueDeclare(queue="q", passive=True)) == QueueDeclareOk("q", 1, 0)


@pytest.mark.parametrize("table", [b"\x01kZ", b"\x02\xff\xfeV", b"\x01kS\0\0\0\x09x"])
def test_headers_that_no_consumer_could_read_are_refused(harness: Harness, table: bytes) -> None:
    peer = harness.peer()
    peer.call(1, QueueDeclare(queue="q"))
    header = b"\0\x3c\0\0" + bytes(8) + b"\x20\0" + len(table).to_bytes(4, "big") + table
    peer.send_raw(frame(1, BasicPublish(routing_key="q").encode()) + raw_frame(2, 1, header))
    ((channel, close),) = peer.received()
    assert channel == 0
    assert isinstance(close, ConnectionClose | ChannelClose)
    assert close.reply_code == 502
