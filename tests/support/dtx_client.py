"""A small blocking client of distributed transactions, over a socket: one connection, with channel 1 open.

Knows the methods; what they mean is for tests to say. An answer that does not come in time is an `OSError`.
"""

from __future__ import annotations

import socket
from types import TracebackType
from typing import Self, TypeVar

from broker.codec.constants import PROTOCOL_HEADER
from broker.codec.method import Method
from broker.codec.methods import (
    BasicAck,
    BasicGet,
    BasicGetOk,
    BasicPublish,
    ChannelOpen,
    ChannelOpenOk,
    ConnectionOpen,
    ConnectionOpenOk,
    ConnectionStart,
    ConnectionStartOk,
    ConnectionTune,
    ConnectionTuneOk,
    DtxEnd,
    DtxEndOk,
    DtxSelect,
    DtxStart,
    DtxStartOk,
    QueueDeclare,
    QueueDeclareOk,
)
from broker.codec.properties import BasicProperties
from tests.support.peer import Peer

Answer = TypeVar("Answer", bound=Method)
Xid = tuple[int, bytes, bytes]


class DtxClient:
    """One connection to the virtual host `carbon`, whose channel has selected distributed transactions."""

    def __init__(self, host: str, port: int, *, timeout: float = 20.0) -> None:
        self._socket = socket.create_connection((host, port), timeout=timeout)
        self._peer = Peer(self._socket.sendall)
        self._peer.send_raw(PROTOCOL_HEADER)
        self._wait_for(ConnectionStart)
        self.call(ConnectionStartOk(mechanism="PLAIN", response=b"\0guest\0guest"), ConnectionTune, channel=0)
        self._peer.send(0, ConnectionTuneOk(0, 0, 0))
        self.call(ConnectionOpen("carbon"), ConnectionOpenOk, channel=0)
        self.call(ChannelOpen(), ChannelOpenOk)
        self._peer.send(1, DtxSelect())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._socket.close()

    def call(self, method: Method, answer: type[Answer], *, channel: int = 1) -> Answer:
        """Send a method and return its answer, which has to be the next thing that comes."""
        self._peer.send(channel, method)
        return self._wait_for(answer)

    def declare(self, queue: str) -> int:
        """Declare a durable queue; return how many messages are ready in it."""
        return self.call(QueueDeclare(queue=queue, durable=True), QueueDeclareOk).message_count

    def publish(self, queue: str, body: bytes) -> None:
        """Publish a persistent message."""
        self._peer.send(1, BasicPublish(0, "", queue), BasicProperties(delivery_mode=2), body)

    def take(self, queue: str) -> tuple[bytes, bool]:
        """Acknowledge the next message; return its body, and whether it was flagged as redelivered."""
        got = self.call(BasicGet(queue=queue), BasicGetOk)
        while not (contents := self._peer.received_content()):
            self._read()
        self._peer.send(1, BasicAck(got.delivery_tag))
        return contents[0].body, got.redelivered

    def work(self, xid: Xid, source: str, target: str, body: bytes) -> None:
        """In a branch, take a message from one queue and publish another one to a second."""
        self.call(DtxStart(*xid), DtxStartOk)
        self.take(source)
        self.publish(target, body)
        self.call(DtxEnd(*xid), DtxEndOk)

    def _wait_for(self, kind: type[Answer]) -> Answer:
        while not (received := self._peer.received()):
            self._read()
        [(_, method)] = received
        assert isinstance(method, kind), method
        return method

    def _read(self) -> None:
        data = self._socket.recv(1 << 16)
        if not data:
            raise ConnectionResetError("the broker has closed the socket")
        self._peer.feed(data)
