"""The memory alarm of a real process: it holds everybody back in time, and it ends (contract M13, ADR 28, 36)."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import psutil
import pytest

from benchmarks.nodes.process import BrokerProcess
from broker.codec.constants import FRAME_BODY, FRAME_HEADER, PROTOCOL_HEADER
from broker.codec.method import Method
from broker.codec.methods import (
    BasicPublish,
    ChannelOpen,
    ChannelOpenOk,
    ConnectionBlocked,
    ConnectionOpen,
    ConnectionOpenOk,
    ConnectionStart,
    ConnectionTune,
    ConnectionTuneOk,
    ConnectionUnblocked,
    QueueDeclare,
    QueueDeclareOk,
    QueuePurge,
    QueuePurgeOk,
)
from broker.codec.properties import BasicProperties
from broker.server.memory_limit import total_memory
from tests.support.harness import ALL_CAPABILITIES, start_ok
from tests.support.peer import Peer, command, raw_frame

pytestmark = pytest.mark.slow

SHARE = 0.01
WATERMARK = total_memory() * SHARE
MIB = 1 << 20


class Client:
    """A client over a socket, with channel 1 open."""

    def __init__(self, broker: BrokerProcess) -> None:
        self.socket = socket.create_connection((broker.host, broker.port))
        self._peer = Peer(self.socket.sendall)
        self.socket.sendall(PROTOCOL_HEADER)
        self.wait(ConnectionStart)
        self.call(0, start_ok(ALL_CAPABILITIES), ConnectionTune)
        self._peer.send(0, ConnectionTuneOk(0, 0, 0))
        self.call(0, ConnectionOpen("/"), ConnectionOpenOk)
        self.call(1, ChannelOpen(), ChannelOpenOk)

    def call(self, channel: int, method: Method, answer: type[Method]) -> None:
        self._peer.send(channel, method)
        self.wait(answer)

    def wait(self, kind: type[Method]) -> None:
        self.socket.settimeout(20.0)
        while not any(isinstance(method, kind) for _, method in self._peer.received()):
            data = self.socket.recv(65_536)
            assert data, f"the connection ended before {kind.__name__}"
            self._peer.feed(data)

    def send_until_blocked(self, data: bytes) -> None:
        """Send `data` again and again, until the socket takes no more for a while."""
        self.socket.settimeout(2.0)
        try:
            for _ in range(round(20 * WATERMARK / len(data))):
                self.socket.sendall(data)
        except TimeoutError:
            return
        pytest.fail("nobody was blocked")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self.socket.close()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[BrokerProcess]:
    if WATERMARK > 700 * MIB:
        pytest.skip("a hundredth of this machine's memory is too much to fill")
    broker = BrokerProcess(tmp_path / "broker")
    file = broker.config / "broker.xml"
    limits = f"<limits><memoryHighWatermark>{SHARE}</memoryHighWatermark></limits></broker>"
    file.write_text(file.read_text().replace("</broker>", limits))
    broker.start()
    yield broker
    broker.stop()


def resident(broker: BrokerProcess) -> int:
    return int(psutil.Process(broker.pid).memory_info().rss)


def test_an_alarm_ends_when_its_backlog_is_purged(broker: BrokerProcess) -> None:
    queues = [f"q{number}" for number in range(5)]
    bodies = (command(1, BasicPublish(routing_key=queue), BasicProperties(), os.urandom(2000)) for queue in queues)
    with Client(broker) as control, Client(broker) as publisher:
        for queue in queues:
            control.call(1, QueueDeclare(queue=queue), QueueDeclareOk)
        publisher.send_until_blocked(b"".join(bodies) * 20)
        publisher.wait(ConnectionBlocked)
        for queue in queues:
            control.call(1, QueuePurge(queue=queue), QueuePurgeOk)
        publisher.wait(ConnectionUnblocked)
        assert resident(broker) < 0.92 * WATERMARK


def test_half_bodies_stop_at_the_watermark(broker: BrokerProcess) -> None:
    channels = range(2, 44)
    size = (120 * MIB).to_bytes(8, "big")
    with Client(broker) as client:
        for channel in channels:
            client.call(channel, ChannelOpen(), ChannelOpenOk)
            whole = command(channel, BasicPublish(routing_key="q"), BasicProperties(), b"x")
            start = whole[: whole.index(bytes((FRAME_HEADER, 0, channel)))]
            client.socket.sendall(start + raw_frame(FRAME_HEADER, channel, b"\0\x3c\0\0" + size + b"\0\0"))
        client.send_until_blocked(b"".join(raw_frame(FRAME_BODY, channel, b"x" * 130_000) for channel in channels))
        assert resident(broker) < WATERMARK + 32 * MIB
        client.wait(ConnectionBlocked)
