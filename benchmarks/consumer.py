"""The consumer of the load: one connection in one process, which counts deliveries by their length."""

import socket
import struct
import time

from benchmarks.client import Client
from benchmarks.deliveries import DeliveryCounter, PeerFault
from benchmarks.frames import ack, ack_every, ack_run, requeue_run
from benchmarks.scenario import Scenario
from benchmarks.shared import Shared

BUFFER = 1 << 20
POLL = 0.1


class Consumer:
    """Receives deliveries and acknowledges them as the scenario says, until it is told to stop."""

    def __init__(self, client: Client, scenario: Scenario, shared: Shared, slot: int) -> None:
        self._sock = client.sock
        self._scenario = scenario
        self._shared = shared
        self._slot = slot
        self._acked = 0
        self.counter = DeliveryCounter(BUFFER + 3 * scenario.size, keep_latencies=bool(scenario.rate))
        self.first_ns = 0
        self.last_ns = 0
        ahead = client.take_ahead()
        self.counter.buffer[: len(ahead)] = ahead
        self._ahead = len(ahead)

    def run(self) -> None:
        """Receive until the measurement is stopped."""
        # The receive timeout is set in the kernel: with Python's own timeout there is a poll before each read.
        self._sock.setblocking(True)
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, int(POLL * 1e6)))
        view, counter = memoryview(self.counter.buffer), self.counter
        self._took(counter.take(self._ahead, time.monotonic_ns()))
        while not self._shared.stop.value:
            try:
                size = self._sock.recv_into(view[counter.filled :])
            except BlockingIOError:
                continue
            if size == 0:
                raise PeerFault("the broker closed the consumer's connection")
            self._took(counter.take(size, time.monotonic_ns()))
        self._ack_rest()

    def _took(self, count: int) -> None:
        if count == 0:
            return
        self.last_ns = time.monotonic_ns()
        self.first_ns = self.first_ns or self.last_ns
        received = self.counter.received
        self._shared.consumed[self._slot] = received
        step = self._scenario.ack_every
        if step == 1:
            run = requeue_run if self._scenario.requeues else ack_run
            self._sock.sendall(run(self._acked + 1, received))
            self._acked = received
        elif step and received - self._acked >= step:
            acks, self._acked = ack_every(step, self._acked, received)
            self._sock.sendall(acks)

    def _ack_rest(self) -> None:
        if self._scenario.ack_every and self._acked < self.counter.received:
            self._sock.sendall(ack(self.counter.received, multiple=True))
