"""Recording clients: a publisher with confirms, one with transactions, and a consumer with habits.

Each writes down what it did and saw. They know the wire and the events of the checker; they must not judge them, and
leave every failure of the connection to their caller.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from math import inf
from typing import Any

from pamqp import commands
from pamqp.base import Frame

from tests.support.events import Event, Key, Op, Outcome, QueueRules
from tests.support.wire import Content, Wire, body_frame, publish_head

BODY_SIZE = 256
QUEUES = tuple(f"load.{letter}" for letter in "abcd")
FANOUT_QUEUES = ("load.fan.1", "load.fan.2")
TX_QUEUES = ("load.tx.1", "load.tx.2")
DEAD_LETTERS = "load.dead"
RULES = {
    "load.ttl": QueueRules(dead_letter_queue=DEAD_LETTERS, message_ttl=1.0),
    "load.limit": QueueRules(dead_letter_queue=DEAD_LETTERS, delivery_limit=3),
    "load.length": QueueRules(dead_letter_queue=DEAD_LETTERS, max_length=100),
}
ALL_QUEUES = (*QUEUES, *FANOUT_QUEUES, *TX_QUEUES, *RULES, DEAD_LETTERS)
FANOUT, TOPIC = "load.fanout", "load.topic"


@dataclass(frozen=True, slots=True)
class Route:
    """Where a publisher sends, and the queues the message must reach."""

    exchange: str
    routing_key: str
    queues: tuple[str, ...]


ROUTES = (
    *(Route("", queue, (queue,)) for queue in QUEUES),
    Route(FANOUT, "", FANOUT_QUEUES),
    *(Route("", queue, (queue,)) for queue in QUEUES),
    Route(TOPIC, "load.both", FANOUT_QUEUES),
    *(Route("", queue, (queue,)) for queue in QUEUES),
    Route(TOPIC, "load.one", FANOUT_QUEUES[:1]),
    *(Route("", queue, (queue,)) for queue in RULES),
)


@dataclass(frozen=True, slots=True)
class Habits:
    """How a consumer behaves. A count of 0 means never.

    It gives every message back that it cannot work on, one of `poison_every`, however often it comes. It reads nothing
    for `pause` seconds after each read.
    """

    queue: str
    prefetch: int = 100
    ack_every: int = 1
    requeue_every: int = 0
    cut_every: int = 0
    reject_every: int = 0
    poison_every: int = 0
    pause: float = 0.0


class Recorder:
    """The history under construction, shared by all clients."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.confirmed = 0
        self._changed = threading.Condition()

    def add(self, op: Op, process: str, channel: str = "", *, began: float | None = None, **fields: object) -> None:
        now = time.monotonic()
        self.events.append(
            Event(t_inv=began or now, t_ret=now, process=process, op=op, channel=channel, **fields)  # type: ignore[arg-type]
        )

    def count_confirms(self, number: int) -> None:
        with self._changed:
            self.confirmed += number
            self._changed.notify_all()

    def wait_until_confirmed(self, total: int, deadline: float) -> None:
        """Return when `total` publishes have been confirmed; raise `TimeoutError` after `deadline` seconds."""
        with self._changed:
            if not self._changed.wait_for(lambda: self.confirmed >= total, deadline):
                raise TimeoutError(f"{self.confirmed} of {total} publishes confirmed after {deadline} s")


