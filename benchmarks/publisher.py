"""The publisher of the load: one connection in one process, which sends frames encoded beforehand."""

import select
import time
from array import array

from benchmarks.client import Client
from benchmarks.confirms import ConfirmCounter
from benchmarks.deliveries import PeerFault
from benchmarks.frames import TAG, first_body_offset
from benchmarks.scenario import Batch, Scenario
from benchmarks.shared import Shared

READ_SIZE = 1 << 18
# Shorter waits would take CPU time from the consumer, which may run on the same core.
TICK = 0.001
MOST_KEYS = 10**12
"""Of one publisher."""


class Publisher:
    """Publishes what a scenario says and counts the confirms."""

    def __init__(self, client: Client, scenario: Scenario, batch: Batch, shared: Shared, slot: int) -> None:
        self._sock = client.sock
        self._scenario = scenario
        self._batch = batch
        self._shared = shared
        self._slot = slot
        self._confirms = ConfirmCounter()
        self._sent_ns: array[int] = array("q")
        self.sent = 0
        self.last_confirm_ns = 0
        self.latencies: array[int] = array("q")

    @property
    def nacked(self) -> int:
        """How many publishes the broker refused."""
        return self._confirms.nacked

    def run(self) -> None:
        """Publish until the count or the time is reached, then wait for the outstanding confirms."""
        if self._scenario.rate:
            self._run_at_rate()
        elif self._scenario.confirm_window:
            self._run_in_window()
        else:
            self._run_flat_out()
        while self._scenario.confirm_window and self._confirms.settled < self.sent:
            self._read_confirms()

    def _run_flat_out(self) -> None:
        view, batch = memoryview(self._batch.frames), self._batch
        until = time.monotonic() + self._scenario.seconds
        limit = self._scenario.limit
        while self.sent < limit and (self._scenario.count or time.monotonic() < until):
            count = min(batch.count, limit - self.sent)
            self._sock.sendall(self._part(view, 0, count))
            self._add_sent(count)

    def _run_in_window(self) -> None:
        view, batch = memoryview(self._batch.frames), self._batch
        window, limit = self._scenario.confirm_window, self._scenario.limit
        # Sending single messages into the window would measure system calls, not the broker.
        least = max(1, window // 8)
        until = time.monotonic() + self._scenario.seconds
        at = 0
        while self.sent < limit and (self._scenario.count or time.monotonic() < until):
            room = window - (self.sent - self._confirms.settled)
            if room < least:
                self._read_confirms()
                continue
            count = min(room, batch.count - at, limit - self.sent)
            self._sock.sendall(self._part(view, at, count))
            at = (at + count) % batch.count
            self._add_sent(count)

    def _part(self, view: memoryview, at: int, count: int) -> memoryview | bytes:
        """Return `count` messages from the one at `at` on."""
        batch, times = self._batch, self._scenario.publishes_of_key
        if times:
            return batch.with_keys(at, count, self._slot * MOST_KEYS + self.sent, times)
        return view[at * batch.length : (at + count) * batch.length]

    def _run_at_rate(self) -> None:
        rate, limit = self._scenario.rate, self._scenario.limit
        buffer = bytearray(self._batch.frames)
        length, body = self._batch.length, first_body_offset(self._batch.frames)
        started = time.monotonic()
        while self.sent < limit:
            due = min(int((time.monotonic() - started) * rate) + 1, limit)
            count = min(due - self.sent, self._batch.count)
            if count > 0:
                now = time.monotonic_ns()
                for at in range(body, body + count * length, length):
                    TAG.pack_into(buffer, at, now)
                self._sock.sendall(memoryview(buffer)[: count * length])
                self._sent_ns.extend([now] * count)
                self._add_sent(count)
            self._wait(max(started + self.sent / rate, time.monotonic() + TICK))

    def _wait(self, until: float) -> None:
        while (left := until - time.monotonic()) > 0:
            if not self._scenario.confirm_window:
                time.sleep(left)
            elif select.select([self._sock], [], [], left)[0]:
                self._read_confirms()

    def _add_sent(self, count: int) -> None:
        self.sent += count
        self._shared.published[self._slot] = self.sent

    def _read_confirms(self) -> None:
        data = self._sock.recv(READ_SIZE)
        if not data:
            raise PeerFault("the broker closed the publisher's connection")
        self.last_confirm_ns = time.monotonic_ns()
        before = self._confirms.confirmed
        self._confirms.take(data)
        now = self.last_confirm_ns
        if self._sent_ns:
            self.latencies.extend([now - sent for sent in self._sent_ns[before : self._confirms.confirmed]])
