"""A queue that is filled with numbered messages until its store has no room, and then consumed."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing

from pamqp import commands

from benchmarks.nodes.process import BrokerProcess
from tests.support.wire import Content, Wire, body_frame, publish_head

BODY_SIZE = 4096
WINDOW = 400


class Publishing:
    """One connection that publishes numbered messages with confirms; `confirmed` are the numbers that are safe."""

    def __init__(self, broker: BrokerProcess, queue: str) -> None:
        self._wire = Wire(broker.host, broker.port)
        self._wire.call(commands.Confirm.Select(), commands.Confirm.SelectOk)
        self._wire.call(commands.Queue.Declare(queue=queue, durable=True), commands.Queue.DeclareOk)
        self._head = publish_head("", queue, BODY_SIZE)
        self.published = 0
        self.open: set[int] = set()
        self.confirmed: set[int] = set()

    def publish(self, number: int = 40) -> None:
        """Publish so many more."""
        burst = bytearray()
        for _ in range(number):
            self.published += 1
            self.open.add(self.published)
            burst += self._head + body_frame(b"%d:" % self.published + bytes(BODY_SIZE - 1 - len(str(self.published))))
        self._wire.write(bytes(burst))

    def note(self, timeout: float) -> None:
        """Take in the confirms that are there, after waiting at most `timeout` for one."""
        for item in self._wire.receive(timeout):
            assert isinstance(item, commands.Basic.Ack), f"not a confirm: {item}"
            covered = {tag for tag in self.open if tag <= item.delivery_tag} if item.multiple else {item.delivery_tag}
            self.open -= covered
            self.confirmed |= covered

    def note_until(self, condition: Callable[[], bool], deadline: float) -> float:
        """Take in confirms until `condition` holds and return how long that took."""
        began = time.monotonic()
        while not condition():
            assert time.monotonic() - began < deadline, f"{len(self.open)} confirms owed after {deadline} s"
            self.note(0.01)
        return time.monotonic() - began

    def publish_until(self, condition: Callable[[], bool], deadline: float) -> None:
        """Publish, with a window of confirms outstanding, until `condition` holds."""
        began = time.monotonic()
        while not condition():
            assert time.monotonic() - began < deadline, f"{self.published} published in {deadline} s"
            if len(self.open) < WINDOW:
                self.publish()
            self.note(0.005)

    def close(self) -> None:
        self._wire.cut()


class Consuming:
    """A consumer that acknowledges what it gets, a few at a time."""

    def __init__(self, broker: BrokerProcess, queue: str) -> None:
        self._wire = Wire(broker.host, broker.port)
        self._wire.call(commands.Basic.Qos(prefetch_count=50), commands.Basic.QosOk)
        self._wire.call(commands.Basic.Consume(queue=queue), commands.Basic.ConsumeOk)
        self.numbers: list[int] = []

    def note(self, timeout: float) -> None:
        """Take in and acknowledge what is there, after waiting at most `timeout` for something."""
        come = [item for item in self._wire.receive(timeout) if isinstance(item, Content)]
        self.numbers += [int(item.body.split(b":", 1)[0]) for item in come]
        if come:
            self._wire.send(commands.Basic.Ack(0, multiple=True))

    def close(self) -> None:
        self._wire.cut()


def consume_all(broker: BrokerProcess, queue: str, publisher: Publishing) -> None:
    """Consume until every message was delivered and every publish confirmed; all must come once and in order."""
    began = time.monotonic()
    with closing(Consuming(broker, queue)) as consumer:
        while len(consumer.numbers) < publisher.published or publisher.open:
            assert time.monotonic() - began < 90.0, (len(consumer.numbers), publisher.published, len(publisher.open))
            consumer.note(0.02)
            publisher.note(0.001)
    assert consumer.numbers == list(range(1, publisher.published + 1))
