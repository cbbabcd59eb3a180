"""The load of the kill test: every kind of recording client in threads, through any number of broker deaths.

Knows the clients and how to connect them again; must not judge what they recorded. A client that is told to stop
finishes what it waits for.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from pamqp import commands

from tests.support.clients import (
    ALL_QUEUES,
    BODY_SIZE,
    DEAD_LETTERS,
    FANOUT,
    FANOUT_QUEUES,
    RULES,
    TOPIC,
    Consumer,
    Habits,
    Publisher,
    Recorder,
    Transactor,
    decode_key,
    encode_key,
    newest_death,
)
from tests.support.events import Op, Outcome, QueueRules
from tests.support.wire import Content, Wire, body_frame, publish_head

HABITS = (
    Habits("load.a"),
    Habits("load.b", prefetch=50, ack_every=20),
    Habits("load.b", prefetch=10, requeue_every=30),
    Habits("load.c", prefetch=30, ack_every=10, cut_every=700),
    Habits("load.c", prefetch=1),
    Habits("load.fan.1", prefetch=200, ack_every=50, requeue_every=90),
    Habits("load.fan.2", prefetch=100, ack_every=7, cut_every=1100),
    Habits("load.tx.1", prefetch=20),
    Habits("load.ttl", prefetch=10, ack_every=10, reject_every=7, cut_every=230, pause=0.2),
    Habits("load.limit", prefetch=30, ack_every=10, reject_every=9, poison_every=5, cut_every=900),
    Habits("load.length", prefetch=10, ack_every=10, requeue_every=12, pause=0.2),
    Habits("load.dead", prefetch=100, ack_every=20, cut_every=1300),
    Habits("load.dead", prefetch=20, requeue_every=40),
)
_FLUSH = "flush"


@dataclass(frozen=True, slots=True)
class Ending:
    """A session that ended `at` some monotonic time, and what its client was told."""

    at: float
    channel: str
    reason: str


@dataclass(slots=True)
class Client:
    """A thread that runs one session after another until it is told to stop."""

    name: str
    connect: Callable[[], Wire]
    recorder: Recorder
    session: Callable[[Wire, str], None]
    stopping: threading.Event
    sessions: int = 0
    failure: BaseException | None = None
    endings: list[Ending] = field(default_factory=list)
    """The sessions that ended in another way than the client wanted."""
    thread: threading.Thread = field(init=False)

    def __post_init__(self) -> None:
        self.thread = threading.Thread(target=self._run, name=self.name, daemon=True)

    def _run(self) -> None:
        try:
            while not self.stopping.is_set():
                self._live_once()
        except BaseException as error:
            self.failure = error
            raise

    def _live_once(self) -> None:
        try:
            wire = self.connect()
        except OSError:
            # Nobody listens between a kill and the restart; a stop need not wait for the next try.
            self.stopping.wait(0.05)
            return
        self.sessions += 1
        channel = f"{self.name}/{self.sessions}"
        self.recorder.add(Op.OPEN, self.name, channel)
        try:
            self.session(wire, channel)
            began = time.monotonic()  # the broker gives back what was unacknowledged before it answers
            wire.close()
        except OSError as error:
            self.endings.append(Ending(time.monotonic(), channel, str(error)))
            self.recorder.add(Op.CLOSE, self.name, channel, type=Outcome.INFO)
        else:
            self.recorder.add(Op.CLOSE, self.name, channel, began=began)
        finally:
            wire.cut()


class Load:
    """Publishers and consumers with every habit, on queues of their own."""

    def __init__(self, host: str, port: int, *, publishers: int = 2) -> None:
        self.recorder = Recorder()
        self._address = (host, port)
        self._flushed = 0
        self._stop_publishers = threading.Event()
        self._stop_consumers = threading.Event()
        self._publishers = [self._publisher(f"publisher{number}") for number in range(publishers)]
        self._publishers.append(self._transactor("transactor"))
        self._consumers = [self._consumer(f"consumer{number}", habits) for number, habits in enumerate(HABITS)]

    def _publisher(self, name: str) -> Client:
        publisher = Publisher(name, self.recorder, self._stop_publishers)
        return Client(name, self._connect, self.recorder, publisher.session, self._stop_publishers)

    def _transactor(self, name: str) -> Client:
        transactor = Transactor(name, self.recorder, self._stop_publishers)
        return Client(name, self._connect, self.recorder, transactor.session, self._stop_publishers)

    def _consumer(self, name: str, habits: Habits) -> Client:
        consumer = Consumer(name, habits, self.recorder, self._stop_consumers)
        return Client(name, self._connect, self.recorder, consumer.session, self._stop_consumers)

    def _connect(self) -> Wire:
        return Wire(*self._address)

    def start(self) -> None:
        """Declare the topology and start every client."""
        wire = self._connect()
        declare(wire)
        wire.close()
        for client in (*self._consumers, *self._publishers):
            client.thread.start()

    def stop(self, deadline: float = 60.0) -> None:
        """Stop publishing, wait for the last confirms, then stop the consumers; a client that failed raises here."""
        for stopping, clients in (
            (self._stop_publishers, self._publishers),
            (self._stop_consumers, self._consumers),
        ):
            stopping.set()
            for client in clients:
                client.thread.join(deadline)
                if client.thread.is_alive():
                    raise TimeoutError(f"{client.name} still running {deadline} s after it was told to stop")
                if client.failure is not None:
                    raise client.failure

    def drain(self, others: Iterable[Wire] = ()) -> int:
        """Fetch everything that is left, as the only consumer, and return how many messages that were; dead letters may
        be on their way from the nodes of `others`, too.
        """
        wire, name = self._connect(), "drain"
        channel = f"{name}/1"
        self.recorder.add(Op.OPEN, name, channel)
        drained = sum(self._fetch_all(wire, channel, queue) for queue in ALL_QUEUES if queue != DEAD_LETTERS)
        flushed, came = [bury_last(each) for each in (wire, *others)], 0
        end = time.monotonic() + 60.0
        while came < len(flushed):
            drained += self._fetch_all(wire, channel, DEAD_LETTERS)
            came = self._flushed
            if time.monotonic() > end:
                raise TimeoutError(f"{came} of {len(flushed)} last dead letters came")
        wire.close()
        self.recorder.add(Op.CLOSE, name, channel)
        return drained - came

    def _fetch_all(self, wire: Wire, channel: str, queue: str) -> int:
        """Fetch until nothing is left, whatever expires meanwhile."""
        drained, end = 0, time.monotonic() + 60.0
        while True:
            fetched = self._fetch(wire, channel, queue)
            drained += fetched
            if not fetched and (queue not in RULES or not ready_count(wire, queue)):
                return drained
            if time.monotonic() > end:
                raise TimeoutError(f"{queue!r} is not empty")

    def _fetch(self, wire: Wire, channel: str, queue: str, batch: int = 100) -> int:
        for _ in range(batch):
            wire.send(commands.Basic.Get(queue=queue, no_ack=True))
        answers = fetched = 0
        while answers < batch:
            received = wire.receive(20.0)
            if not received:
                raise TimeoutError(f"no answer to basic.get on {queue!r}")
            answers += len(received)
            for item in received:
                if isinstance(item, Content):
                    self._drained(item, channel, queue)
                    fetched += 1
        return fetched

    def _drained(self, content: Content, channel: str, queue: str) -> None:
        assert isinstance(content.method, commands.Basic.GetOk)
        key = decode_key(content.body)
        if key[0] == _FLUSH:
            self._flushed += 1
            return
        redelivered, death = content.method.redelivered, newest_death(content.headers)
        self.recorder.add(Op.DRAIN, "drain", channel, queue=queue, key=key, redelivered=redelivered, death=death)


def declare(wire: Wire) -> None:
    """Make the queues, exchanges and bindings of the load."""
    for queue in ALL_QUEUES:
        arguments = arguments_of(RULES[queue]) if queue in RULES else {}
        method = commands.Queue.Declare(queue=queue, durable=True, arguments=arguments)
        wire.call(method, commands.Queue.DeclareOk)
    for exchange, kind in ((FANOUT, "fanout"), (TOPIC, "topic")):
        exchange_declare = commands.Exchange.Declare(exchange=exchange, exchange_type=kind, durable=True)
        wire.call(exchange_declare, commands.Exchange.DeclareOk)
    for queue, exchange, key in (
        *((queue, FANOUT, "") for queue in FANOUT_QUEUES),
        (FANOUT_QUEUES[0], TOPIC, "load.*"),
        (FANOUT_QUEUES[1], TOPIC, "#.both"),
    ):
        bind = commands.Queue.Bind(queue=queue, exchange=exchange, routing_key=key)
        wire.call(bind, commands.Queue.BindOk)


def arguments_of(rules: QueueRules) -> dict[str, Any]:
    """Return the arguments with which a queue of these rules is declared."""
    arguments: dict[str, Any] = {}
    if rules.dead_letter_queue:
        arguments |= {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": rules.dead_letter_queue}
    if rules.message_ttl is not None:
        arguments["x-message-ttl"] = round(rules.message_ttl * 1000)
    if rules.max_length is not None:
        arguments["x-max-length"] = rules.max_length
    if rules.delivery_limit is not None:
        arguments["x-delivery-limit"] = rules.delivery_limit
    return arguments


def ready_count(wire: Wire, queue: str) -> int:
    """Return how many messages of a queue are ready."""
    method = commands.Queue.Declare(queue=queue, passive=True)
    return int(wire.call(method, commands.Queue.DeclareOk).message_count or 0)


def bury_last(wire: Wire) -> None:
    """Let a message die in an empty queue. A node carries its dead letters in the order of their deaths: when this one
    is there, those before it are.
    """
    queue = next(queue for queue, rules in RULES.items() if rules.delivery_limit)
    wire.write(publish_head("", queue, BODY_SIZE) + body_frame(encode_key((_FLUSH, 0))))
    wire.send(commands.Basic.Get(queue=queue))
    while True:
        for item in wire.receive(20.0):
            if isinstance(item, Content) and isinstance(item.method, commands.Basic.GetOk):
                wire.send(commands.Basic.Reject(item.method.delivery_tag, requeue=False))
                return
