"""What clients do with branches of distributed transactions, and what is there afterwards."""

from __future__ import annotations

from broker.amqp.dtx_methods import Status
from broker.codec.methods import (
    BasicAck,
    BasicGet,
    BasicGetOk,
    ChannelClose,
    ChannelOpen,
    ConnectionClose,
    DtxEnd,
    DtxEndOk,
    DtxSelect,
    DtxStart,
    DtxStartOk,
    QueueDeclare,
    QueueDeclareOk,
)
from broker.codec.properties import BasicProperties
from broker.ports.branches import BranchKey, Xid
from tests.support.harness import Client, Harness

PERSISTENT = BasicProperties(delivery_mode=2)
A = (1, b"global", b"a")
B = (1, b"global", b"b")


def key(xid: tuple[int, bytes, bytes] = A) -> BranchKey:
    return BranchKey("carbon", Xid(*xid))


def connect(harness: Harness) -> Client:
    """Return a client of the dialect whose channel 1 has selected distributed transactions."""
    peer = harness.peer(vhost="carbon")
    peer.send(1, DtxSelect())
    assert peer.received() == []
    return peer


def open_channel(peer: Client, channel: int) -> None:
    peer.send(channel, ChannelOpen())
    peer.send(channel, DtxSelect())
    peer.received()


def begin(peer: Client, xid: tuple[int, bytes, bytes] = A, *, channel: int = 1) -> None:
    assert peer.call(channel, DtxStart(*xid)) == DtxStartOk(Status.OK)


def end(peer: Client, xid: tuple[int, bytes, bytes] = A, *, channel: int = 1) -> None:
    assert peer.call(channel, DtxEnd(*xid)) == DtxEndOk(Status.OK)


def ready(client: Client, queue: str = "q") -> int:
    answer = client.call(1, QueueDeclare(queue=queue, passive=True))
    assert isinstance(answer, QueueDeclareOk)
    return answer.message_count


def get(client: Client, queue: str = "q") -> tuple[bytes, bool]:
    """Return body and redelivered flag of the next message, which stays outstanding."""
    got = client.call(1, BasicGet(queue=queue))
    assert isinstance(got, BasicGetOk)
    return client.bodies()[0], got.redelivered


def closed(peer: Client) -> str:
    [text] = [each.reply_text for _, each in peer.received() if isinstance(each, ChannelClose | ConnectionClose)]
    return text


def worked(peer: Client) -> None:
    """Take a message from one queue and put one into another, for the branch A, which is ended."""
    peer.publish("q", b"in", properties=PERSISTENT)
    begin(peer)
    assert get(peer) == (b"in", False)
    peer.publish("out", b"out", properties=PERSISTENT)
    peer.send(1, BasicAck(1))
    end(peer)


def crash(harness: Harness) -> list[int]:
    """Return the ids of stored messages, as a node would find them that starts over this store."""
    harness.commit()
    return sorted(harness.store.state.rows)
