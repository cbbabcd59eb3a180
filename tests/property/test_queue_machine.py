"""A whole node against a model: clients do whatever they may, the node crashes and restarts.

Limits are tiny, so queues page out and read back all the time. A rule ends at once, after a turn of the loop, or when
nothing moves any more; only then are counts compared and everything owed must be paid. No precondition looks at the
state: a real store has a thread, so the same run need not come to the same state twice.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from broker.codec import methods as amqp
from broker.codec.method import Method
from broker.codec.properties import BasicProperties, decode_properties
from broker.ports.records import QueueRecord
from broker.ports.store import Store
from broker.queue.settings import QueueLimits
from broker.store.journal_limits import JournalLimits
from broker.store.memory.store import MemoryState, MemoryStore
from broker.store.sqlite.store import SqliteStore
from tests.contract.harness import empty, server_maker
from tests.support.databases import DatabaseServer
from tests.support.machines import run_machine
from tests.support.model import ChannelModel, ConsumerModel, Entry, Model, QueueModel
from tests.support.node_in_process import Client, NodeInProcess, UnhurriedStore, turns
from tests.support.peer import Content

StoreMaker = Callable[[Path], Callable[[], Store]]

QUEUE_LIMITS = QueueLimits(memory=4096, transient_memory=6000, window_size=3, read_ahead=2, read_ahead_bytes=6000)
JOURNAL_LIMITS = JournalLimits(batch_messages=3, batch_deletes=3, batch_bytes=8000)
# Name: durable, auto-delete, exclusive.
QUEUES = {
    "orders": (True, False, False),
    "invoices": (True, False, False),
    "drafts": (False, False, False),
    "visits": (True, True, False),
    "mine": (True, False, True),
}
EXCHANGES = {"fan": "fanout", "tree": "topic", "amq.direct": "direct"}
KEYS = ("a", "a.b", "b")
PATTERNS = ("a.*", "#", "b")
MODES = {1: "plain", 2: "confirm", 3: "tx"}


def matches(kind: str, binding_key: str, routing_key: str) -> bool:
    if kind == "topic":
        return binding_key == "#" or binding_key == routing_key or (binding_key == "a.*" and routing_key == "a.b")
    return kind == "fanout" or binding_key == routing_key


@dataclass(eq=False)
class Session:
    """A client with a channel of each mode; `gets` are the queues and habits of unanswered basic.get."""

    client: Client
    channels: dict[int, ChannelModel] = field(default_factory=lambda: {i: ChannelModel(MODES[i]) for i in MODES})
    gets: dict[int, deque[tuple[QueueModel, bool]]] = field(default_factory=lambda: {i: deque() for i in MODES})
    answers: list[tuple[int, Method]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Arrival:
    session: Session
    channel: int
    consumer: ConsumerModel | None
    no_ack: bool
    entry: Entry
    tag: int
    redelivered: bool


numbers = st.integers(0, 7)
channel_ids = st.sampled_from(sorted(MODES))
paces = st.sampled_from(("at once", "turn", "idle"))
names = st.sampled_from(["orders", "orders", "orders", "invoices", "drafts", "visits", "mine"])
sizes = st.sampled_from([10, 0, 600, 600, 5000, 70_000])
mostly = st.sampled_from([True, True, True, False])


class QueueMachine(RuleBasedStateMachine):
    """Rules over one store; the subclasses choose it."""

    make_store: Callable[[Path], Callable[[], Store]]

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(prefix="queue-machine-"))
        self.new_store = type(self).make_store(self.directory)
        self.loop = asyncio.new_event_loop()
        self.clock = count()
        self.keys = count(1)
        self.tags = count(1)
        self.sizes: dict[str, int] = {}
        self.model = Model()
        self.sessions: list[Session] = []
        self.said_empty: list[QueueModel] = []
        self.run(self.start_node())

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        async def in_time() -> Any:
            async with asyncio.timeout(30):
                return await coroutine

        return self.loop.run_until_complete(in_time())

    def teardown(self) -> None:
        try:
            if sys.exc_info()[0] is None:
                self.run(self.drain())
        finally:
            self.run(self.node.crash())
            self.loop.close()
            shutil.rmtree(self.directory)

    # The node and its clients

    async def start_node(self) -> None:
        await self.open_node()
        await self.node.start()

    async def open_node(self) -> None:
        store: Any = UnhurriedStore(self.new_store())
        self.node = NodeInProcess(store, queue_limits=QUEUE_LIMITS, journal_limits=JOURNAL_LIMITS, clock=self.clock)
        await self.node.open()

    @initialize()
    def meet(self) -> None:
        self.connect()
        self.connect()
        for name, kind in EXCHANGES.items():
            if not name.startswith("amq."):
                self.send(self.sessions[0], 1, amqp.ExchangeDeclare(exchange=name, type=kind, durable=True))
        self.run(self.idle())
        for name in QUEUES:
            self.declare(0, name)
        self.work()

    def work(self) -> None:
        """Without consumers from the start, too few runs would have any that matter."""
        self.consume_from(0, 1, "orders", 0, 4)
        self.consume_from(1, 3, "orders", 0, 2)
        self.consume_from(1, 2, "invoices", 0, 1)

    def connect(self) -> None:
        session = Session(self.node.connect())
        self.sessions.append(session)
        for channel in MODES:
            self.open_channel(session, channel)
        session.answers.clear()

    def open_channel(self, session: Session, channel: int) -> None:
        session.channels[channel] = ChannelModel(MODES[channel])
        session.gets[channel] = deque()
        self.send(session, channel, amqp.ChannelOpen())
        if MODES[channel] == "confirm":
            self.send(session, channel, amqp.ConfirmSelect())
        elif MODES[channel] == "tx":
            self.send(session, channel, amqp.TxSelect())

    def session(self, number: int) -> Session:
        return self.sessions[number % len(self.sessions)]

    def send(self, session: Session, channel: int, method: Method, *content: Any) -> None:
        session.client.send(channel, method, *content)
        self.pump()

    def ask(self, session: Session, channel: int, method: Method, answer: type[Method]) -> Any:
        """Send a method that is answered, let everything come to rest, and return the answer."""
        self.send(session, channel, method)
        self.run(self.idle())
        found = [each for at, each in session.answers if at == channel and isinstance(each, answer)]
        assert len(found) == 1, f"{method} is answered by {session.answers}"
        session.answers.clear()
        return found[0]

    def continue_at(self, pace: str) -> None:
        if pace == "turn":
            self.run(turns(1))
            self.pump()
        elif pace == "idle":
            self.run(self.idle())

    # What comes back

    def pump(self, sessions: list[Session] | None = None) -> None:
        arrivals: list[Arrival] = []
        for session in self.sessions if sessions is None else sessions:
            for channel, method, content in session.client.receive():
                self.take(session, channel, method, content, arrivals)
        by_queue: dict[QueueModel, set[Entry]] = {}
        for arrival in arrivals:
            by_queue.setdefault(arrival.entry.queue, set()).add(arrival.entry)
        for queue, delivered in by_queue.items():
            queue.require_prefix(delivered)
        for arrival in arrivals:
            channel = arrival.session.channels[arrival.channel]
            self.model.deliver(channel, arrival.consumer, arrival.entry, arrival.tag, arrival.redelivered)
            if arrival.consumer is None and arrival.no_ack:
                self.model.forget_get(channel, arrival.tag)
        for queue in self.said_empty:
            assert not queue.ready, f"{queue.ready} are there to get"
        self.said_empty.clear()
        for queue in self.model.queues.values():
            queue.returned.clear()

    def take(
        self, session: Session, channel_id: int, method: Method, content: Content | None, arrivals: list[Arrival]
    ) -> None:
        channel = session.channels.get(channel_id)
        if isinstance(method, amqp.ConnectionClose | amqp.ChannelClose):
            raise AssertionError(f"the broker complains: {method}")
        if channel is None or not isinstance(
            method, amqp.BasicDeliver | amqp.BasicGetOk | amqp.BasicGetEmpty | amqp.BasicAck | amqp.BasicReturn
        ):
            session.answers.append((channel_id, method))
        elif isinstance(method, amqp.BasicAck):
            self.model.confirm(channel, method.delivery_tag, method.multiple)
        elif isinstance(method, amqp.BasicReturn):
            self.model.returned(channel, self.key_of(content))
        elif isinstance(method, amqp.BasicGetEmpty):
            self.said_empty.append(session.gets[channel_id].popleft()[0])
        else:
            consumer = channel.consumers[method.consumer_tag] if isinstance(method, amqp.BasicDeliver) else None
            queue, no_ack = (consumer.queue, False) if consumer is not None else session.gets[channel_id].popleft()
            key = self.key_of(content)
            entry = next((entry for entry in queue.ready if entry.key == key), None)
            assert entry is not None, f"{key} is delivered from {queue.name}, where it is not ready"
            arrivals.append(
                Arrival(session, channel_id, consumer, no_ack, entry, method.delivery_tag, method.redelivered)
            )

    def key_of(self, content: Content | None) -> str:
        """Return the name of a message, whose octets must be what was published (invariant I10)."""
        assert content is not None
        key = content.properties.message_id
        assert key is not None
        assert content.body == body_of(key, self.sizes[key])
        return key

    async def idle(self) -> None:
        """Wait until nothing moves, then compare everything."""
        self.pump()
        while await self.node.step():
            self.pump()
        self.pump()
        self.model.idle()
        self.model.owed(channel for session in self.sessions for channel in session.channels.values())
        for queue in self.node.queues.values():
            assert queue.unacked_count == len(self.node.broker.held_ids(queue))
        here = {name: (queue.ready_count, len(queue.consumers)) for name, queue in self.node.queues.items()}
        assert here == {name: (len(q.ready), len(q.consumers)) for name, q in self.model.queues.items()}

    # Topology

    @rule(number=numbers, name=names, exchange=st.sampled_from(sorted(EXCHANGES)), key=numbers, what=st.integers(0, 5))
    def change(self, number: int, name: str, exchange: str, key: int, what: int) -> None:
        if what < 2:
            self.declare(number, name)
        elif what < 4:
            self.bind(number, name, exchange, key)
        elif what == 4:
            self.purge(number, name)
        else:
            self.delete(number, name)

    def declare(self, number: int, name: str) -> None:
        session = self.session(number)
        durable, auto_delete, exclusive = QUEUES[name]
        if self.is_locked(session, name):
            return
        declare = amqp.QueueDeclare(queue=name, durable=durable, auto_delete=auto_delete, exclusive=exclusive)
        if name not in self.model.queues:
            owner = session if exclusive else None
            self.model.queues[name] = QueueModel(name, durable and not exclusive, auto_delete, owner)
        while self.run(self.node.step()):
            self.pump()
        answer = self.ask(session, 1, declare, amqp.QueueDeclareOk)
        queue = self.model.queues[name]
        assert (answer.message_count, answer.consumer_count) == (len(queue.ready), len(queue.consumers))

    def is_locked(self, session: Session, name: str) -> bool:
        queue = self.model.queues.get(name)
        return queue is not None and queue.owner is not None and queue.owner is not session

    def usable(self, session: Session, name: str) -> QueueModel | None:
        return None if self.is_locked(session, name) else self.model.queues.get(name)

    def bind(self, number: int, name: str, exchange: str, key: int) -> None:
        session = self.session(number)
        if self.usable(session, name) is None:
            return
        binding_key = (PATTERNS if EXCHANGES[exchange] == "topic" else KEYS)[key % 3]
        self.model.bindings.add((exchange, binding_key, name))
        bind = amqp.QueueBind(queue=name, exchange=exchange, routing_key=binding_key)
        self.ask(session, 1, bind, amqp.QueueBindOk)

    def delete(self, number: int, name: str) -> None:
        session = self.session(number)
        if (queue := self.usable(session, name)) is None:
            return
        self.run(self.idle())
        waiting = len(queue.ready)
        self.model.delete(queue)
        assert self.ask(session, 1, amqp.QueueDelete(queue=name), amqp.QueueDeleteOk).message_count == waiting

    def purge(self, number: int, name: str) -> None:
        session = self.session(number)
        if (queue := self.usable(session, name)) is None:
            return
        self.send(session, 1, amqp.QueuePurge(queue=name))
        while not session.answers:
            self.run(self.node.step())
            self.pump()
        ((_, answer),) = session.answers
        session.answers.clear()
        assert isinstance(answer, amqp.QueuePurgeOk)
        assert answer.message_count == self.model.purge(queue)
        self.run(self.idle())

    # Messages in

    @rule(
        number=numbers,
        channel=channel_ids,
        name=names,
        size=sizes,
        keep=mostly,
        times=st.sampled_from([1, 4, 8, 12]),
        pace=paces,
    )
    def publish(self, number: int, channel: int, name: str, size: int, keep: bool, times: int, pace: str) -> None:
        queues = [name] if name in self.model.queues else []
        for _ in range(times if size < 5000 else 1):
            self.publish_one(self.session(number), channel, amqp.BasicPublish(routing_key=name), queues, size, keep)
        self.continue_at(pace)

    @rule(
        number=numbers,
        channel=channel_ids,
        exchange=st.sampled_from(sorted(EXCHANGES)),
        key=numbers,
        size=sizes,
        keep=mostly,
        mandatory=mostly,
        pace=paces,
    )
    def route(
        self, number: int, channel: int, exchange: str, key: int, size: int, keep: bool, mandatory: bool, pace: str
    ) -> None:
        publish = amqp.BasicPublish(exchange=exchange, routing_key=KEYS[key % 3], mandatory=mandatory)
        queues = {
            name
            for source, binding_key, name in self.model.bindings
            if source == exchange and matches(EXCHANGES[exchange], binding_key, publish.routing_key)
        }
        self.publish_one(self.session(number), channel, publish, sorted(queues), size, keep)
        self.continue_at(pace)

    def publish_one(
        self, session: Session, channel: int, publish: amqp.BasicPublish, queues: list[str], size: int, keep: bool
    ) -> None:
        key = f"m{next(self.keys)}"
        self.sizes[key] = size
        self.model.publish(session.channels[channel], key, queues, keep, publish.mandatory)
        properties = BasicProperties(message_id=key, delivery_mode=2 if keep else 1)
        self.send(session, channel, publish, properties, body_of(key, size))

    # Messages out

    @rule(number=numbers, channel=channel_ids, name=names, no_ack=numbers, prefetch=st.integers(0, 5), pace=paces)
    def consume(self, number: int, channel: int, name: str, no_ack: int, prefetch: int, pace: str) -> None:
        self.consume_from(number, channel, name, no_ack, prefetch)
        self.continue_at(pace)

    def consume_from(self, number: int, channel: int, name: str, no_ack: int, prefetch: int) -> None:
        session = self.session(number)
        if (queue := self.usable(session, name)) is None:
            return
        self.limit(session, channel, prefetch, shared=False)
        tag = f"c{next(self.tags)}"
        model = session.channels[channel]
        consumer = ConsumerModel(tag, model, queue, no_ack == 7, prefetch)
        model.consumers[tag] = consumer
        queue.consumers.append(consumer)
        self.send(session, channel, amqp.BasicConsume(queue=name, consumer_tag=tag, no_ack=consumer.no_ack))
        session.answers.clear()

    def limit(self, session: Session, channel: int, prefetch: int, *, shared: bool) -> None:
        model = session.channels[channel]
        if shared:
            model.prefetch = prefetch
        else:
            for consumer in model.consumers.values():
                consumer.prefetch = prefetch
        self.send(session, channel, amqp.BasicQos(prefetch_count=prefetch, global_=shared))
        session.answers.clear()

    @rule(which=numbers, what=st.integers(0, 3), prefetch=st.integers(0, 5), pace=paces)
    def change_consumer(self, which: int, what: int, prefetch: int, pace: str) -> None:
        consumers = [consumer for queue in self.model.queues.values() for consumer in queue.consumers]
        if not consumers:
            return
        consumer = consumers[which % len(consumers)]
        session, channel = self.place_of(consumer.channel)
        if what == 0:
            self.run(self.idle())
            self.model.cancel(consumer)
            self.ask(session, channel, amqp.BasicCancel(consumer.tag), amqp.BasicCancelOk)
        else:
            self.limit(session, channel, prefetch, shared=what == 1)
            self.continue_at(pace)

    def place_of(self, channel: ChannelModel) -> tuple[Session, int]:
        return next(
            (session, channel_id)
            for session in self.sessions
            for channel_id, each in session.channels.items()
            if each is channel
        )

    @rule(number=numbers, channel=channel_ids, name=names, no_ack=st.booleans())
    def get(self, number: int, channel: int, name: str, no_ack: bool) -> None:
        session = self.session(number)
        if (queue := self.usable(session, name)) is None:
            return
        session.gets[channel].append((queue, no_ack))
        self.send(session, channel, amqp.BasicGet(queue=name, no_ack=no_ack))
        self.run(self.idle())
        assert not session.gets[channel]

    def has_unacked(self) -> bool:
        return any(channel.unacked for session in self.sessions for channel in session.channels.values())

    @rule(which=numbers, tag=st.integers(0, 30), multiple=st.booleans(), pace=paces)
    def ack(self, which: int, tag: int, multiple: bool, pace: str) -> None:
        if not self.has_unacked():
            return
        session, channel, tag = self.settle(which, tag, multiple, requeue=False)
        self.send(session, channel, amqp.BasicAck(tag, multiple))
        self.continue_at(pace)

    @rule(pace=paces)
    def ack_everything(self, pace: str) -> None:
        for session in self.sessions:
            for channel, model in session.channels.items():
                if model.unacked:
                    tag = max(model.unacked)
                    self.model.settle(model, self.model.take_unacked(model, tag, True), requeue=False)
                    self.send(session, channel, amqp.BasicAck(tag, True))
        self.continue_at(pace)

    @rule(which=numbers, tag=st.integers(0, 30), multiple=st.booleans(), requeue=mostly, pace=paces)
    def nack(self, which: int, tag: int, multiple: bool, requeue: bool, pace: str) -> None:
        if not self.has_unacked():
            return
        session, channel, tag = self.settle(which, tag, multiple, requeue=requeue)
        nack = amqp.BasicNack(tag, multiple, requeue) if multiple else amqp.BasicReject(tag, requeue)
        self.send(session, channel, nack)
        self.continue_at(pace)

    def settle(self, which: int, tag: int, multiple: bool, *, requeue: bool) -> tuple[Session, int, int]:
        """Settle what a delivery tag names, 30 for all there are; return where to say so, and the tag to say."""
        channels = [channel for session in self.sessions for channel in session.channels.values() if channel.unacked]
        model = channels[which % len(channels)]
        real_tag = 0 if multiple and tag == 30 else list(model.unacked)[tag % len(model.unacked)]
        self.model.settle(model, self.model.take_unacked(model, real_tag, multiple), requeue=requeue)
        return *self.place_of(model), real_tag

    @rule(which=numbers, pace=paces)
    def recover(self, which: int, pace: str) -> None:
        channels = [channel for session in self.sessions for channel in session.channels.values() if channel.unacked]
        if not channels:
            return
        model = channels[which % len(channels)]
        self.model.recover(model)
        session, channel = self.place_of(model)
        self.send(session, channel, amqp.BasicRecover(requeue=True))
        session.answers.clear()
        self.continue_at(pace)

    # Transactions

    @rule(number=numbers, wanted=mostly)
    def end_transaction(self, number: int, wanted: bool) -> None:
        session = self.session(number)
        self.run(self.idle())
        if wanted:
            self.model.begin_commit(session.channels[3])
            self.model.end_commit(session.channels[3])
            self.ask(session, 3, amqp.TxCommit(), amqp.TxCommitOk)
        else:
            self.model.roll_back(session.channels[3])
            self.ask(session, 3, amqp.TxRollback(), amqp.TxRollbackOk)

    # Ends

    @rule(number=numbers, channel=channel_ids, pause=st.sampled_from([0, 1, 1, 2, 3, 5, 12]), what=st.integers(0, 7))
    def end(self, number: int, channel: int, pause: int, what: int) -> None:
        if what == 0:
            self.close_channel(number, channel)
        elif what == 1:
            self.kill_client(number)
        elif what == 2:
            self.restart()
        elif what < 6:
            if what == 5:
                self.publish_twice(number, channel)
            self.crash(pause, what == 3, number)
        else:
            self.run(self.idle())

    def publish_twice(self, number: int, channel: int) -> None:
        """Publish while what was published before is being written."""
        publish = amqp.BasicPublish(routing_key="invoices")
        queues = [name for name in self.model.queues if name == "invoices"]
        for _ in range(2):
            self.publish_one(self.session(number), channel, publish, queues, 10, True)
            self.continue_at("turn")

    def close_channel(self, number: int, channel: int) -> None:
        session = self.session(number)
        self.run(self.idle())
        self.model.close(session.channels[channel])
        self.ask(session, channel, amqp.ChannelClose(200, "done", 0, 0), amqp.ChannelCloseOk)
        self.open_channel(session, channel)
        session.answers.clear()

    def kill_client(self, number: int) -> None:
        session = self.session(number)
        session.client.lose()
        self.run(turns(1))
        self.pump([session])
        self.sessions.remove(session)
        self.leave(session)
        self.connect()
        self.run(self.idle())

    def leave(self, session: Session) -> None:
        for channel in session.channels.values():
            self.model.close(channel)
        for queue in [queue for queue in self.model.queues.values() if queue.owner is session]:
            self.model.delete(queue)

    def crash(self, pause: int, in_commit: bool, number: int) -> None:
        if in_commit:
            session = self.session(number)
            self.run(self.idle())
            self.model.begin_commit(session.channels[3])
            session.client.send(3, amqp.TxCommit())
            self.run(turns(pause))
            if any(isinstance(method, amqp.TxCommitOk) for _, method, _ in session.client.receive()):
                self.model.end_commit(session.channels[3])
        else:
            self.run(turns(pause))
            self.pump()
        self.run(self.crash_node())
        if pause % 2:
            self.work()

    async def crash_node(self) -> None:
        await self.node.crash()
        await self.open_node()
        stored = await self.stored()
        self.model.crash(stored, [channel for session in self.sessions for channel in session.channels.values()])
        await self.begin_again()

    def restart(self) -> None:
        self.run(self.restart_node())
        self.work()

    async def restart_node(self) -> None:
        await self.idle()
        for session in self.sessions:
            self.leave(session)
        await self.node.stop([session.client for session in self.sessions])
        await self.open_node()
        self.model.stop(await self.stored())
        await self.begin_again()

    async def stored(self) -> dict[str, list[str]]:
        """Return the names of what is stored, by queue; a crash may leave rows of a deleted one (invariant I9)."""
        names = {queue.queue_id: queue.name for queue in (await self.node.store.load()).of(QueueRecord)}
        return {
            names[queue_id]: [str(decode_properties(message.header_payload).message_id) for message in messages]
            for queue_id, messages in (await self.node.stored()).items()
            if queue_id in names
        }

    async def begin_again(self) -> None:
        self.sessions.clear()
        await self.node.start()
        self.connect()
        self.connect()
        await self.idle()

    async def drain(self) -> None:
        """What is there in the end comes out, after one more restart."""
        if not self.sessions:
            return
        await self.idle()
        await self.restart_node()
        session = self.sessions[0]
        for name, queue in list(self.model.queues.items()):
            consumer = ConsumerModel(name, session.channels[1], queue, True, 0)
            session.channels[1].consumers[name] = consumer
            queue.consumers.append(consumer)
            self.send(session, 1, amqp.BasicConsume(queue=name, consumer_tag=name, no_ack=True))
        await self.idle()
        assert not any(queue.ready for queue in self.model.queues.values())


@cache
def body_of(key: str, size: int) -> bytes:
    return (key.encode() * (size // len(key) + 1))[:size]


@cache
def empty_database() -> Path:
    """Return a database with its schema: making one takes longer than a run."""
    path = Path(tempfile.mkdtemp(prefix="queue-machine-")) / "mb.db"

    async def make() -> None:
        store = SqliteStore(path)
        await store.open()
        await store.close()

    asyncio.run(make())
    return path


def memory_stores(directory: Path) -> Callable[[], Store]:
    state = MemoryState()
    return lambda: MemoryStore(state)


def sqlite_stores(directory: Path) -> Callable[[], Store]:
    shutil.copy(empty_database(), directory / "mb.db")
    return lambda: SqliteStore(directory / "mb.db")


def server_stores(server: DatabaseServer) -> StoreMaker:
    database = server.create_database()
    make = server_maker(server, database)

    async def create() -> None:
        store = make()
        await store.open()
        await store.close()

    asyncio.run(create())

    def stores(_: Path) -> Callable[[], Store]:
        empty(server, database)
        return make

    return stores


RUNS = {"memory": 60, "sqlite": 15, "mariadb": 8, "postgresql": 8}


@pytest.fixture(params=RUNS)
def store(request: pytest.FixtureRequest) -> tuple[str, StoreMaker]:
    """The name of a store, and what makes one in an empty directory or database."""
    if request.param == "memory":
        return request.param, memory_stores
    if request.param == "sqlite":
        return request.param, sqlite_stores
    return request.param, server_stores(request.getfixturevalue(request.param))


def check(store: tuple[str, StoreMaker], runs: int, steps: int, *, derandomize: bool) -> None:
    name, make_store = store
    machine = type(f"{name.title()}Machine", (QueueMachine,), {"make_store": staticmethod(make_store)})
    run_machine(machine, runs, steps, derandomize=derandomize)


def test_clients_see_what_the_contract_promises(store: tuple[str, StoreMaker]) -> None:
    check(store, RUNS[store[0]], 50, derandomize=True)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_clients_see_what_the_contract_promises_over_many_runs(store: tuple[str, StoreMaker]) -> None:
    check(store, int(os.environ.get("QUEUE_MACHINE_RUNS", "1000")), 50, derandomize=False)


class MemoryMachine(QueueMachine):
    make_store = staticmethod(memory_stores)

    def share_a_prefetch(self, consumer: ConsumerModel) -> None:
        session, channel = self.place_of(consumer.channel)
        self.limit(session, channel, 3, shared=True)


def publish_eight(machine: QueueMachine, name: str) -> None:
    machine.publish(number=0, channel=2, name=name, keep=True, size=10, times=8, pace="idle")


@pytest.fixture
def machine() -> Iterator[MemoryMachine]:
    machine = MemoryMachine()
    machine.meet()
    yield machine
    machine.teardown()


def test_the_model_does_not_count_what_was_got(machine: MemoryMachine) -> None:
    machine.consume(number=1, channel=1, name="drafts", no_ack=0, prefetch=0, pace="idle")
    machine.share_a_prefetch(machine.model.queues["drafts"].consumers[0])
    publish_eight(machine, "drafts")
    machine.get(number=1, channel=1, name="drafts", no_ack=False)
    machine.nack(which=0, tag=0, multiple=False, requeue=True, pace="idle")


def test_the_model_lets_consumers_without_acknowledgement_wait_for_the_channel(machine: MemoryMachine) -> None:
    machine.consume(number=0, channel=1, name="visits", no_ack=0, prefetch=0, pace="idle")
    machine.share_a_prefetch(machine.model.queues["visits"].consumers[0])
    publish_eight(machine, "visits")
    machine.consume(number=0, channel=1, name="drafts", no_ack=7, prefetch=0, pace="idle")
    publish_eight(machine, "drafts")