class Publisher:
    """Publishes persistent messages with confirms, a window of them outstanding."""

    def __init__(
        self,
        name: str,
        recorder: Recorder,
        stopping: threading.Event,
        *,
        window: int = 400,
        burst: int = 40,
        rate: float = inf,
    ) -> None:
        """At most about `rate` messages a second go out, `burst` at a time."""
        self._name = name
        self._recorder = recorder
        self._stopping = stopping
        self._window = window
        self._burst = burst
        self._pause = burst / rate
        self._numbers = count(1)
        self._heads = [publish_head(route.exchange, route.routing_key, BODY_SIZE) for route in ROUTES]

    def session(self, wire: Wire, channel: str) -> None:
        """Publish until told to stop, then wait for the confirms that are still owed."""
        wire.call(commands.Confirm.Select(), commands.Confirm.SelectOk)
        keys: list[Key] = []
        open_tags: set[int] = set()
        idle_polls = 0
        next_at = 0.0
        while idle_polls < 300 and (open_tags or not self._stopping.is_set()):
            stopping, now = self._stopping.is_set(), time.monotonic()
            if not stopping and len(open_tags) <= self._window - self._burst and now >= next_at:
                next_at = max(next_at + self._pause, now)  # what was missed is not made up for
                self._publish(wire, channel, keys, open_tags)
            received = wire.receive(0.1 if stopping or len(open_tags) >= self._window else 0.01)
            self._note(received, channel, keys, open_tags)
            idle_polls = idle_polls + 1 if stopping and not received else 0

    def _publish(self, wire: Wire, channel: str, keys: list[Key], open_tags: set[int]) -> None:
        burst = bytearray()
        for _ in range(self._burst):
            number = next(self._numbers)
            place = number % len(ROUTES)
            key = (self._name, number)
            keys.append(key)
            open_tags.add(len(keys))
            self._recorder.add(Op.PUBLISH, self._name, channel, key=key, tag=len(keys), queues=ROUTES[place].queues)
            burst += self._heads[place] + body_frame(encode_key(key))
        wire.write(bytes(burst))

    def _note(self, received: list[Frame | Content], channel: str, keys: list[Key], open_tags: set[int]) -> None:
        for item in received:
            if isinstance(item, Content):
                self._recorder.add(Op.RETURN, self._name, channel, key=decode_key(item.body))
            elif isinstance(item, commands.Basic.Ack | commands.Basic.Nack):
                outcome = Outcome.OK if isinstance(item, commands.Basic.Ack) else Outcome.FAIL
                covered = sorted(tag for tag in open_tags if tag <= item.delivery_tag) if item.multiple else []
                for tag in covered or [item.delivery_tag]:
                    self._recorder.add(Op.CONFIRM, self._name, channel, key=keys[tag - 1], tag=tag, type=outcome)
                    open_tags.discard(tag)
                self._recorder.count_confirms(len(covered) or 1)


class Transactor:
    """Publishes over two queues in transactions: each shows in both or in neither (invariant I41)."""

    def __init__(self, name: str, recorder: Recorder, stopping: threading.Event, *, size: int = 6) -> None:
        self._name = name
        self._recorder = recorder
        self._stopping = stopping
        self._size = size
        self._numbers = count(1)
        self._heads = [publish_head("", queue, BODY_SIZE) for queue in TX_QUEUES]

    def session(self, wire: Wire, channel: str) -> None:
        """Commit one transaction after the other until told to stop."""
        wire.call(commands.Tx.Select(), commands.Tx.SelectOk)
        while not self._stopping.is_set():
            transaction = f"{self._name}-{self._publish(wire, channel)}"
            self._commit(wire, channel, transaction)

    def _publish(self, wire: Wire, channel: str) -> int:
        numbers = [next(self._numbers) for _ in range(self._size)]
        burst = bytearray()
        for number in numbers:
            place, key = number % len(TX_QUEUES), (self._name, number)
            transaction = f"{self._name}-{numbers[0]}"
            self._recorder.add(
                Op.PUBLISH, self._name, channel, key=key, queues=(TX_QUEUES[place],), transaction=transaction
            )
            burst += self._heads[place] + body_frame(encode_key(key))
        wire.write(bytes(burst))
        return numbers[0]

    def _commit(self, wire: Wire, channel: str, transaction: str) -> None:
        began, outcome = time.monotonic(), Outcome.INFO
        try:
            wire.call(commands.Tx.Commit(), commands.Tx.CommitOk)
            outcome = Outcome.OK
        finally:
            self._recorder.add(Op.COMMIT, self._name, channel, began=began, type=outcome, transaction=transaction)


