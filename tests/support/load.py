"""The load of the kill test: every kind of recording client in threads, through any number of broker deaths.

Knows the clients and how to connect them again; must not judge what they recorded. A client that is told to stop
finishes what it waits for.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from pamqp import commands

from tests.support.clients import (
    ALL_QUEUES,
    FANOUT,
    FANOUT_QUEUES,
    TOPIC,
    Consumer,
    Habits,
    Publisher,
    Recorder,
    Transactor,
    decode_key,
)
from tests.support.history import Op, Outcome
from tests.support.wire import Content, Wire

HABITS = (
    Habits("load.a"),
    Habits("load.b", prefetch=50, ack_every=20),
    Habits("load.b", prefetch=10, requeue_every=30),
    Habits("load.c", prefetch=30, ack_every=10, cut_every=700),
    Habits("load.c", prefetch=1),
    Habits("load.fan.1", prefetch=200, ack_every=50, requeue_every=90),
    Habits("load.fan.2", prefetch=100, ack_every=7, cut_every=1100),
    Habits("load.tx.1", prefetch=20),
)


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
        except OSError:
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
        for queue in ALL_QUEUES:
            wire.call(commands.Queue.Declare(queue=queue, durable=True), commands.Queue.DeclareOk)
        for exchange, kind in ((FANOUT, "fanout"), (TOPIC, "topic")):
            declare = commands.Exchange.Declare(exchange=exchange, exchange_type=kind, durable=True)
            wire.call(declare, commands.Exchange.DeclareOk)
        for queue, exchange, key in (
            *((queue, FANOUT, "") for queue in FANOUT_QUEUES),
            (FANOUT_QUEUES[0], TOPIC, "load.*"),
            (FANOUT_QUEUES[1], TOPIC, "#.both"),
        ):
            bind = commands.Queue.Bind(queue=queue, exchange=exchange, routing_key=key)
            wire.call(bind, commands.Queue.BindOk)
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

    def drain(self) -> int:
        """Fetch everything that is left, as the only consumer, and return how many messages that were."""
        wire, name = self._connect(), "drain"
        channel = f"{name}/1"
        self.recorder.add(Op.OPEN, name, channel)
        drained = 0
        for queue in ALL_QUEUES:
            while True:
                fetched = self._fetch(wire, channel, queue)
                drained += fetched
                if not fetched:
                    break
        wire.close()
        self.recorder.add(Op.CLOSE, name, channel)
        return drained

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
        key, redelivered = decode_key(content.body), content.method.redelivered
        self.recorder.add(Op.DRAIN, "drain", channel, queue=queue, key=key, redelivered=redelivered)
