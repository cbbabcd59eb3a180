"""Publishers that are as fast as their sockets, whatever the broker says: the load of an outage.

Knows the client side of our codec and plain sockets; keeps no history, only figures.
"""

from __future__ import annotations

import select
import socket
import threading
import time
from typing import TypeVar

from broker.codec.constants import PROTOCOL_HEADER
from broker.codec.method import Method
from broker.codec.methods import (
    BasicAck,
    BasicNack,
    BasicPublish,
    ChannelClose,
    ChannelOpen,
    ChannelOpenOk,
    ConfirmSelect,
    ConfirmSelectOk,
    ConnectionBlocked,
    ConnectionClose,
    ConnectionCloseOk,
    ConnectionOpen,
    ConnectionOpenOk,
    ConnectionTuneOk,
    ConnectionUnblocked,
    QueueDeclare,
    QueueDeclareOk,
)
from broker.codec.properties import BasicProperties
from tests.support.harness import ALL_CAPABILITIES, start_ok
from tests.support.peer import Peer, command

BURST = 50
DEADLINE = 20.0

M = TypeVar("M", bound=Method)


class Flood:
    """One publisher of persistent messages with confirms, in a thread of its own, on a durable queue of its own."""

    def __init__(self, host: str, port: int, queue: str, body_size: int) -> None:
        self.published = 0
        self.confirmed = 0
        self.refused = 0
        self.blocked: list[float] = []  # when the broker said so
        self.unblocked: list[float] = []
        self.ended = ""  # why the connection ended before its time
        self._queue = queue
        self._burst = BURST * command(
            1, BasicPublish(routing_key=queue), BasicProperties(delivery_mode=2), b"x" * body_size
        )
        self._low = 0  # up to here every publish has its answer
        self._above: set[int] = set()  # those beyond that have one
        self._stopping = threading.Event()
        self._socket = socket.create_connection((host, port), timeout=DEADLINE)
        self._peer = Peer(self._socket.sendall)
        self._thread = threading.Thread(target=self._run, name=queue, daemon=True)

    def start(self) -> None:
        """Open the connection, declare the queue and begin."""
        self._peer.send_raw(PROTOCOL_HEADER)
        self._peer.send(0, start_ok(ALL_CAPABILITIES))
        self._peer.send(0, ConnectionTuneOk(0, 0, 0))
        self._call(0, ConnectionOpen("/"), ConnectionOpenOk)
        self._call(1, ChannelOpen(), ChannelOpenOk)
        self._call(1, QueueDeclare(queue=self._queue, durable=True), QueueDeclareOk)
        self._call(1, ConfirmSelect(), ConfirmSelectOk)
        self._thread.start()

    def finish(self, deadline: float = 60.0) -> int:
        """Stop publishing, wait for what is owed, return how many messages the queue has, and close."""
        self._stopping.set()
        self._thread.join(deadline)
        assert not self._thread.is_alive(), f"{self.published - self._low} answers are missing after {deadline} s"
        assert not self.ended, self.ended
        self._socket.settimeout(DEADLINE)
        count = self._call(1, QueueDeclare(queue=self._queue, passive=True), QueueDeclareOk).message_count
        self._call(0, ConnectionClose(200, "done"), ConnectionCloseOk)
        self._socket.close()
        return count

    def _call(self, channel: int, method: Method, answer: type[M]) -> M:
        self._peer.send(channel, method)
        while True:
            for _, received in self._peer.received():
                if isinstance(received, answer):
                    return received
            data = self._socket.recv(1 << 16)
            assert data, f"closed while waiting for {answer.name}"
            self._peer.feed(data)

    def _run(self) -> None:
        try:
            self._publish()
        except OSError as error:
            self.ended = str(error)

    def _publish(self) -> None:
        self._socket.setblocking(False)
        rest = memoryview(b"")
        while rest or self._low < self.published or not self._stopping.is_set():
            wants_more = rest or not self._stopping.is_set()
            readable, writable, _ = select.select([self._socket], [self._socket] if wants_more else [], [], 0.1)
            if readable:
                self._read()
            if writable:
                if not rest:
                    rest = memoryview(self._burst)
                    self.published += BURST
                rest = rest[self._socket.send(rest) :]

    def _read(self) -> None:
        data = self._socket.recv(1 << 18)
        if not data:
            raise ConnectionResetError("the broker closed the connection")
        self._peer.feed(data)
        for _, method in self._peer.received():
            if isinstance(method, BasicAck):
                self.confirmed += self._answer(method.delivery_tag, method.multiple)
            elif isinstance(method, BasicNack):
                self.refused += self._answer(method.delivery_tag, method.multiple)
            elif isinstance(method, ConnectionBlocked):
                self.blocked.append(time.monotonic())
            elif isinstance(method, ConnectionUnblocked):
                self.unblocked.append(time.monotonic())
            elif isinstance(method, ConnectionClose | ChannelClose):
                raise ConnectionAbortedError(f"{method.reply_code} {method.reply_text}")

    def _answer(self, tag: int, is_multiple: bool) -> int:
        """Return how many publishes this answers, each of which must not have one yet."""
        before = self._low + len(self._above)
        assert tag > self._low, f"publish {tag} is answered twice"
        assert tag not in self._above, f"publish {tag} is answered twice"
        if is_multiple:
            self._low = tag
            self._above = {above for above in self._above if above > tag}
        else:
            self._above.add(tag)
        while self._low + 1 in self._above:
            self._low += 1
            self._above.remove(self._low)
        return self._low + len(self._above) - before