class Consumer:
    """Consumes one queue with the given habits."""

    def __init__(self, name: str, habits: Habits, recorder: Recorder, stopping: threading.Event) -> None:
        self._name = name
        self._habits = habits
        self._recorder = recorder
        self._stopping = stopping
        self._seen = 0

    def session(self, wire: Wire, channel: str) -> None:
        """Consume until told to stop or, with `cut_every`, until the socket is cut in the middle of things."""
        habits = self._habits
        wire.call(commands.Basic.Qos(0, habits.prefetch), commands.Basic.QosOk)
        self._recorder.add(Op.CONSUME, self._name, channel, queue=habits.queue, prefetch=habits.prefetch)
        wire.call(commands.Basic.Consume(queue=habits.queue), commands.Basic.ConsumeOk)
        held: list[tuple[int, Key]] = []
        while not self._stopping.is_set():
            received = wire.receive(0.05)
            for item in received:
                if isinstance(item, Content):
                    self._take(wire, channel, item, held)
                    if habits.cut_every and self._seen % habits.cut_every == 0:
                        raise ConnectionAbortedError("cut on purpose")
            if held and not received:
                self._ack(wire, channel, held)
            if habits.pause and received:
                self._stopping.wait(habits.pause)

    def _take(self, wire: Wire, channel: str, content: Content, held: list[tuple[int, Key]]) -> None:
        habits, deliver, key = self._habits, content.method, decode_key(content.body)
        assert isinstance(deliver, commands.Basic.Deliver)
        tag = int(deliver.delivery_tag or 0)
        self._seen += 1
        self._record(
            Op.DELIVER, channel, tag, key, redelivered=deliver.redelivered, death=newest_death(content.headers)
        )
        if self._gives_back(key, deliver):
            self._record(Op.REQUEUE, channel, tag, key)
            wire.send(commands.Basic.Nack(tag, multiple=False, requeue=True))
            return
        if habits.reject_every and self._seen % habits.reject_every == 0:
            self._record(Op.REJECT, channel, tag, key)
            wire.send(commands.Basic.Reject(tag, requeue=False))
            return
        held.append((tag, key))
        if len(held) >= habits.ack_every:
            self._ack(wire, channel, held)

    def _gives_back(self, key: Key, deliver: commands.Basic.Deliver) -> bool:
        habits = self._habits
        if habits.poison_every and key[1] // len(ROUTES) % habits.poison_every == 0:
            return True
        return bool(habits.requeue_every) and self._seen % habits.requeue_every == 0 and not deliver.redelivered

    def _ack(self, wire: Wire, channel: str, held: list[tuple[int, Key]]) -> None:
        for tag, key in held:
            self._record(Op.ACK, channel, tag, key)
        wire.send(commands.Basic.Ack(held[-1][0], multiple=len(held) > 1))
        held.clear()

    def _record(self, op: Op, channel: str, tag: int, key: Key, **fields: object) -> None:
        self._recorder.add(op, self._name, channel, queue=self._habits.queue, tag=tag, key=key, **fields)


def encode_key(key: Key) -> bytes:
    """Return a body that begins with `key` and is `BODY_SIZE` bytes long."""
    return f"{key[0]}:{key[1]}:".encode().ljust(BODY_SIZE, b".")


def newest_death(headers: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return the queue and the reason that the first entry of x-death tells; None for what is no dead letter."""
    entries = headers.get("x-death")
    return (str(entries[0]["queue"]), str(entries[0]["reason"])) if entries else None


def decode_key(payload: bytes) -> Key:
    """Return the key a body begins with."""
    publisher, number, _ = payload.decode().split(":", 2)
    return publisher, int(number)
