"""A client in a process of its own that publishes at a steady rate and times each delivery."""

import select
import time
from array import array
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event

from benchmarks.address import Address
from benchmarks.client import EXCLUSIVE, Client, queue_declare
from benchmarks.deliveries import DeliveryCounter, PeerFault
from benchmarks.frames import TAG, first_body_offset, method, publish
from benchmarks.load import reporting

QUEUE = "bench.canary"
RATE = 500
LATE = 10.0
"""Seconds in which the last delivery must come."""


def canary_process(address: Address, stop: Event, pipe: Connection, cores: set[int]) -> None:
    """The main function of the process: says "ready", runs until `stop` is set, and reports every latency."""
    with reporting("canary", pipe, cores) as report:
        client = Client(address)
        client.call(method(1, 50, 10, queue_declare(QUEUE, EXCLUSIVE)), 50, 11)
        client.consume(QUEUE, no_ack=True, prefetch=0)
        canary = Canary(client)
        pipe.send("ready")
        canary.run(stop)
        report.count = canary.counter.received
        report.latencies = canary.latencies.tobytes()
        client.close()


class Canary:
    """Publishes what it then consumes. A latency counts from the moment at which its publish was due, so that a pause
    shows in every message that should have been sent during it.
    """

    def __init__(self, client: Client) -> None:
        self._sock = client.sock
        self._message = bytearray(publish("", QUEUE, TAG.size, persistent=False, frame_max=client.frame_max))
        self._body = first_body_offset(bytes(self._message))
        self._sent = 0
        self.counter = DeliveryCounter(1 << 20, keep_latencies=True)
        ahead = client.take_ahead()
        self.counter.buffer[: len(ahead)] = ahead
        self.counter.take(len(ahead))

    @property
    def latencies(self) -> "array[int]":
        """Nanoseconds from each publish to its delivery."""
        return self.counter.latencies or array("q")

    def run(self, stop: Event) -> None:
        """Publish until `stop` is set, then wait for what is on its way."""
        period = 1_000_000_000 // RATE
        due = time.monotonic_ns()
        while not stop.is_set():
            self._receive(max(0, due - time.monotonic_ns()) / 1e9)
            while due <= time.monotonic_ns():
                TAG.pack_into(self._message, self._body, due)
                self._sock.sendall(self._message)
                self._sent += 1
                due += period
        until = time.monotonic() + LATE
        while self.counter.received < self._sent:
            if time.monotonic() > until:
                raise PeerFault(f"{self._sent - self.counter.received} deliveries have not come")
            self._receive(0.1)

    def _receive(self, seconds: float) -> None:
        if select.select([self._sock], [], [], seconds)[0]:
            size = self._sock.recv_into(memoryview(self.counter.buffer)[self.counter.filled :])
            if not size:
                raise PeerFault("the broker closed the canary's connection")
            self.counter.take(size, time.monotonic_ns())
