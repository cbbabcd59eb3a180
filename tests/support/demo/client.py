"""The demo's load on one node: publishes with confirms at a steady rate, consumes and acknowledges, connects again.

Knows one connection; must not know other nodes nor the store.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

from pamqp import commands

from benchmarks.confirms import ConfirmCounter
from tests.support.wire import Content, Wire, body_frame, publish_head

QUEUE = "cluster-demo"
_TICK = 0.05
_AGAIN = 0.5
_ANSWER_DEADLINE = 10.0
_MOST_UNCONFIRMED = 500


@dataclass(slots=True)
class Seen:
    """What a client has counted over all of its connections."""

    published: int = 0
    confirmed: int = 0
    delivered: int = 0
    redelivered: int = 0
    is_connected: bool = False


class DemoClient:
    """One client of one node, in a thread that runs from `start` to `stop`."""

    def __init__(self, host: str, port: int, *, rate: float, body: bytes, consumes: bool) -> None:
        """`rate` is in messages a second."""
        self.seen = Seen()
        self._address = (host, port)
        self._rate = rate
        self._consumes = consumes
        self._message = publish_head("", QUEUE, len(body)) + body_frame(body)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"client of {port}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the connection, without waiting for what is under way."""
        self._stopping.set()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                wire = Wire(*self._address, timeout=_ANSWER_DEADLINE)
            except OSError:
                pass  # the node is down: that is what the demo shows
            else:
                self._live(wire)
            self._stopping.wait(_AGAIN)

    def _live(self, wire: Wire) -> None:
        try:
            self._open(wire)
            self.seen.is_connected = True
            self._serve(wire)
        except OSError:
            pass  # the node has gone down
        finally:
            self.seen.is_connected = False
            wire.cut()

    def _open(self, wire: Wire) -> None:
        wire.call(commands.Queue.Declare(queue=QUEUE, durable=True), commands.Queue.DeclareOk)
        wire.call(commands.Confirm.Select(), commands.Confirm.SelectOk)
        wire.call(commands.Basic.Qos(prefetch_count=50), commands.Basic.QosOk)
        if self._consumes:
            wire.call(commands.Basic.Consume(queue=QUEUE), commands.Basic.ConsumeOk)

    def _serve(self, wire: Wire) -> None:
        confirms = ConfirmCounter()
        published = confirmed = 0
        began, sent = time.monotonic(), 0
        while not self._stopping.is_set():
            due = int((time.monotonic() - began) * self._rate) - sent
            count = max(0, min(due, _MOST_UNCONFIRMED - (published - confirms.settled)))
            wire.write(self._message * count)
            sent += due
            published += count
            self.seen.published += count
            for item in wire.receive(_TICK):
                if isinstance(item, Content) and isinstance(item.method, commands.Basic.Deliver):
                    self.seen.delivered += 1
                    self.seen.redelivered += bool(item.method.redelivered)
                    wire.send(commands.Basic.Ack(item.method.delivery_tag))
                elif isinstance(item, commands.Basic.Ack):
                    confirms.settle(item.delivery_tag, item.multiple)
            self.seen.confirmed += confirms.settled - confirmed
            confirmed = confirms.settled
