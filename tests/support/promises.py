"""What a broker has promised, by the octets on its sockets: which messages must be in which queues.

Knows AMQP as pamqp reads it, and the bodies that the load sends; must not know how a broker keeps its promises.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from pamqp import body, commands, frame, header
from pamqp.base import Frame

from tests.support.strace import Call
from tests.support.wire import FRAME_HEADER

Place = tuple[str, str]
"""A queue and the key of a message in it."""

_PROTOCOL_HEADER = 8
_HEAD = re.compile(rb"([\w:]{1,40})\|(\d{1,9})\|")


def make_body(key: str, size: int) -> bytes:
    """Return the only body that `key` can have: its own key, its size, and octets that follow from both."""
    head = f"{key}|{size}|".encode()
    return head + hashlib.shake_128(head).digest(max(size - len(head), 0))


def read_body(octets: bytes) -> tuple[str, bool]:
    """Return the key in a body, and whether all the rest of it is as it must be."""
    head = _HEAD.match(octets)
    if head is None:
        return repr(octets[:20]), False
    key = head[1].decode()
    return key, octets == make_body(key, int(head[2]))


@dataclass(slots=True)
class _Stream:
    """The frames of one direction of a connection."""

    buffer: bytearray = field(default_factory=bytearray)

    def feed(self, octets: bytes) -> Iterator[tuple[int, frame.FrameTypes]]:
        self.buffer += octets
        if self.buffer.startswith(b"AMQP"):
            del self.buffer[:_PROTOCOL_HEADER]
        at = 0
        while len(self.buffer) - at >= FRAME_HEADER.size:
            size = FRAME_HEADER.size + FRAME_HEADER.unpack_from(self.buffer, at)[2] + 1
            if len(self.buffer) - at < size:
                break
            _, channel, value = frame.unmarshal(bytes(self.buffer[at : at + size]))
            at += size
            yield channel, value
        del self.buffer[:at]


@dataclass(slots=True)
class _Connection:
    """What is known of one client. Everything happens on its channel 1."""

    inbound: _Stream = field(default_factory=_Stream)
    outbound: _Stream = field(default_factory=_Stream)
    has_confirms: bool = False
    published: int = 0
    unconfirmed: dict[int, list[Place]] = field(default_factory=dict)
    publishing: commands.Basic.Publish | None = None
    delivering: commands.Basic.Deliver | None = None
    delivered: dict[int, Place] = field(default_factory=dict)
    transaction: list[Place] | None = None
    committing: list[Place] = field(default_factory=list)
    deleting: str = ""


class Promises:
    """What must be there and what may be, at the moment up to which calls were fed. `fanout` are an exchange's queues.

    A promise counts from the moment its octets began to be sent; what ends a promise, from when it has been read.
    """

    def __init__(self, fanout: dict[str, tuple[str, ...]]) -> None:
        self._fanout = fanout
        self._connections: dict[str, _Connection] = {}
        self.sent: set[Place] = set()
        self.safe: set[Place] = set()
        self.settled: set[Place] = set()
        self.transactions: list[list[Place]] = []
        self.confirmed = 0

    def on_start(self, call: Call) -> None:
        """Take in what a call sends."""
        if call.place.startswith("TCP") and call.name in {"write", "writev", "sendto", "sendmsg"} and call.result:
            connection = self._connections.setdefault(call.place, _Connection())
            for _, value in connection.outbound.feed(call.octets[: call.result]):
                self._on_sent(connection, value)

    def on_end(self, call: Call) -> None:
        """Take in what a call has read."""
        if call.place.startswith("TCP") and call.name in {"read", "recvfrom", "recvmsg"} and call.result:
            connection = self._connections.setdefault(call.place, _Connection())
            for _, value in connection.inbound.feed(call.octets):
                self._on_read(connection, value)

    def _on_read(self, connection: _Connection, value: frame.FrameTypes) -> None:
        if isinstance(value, commands.Basic.Publish):
            connection.publishing = value
        elif isinstance(value, body.ContentBody):
            if connection.publishing is not None:
                self._on_published(connection, connection.publishing, value.value)
            connection.publishing = None
        elif isinstance(value, commands.Confirm.Select):
            connection.has_confirms = True
        elif isinstance(value, commands.Tx.Select):
            connection.transaction = []
        elif isinstance(value, commands.Tx.Commit):
            connection.committing, connection.transaction = connection.transaction or [], []
            self.transactions.append(connection.committing)
        elif isinstance(value, commands.Basic.Ack):
            self._on_acknowledged(connection, value)
        elif isinstance(value, commands.Queue.Delete):
            self._on_deleted(value.queue)

    def _on_published(self, connection: _Connection, method: commands.Basic.Publish, octets: bytes) -> None:
        key = octets[:80].decode("ascii", "replace").split("|", 1)[0]
        queues = self._fanout.get(method.exchange, ()) if method.exchange else (method.routing_key,)
        places = [(queue, key) for queue in queues]
        self.sent.update(places)
        if connection.transaction is not None:
            connection.transaction += places
        elif connection.has_confirms:
            connection.published += 1
            connection.unconfirmed[connection.published] = places

    def _on_acknowledged(self, connection: _Connection, value: commands.Basic.Ack) -> None:
        for tag in _covered(connection.delivered, value):
            place = connection.delivered.pop(tag)
            self.settled.add(place)
            self.safe.discard(place)

    def _on_deleted(self, queue: str) -> None:
        gone = {place for place in self.sent if place[0] == queue}
        self.settled |= gone
        self.safe -= gone

    def _on_sent(self, connection: _Connection, value: frame.FrameTypes) -> None:
        if isinstance(value, commands.Basic.Ack):
            for tag in _covered(connection.unconfirmed, value):
                self._promise(connection.unconfirmed.pop(tag))
        elif isinstance(value, commands.Tx.CommitOk):
            self._promise(connection.committing)
        elif isinstance(value, commands.Basic.Deliver):
            connection.delivering = value
        elif isinstance(value, body.ContentBody) and connection.delivering is not None:
            key = value.value[:80].decode("ascii", "replace").split("|", 1)[0]
            connection.delivered[connection.delivering.delivery_tag] = connection.delivering.consumer_tag, key
            connection.delivering = None
        else:
            assert not isinstance(value, header.ContentHeader) or connection.delivering is not None
            assert not isinstance(value, commands.Channel.Close | commands.Connection.Close), value

    def _promise(self, places: list[Place]) -> None:
        self.confirmed += len(places)
        self.safe.update(place for place in places if place not in self.settled)


def _covered(tags: dict[int, object], value: Frame) -> list[int]:
    if not value.multiple:
        return [value.delivery_tag]
    return [tag for tag in tags if tag <= value.delivery_tag or not value.delivery_tag]
