"""Delayed messages while somebody sets the wall clock of the machine by an hour: never early, and once (ADR 46).

The broker is a real process under libfaketime, whose monotonic clock is left alone. It looks at the store's time every
30 s, so each message waits for longer than that.
"""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import pika
import pytest

from benchmarks.nodes.process import BrokerProcess

LIBRARIES = [
    Path("/usr/lib") / machine / "faketime/libfaketimeMT.so.1" for machine in ("x86_64-linux-gnu", "aarch64-linux-gnu")
]
LIBRARY = next((path for path in LIBRARIES if path.exists()), None)
QUEUE = "later"
MESSAGES = 100
DELAY = 36.0
HOUR = 3600
SLEW = 0.01
"""By how much of the time that passes a node follows a clock that was set."""
LATE = 30.0
"""Seconds that a busy machine may take: how late messages are a benchmark measures."""
JUMPED = "the store's clock has jumped"


class Machine:
    """A broker on a machine whose wall clock is set."""

    def __init__(self, home: Path) -> None:
        self._offset = home / "offset"
        self.set_clock(0)
        environ = {
            "LD_PRELOAD": str(LIBRARY),
            "FAKETIME_TIMESTAMP_FILE": str(self._offset),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }
        self.broker = BrokerProcess(home / "broker", environ=environ)
        self.broker.start()

    def set_clock(self, seconds: int) -> None:
        """Set the wall clock to so many seconds after, or with a minus before, the true time."""
        written = self._offset.with_suffix(".new")
        written.write_text(f"{seconds:+d}s\n")
        written.replace(self._offset)

    def channel(self) -> pika.adapters.blocking_connection.BlockingChannel:
        channel = pika.BlockingConnection(pika.URLParameters(self.broker.url)).channel()
        channel.queue_declare(QUEUE, durable=True)
        return channel

    def publish(self, name: str, delay: float) -> dict[str, float]:
        """Publish messages with this delay; return when each of them was sent, by the monotonic clock."""
        channel = self.channel()
        channel.confirm_delivery()
        sent: dict[str, float] = {}
        for number in range(MESSAGES):
            body = f"{name} {number}"
            sent[body] = time.monotonic()
            properties = pika.BasicProperties(headers={"x-delay": int(1000 * delay)}, delivery_mode=2)
            channel.basic_publish("", QUEUE, body, properties)
        channel.connection.close()
        return sent

    def come(self, count: int, seconds: float) -> list[tuple[str, float]]:
        """Return the messages that come, and when, until so many have or the time is over."""
        channel, found = self.channel(), list[tuple[str, float]]()
        channel.basic_consume(
            QUEUE, lambda *delivery: found.append((delivery[3].decode(), time.monotonic())), auto_ack=True
        )
        end = time.monotonic() + seconds
        while len(found) < count and time.monotonic() < end:
            channel.connection.process_data_events(0.01)
        channel.connection.process_data_events(0.5)  # one that comes twice would come now
        channel.connection.close()
        return found


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.skipif(LIBRARY is None, reason="libfaketime is not installed")
def test_a_clock_that_is_set_moves_nothing_until_the_node_starts_again(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    try:
        for name, offset in (("forward", HOUR), ("back", -HOUR)):
            sent = machine.publish(name, DELAY)
            machine.set_clock(offset)
            come = machine.come(MESSAGES, 3 * DELAY)
            assert Counter(body for body, _ in come) == dict.fromkeys(sent, 1)
            waited = [at - sent[body] for body, at in come]
            print(f"{name}: {[round(each, 2) for each in sorted(waited)]}")
            assert min(waited) >= DELAY * (1 - SLEW), f"{name}: early"
            assert max(waited) <= DELAY * (1 + SLEW) + LATE, f"{name}: late"
            print(f"{name}: after {min(waited):.3f} to {max(waited):.3f} s instead of {DELAY}")
        assert JUMPED in machine.broker.log
        sent = machine.publish("restart", HOUR)
        machine.broker.kill9()
        machine.set_clock(HOUR)
        machine.broker.start()
        assert Counter(body for body, _ in machine.come(MESSAGES, 30.0)) == dict.fromkeys(sent, 1)
    finally:
        print(machine.broker.log)
        machine.broker.close()
