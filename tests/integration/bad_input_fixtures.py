"""A broker with short limits, raw clients and a canary, shared by the tests of bad input.

Everything waits on sockets with a deadline. The broker must end without a traceback in its log.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from time import monotonic
from typing import TypeVar

import psutil
import pytest

from benchmarks.nodes.process import BrokerProcess
from broker.codec import methods as amqp
from broker.codec.method import Method
from tests.support.peer import Peer, command
from tests.support.sessions import handshake

HANDSHAKE_TIMEOUT = 1.0
MEBIBYTE = 1 << 20
MAX_MESSAGE_SIZE = 20 * MEBIBYTE
LIMITS = f"""\
  <limits>
    <handshakeTimeout>{HANDSHAKE_TIMEOUT}</handshakeTimeout>
    <maxMessageSize>{MAX_MESSAGE_SIZE}</maxMessageSize>
  </limits>
</broker>"""
FRAME_MAX = 131072
DEADLINE = 10.0

M = TypeVar("M", bound=Method)


class RawClient:
    """A socket, and a strict reader of what comes from it."""

    def __init__(self, broker: BrokerProcess, opening: bytes = b"") -> None:
        self.socket = socket.create_connection((broker.host, broker.port), timeout=DEADLINE)
        self.peer = Peer(self.socket.sendall)
        self._early: list[tuple[int, Method]] = []
        self.send(opening)

    def __enter__(self) -> RawClient:
        return self

    def __exit__(self, *unused: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def read(self) -> bool:
        """Take what comes next; False when the broker has closed the socket."""
        try:
            data = self.socket.recv(262144)
        except ConnectionResetError:
            return False
        self.peer.feed(data)
        self._early += self.peer.received()
        return bool(data)

    def wait_for(self, *kinds: type[M]) -> tuple[int, M]:
        """Return the channel and the next method of one of `kinds`; others before it are dropped."""
        until = monotonic() + DEADLINE
        while monotonic() < until:
            while self._early:
                channel, method = self._early.pop(0)
                if isinstance(method, kinds):
                    return channel, method
            assert self.read(), f"closed while waiting for {kinds}"
        raise AssertionError(f"no {kinds} after {DEADLINE} s")

    def seconds_until_closed(self, limit: float = DEADLINE) -> float:
        """Read until the broker closes the socket, and return how long that took."""
        began = monotonic()
        while (left := began + limit - monotonic()) > 0:
            self.socket.settimeout(left)
            try:
                if not self.read():
                    return monotonic() - began
            except TimeoutError:
                break
        raise AssertionError(f"still open after {limit} s")

    def wait_for_close(self) -> tuple[int, amqp.ConnectionClose | amqp.ChannelClose]:
        """Return what the broker closes first, the connection or a channel."""
        return self.wait_for(amqp.ConnectionClose, amqp.ChannelClose)

    def agree(self) -> float:
        """Answer the broker's connection.close, and return how long the broker then takes to close the socket."""
        try:
            self.send(command(0, amqp.ConnectionCloseOk()))
        except OSError:  # after a broken frame it reads nothing any more
            return 0.0
        return self.seconds_until_closed()


def running(broker: BrokerProcess, frame_max: int = FRAME_MAX) -> RawClient:
    """Return a client with channel 1 open."""
    client = RawClient(broker, handshake(frame_max))
    client.wait_for(amqp.ChannelOpenOk)
    return client


class Canary:
    """A well-behaved client in a thread of its own: publishes, consumes, acknowledges."""

    def __init__(self, broker: BrokerProcess) -> None:
        self.rounds = 0
        self.slowest = 0.0
        self.error: Exception | None = None
        self._stopping = threading.Event()
        self._changed = threading.Condition()
        self._client = running(broker)
        self._client.send(command(1, amqp.QueueDeclare(queue="canary", exclusive=True)))
        self._client.send(command(1, amqp.BasicConsume(queue="canary")))
        self._client.wait_for(amqp.BasicConsumeOk)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            while not self._stopping.wait(0.01):
                began = monotonic()
                self._client.send(command(1, amqp.BasicPublish(routing_key="canary"), body=b"still here"))
                _, delivery = self._client.wait_for(amqp.BasicDeliver)
                self._client.send(command(1, amqp.BasicAck(delivery.delivery_tag)))
                with self._changed:
                    self.slowest = max(self.slowest, monotonic() - began)
                    self.rounds += 1
                    self._changed.notify_all()
        except Exception as error:
            with self._changed:
                self.error = error
                self._changed.notify_all()

    def wait_for_rounds(self, number: int) -> None:
        """Return when `number` more messages have made the round."""
        with self._changed:
            goal = self.rounds + number
            assert self._changed.wait_for(lambda: self.error or self.rounds >= goal, DEADLINE), "the canary is stuck"
        assert self.error is None, f"the canary died: {self.error!r}"

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(DEADLINE)
        self._client.socket.close()


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    directory = tmp_path_factory.mktemp("bad-input")
    broker = BrokerProcess(directory)
    xml = directory / "conf" / "broker.xml"
    xml.write_text(xml.read_text().replace("</broker>", LIMITS))
    broker.start()
    yield broker
    log = broker.log
    broker.stop()
    assert "Traceback" not in log
    assert "internal error" not in log


@pytest.fixture(scope="module")
def canary(broker: BrokerProcess) -> Iterator[Canary]:
    canary = Canary(broker)
    yield canary
    canary.stop()


@pytest.fixture(autouse=True)
def canary_goes_on(canary: Canary) -> Iterator[None]:
    """Before, during and after each test the canary gets its messages."""
    yield
    canary.wait_for_rounds(2)
    assert canary.slowest < 5.0


def resident(broker: BrokerProcess) -> int:
    size: int = psutil.Process(broker.pid).memory_info().rss
    return size
