"""Whole client sessions as octets, and a broker without sockets to play them to.

Knows the wire through `peer.command` and builds the broker's core by hand over the store in memory; names and times are
counted, not drawn, so the same octets give the same answer. Knows no test and no mutation.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from broker.broker import Limits
from broker.codec import methods as amqp
from broker.codec.constants import HEARTBEAT_FRAME, PROTOCOL_HEADER
from broker.codec.field_table import FieldTable
from broker.codec.properties import BasicProperties
from broker.store.memory.store import MemoryStore
from tests.support.composition import NodeParts, new_connection
from tests.support.peer import command

FRAME_MAX = 4096
_ROOM = FRAME_MAX - 8
_TURNS = 20_000


class Client:
    """The broker's end of one connection, and everything it has written."""

    def __init__(self, bench: Bench) -> None:
        self._broker = bench.broker
        self.connection = new_connection(bench.shared, lambda: None)
        self.output = bytearray()

    def send(self, data: bytes) -> None:
        """Hand over one read's octets, as the edge does: parse, then dispatch."""
        if not self.connection.is_finished:
            self._broker.work.begin_turn()
            self.connection.receive(data, 0.0)
            self._take_turns()
            self._broker.dispatch()

    def _take_turns(self) -> None:
        """Go on at once with what was put off because a turn of the loop was used up."""
        while self.connection.is_put_off:
            self._broker.work.begin_turn()
            self.connection.go_on()
            self._broker.dispatch()

    def take_output(self) -> bytes:
        """Return what the broker wrote since the last call, and add it to `output`."""
        self._take_turns()
        pieces, _ = self.connection.output.take(0.0)
        data = b"".join(pieces)
        self.output += data
        return data


class Bench:
    """A broker whose edges are the test: it hands over octets and lets the loop turn until nothing is left to do."""

    def __init__(self, tasks: asyncio.TaskGroup, limits: Limits) -> None:
        self._tasks = tasks
        self._running: set[asyncio.Task[None]] = set()
        self.failures: list[Exception] = []
        self._store = MemoryStore()
        self._parts = NodeParts(self._store, tasks=tasks, limits=limits)
        self.journal = self._parts.journal
        self.broker = self._parts.broker
        self.shared = self._parts.shared_context(self.spawn)

    async def open(self) -> None:
        """Make the virtual host `/`."""
        await self._store.open()
        self._parts.add_vhost("/")

    def connect(self) -> Client:
        return Client(self)

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run what waits for a port; what escapes from it is kept in `failures`."""
        task = self._tasks.create_task(self._guard(coroutine))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _guard(self, coroutine: Coroutine[Any, Any, None]) -> None:
        try:
            await coroutine
        except Exception as error:
            self.failures.append(error)

    async def settle(self) -> None:
        """Let the loop turn until no handler and no write is under way."""
        for _ in range(_TURNS):
            await asyncio.sleep(0)
            if not self._running and self.journal.is_idle:
                return
        raise AssertionError(f"still busy after {_TURNS} turns of the loop: {self._running}")

    async def play(self, stages: Iterable[Iterable[bytes]]) -> bytes:
        """Return everything the broker answers to one connection's stages, each sent in the given pieces."""
        client = self.connect()
        for pieces in stages:
            for piece in pieces:
                client.send(piece)
                await asyncio.sleep(0)
            await self.settle()
        client.take_output()
        client.connection.on_lost()
        await self.settle()
        return bytes(client.output)


@asynccontextmanager
async def running_bench(limits: Limits | None = None) -> AsyncIterator[Bench]:
    """A bench with its journal running."""
    async with asyncio.TaskGroup() as tasks:
        bench = Bench(tasks, limits or Limits())
        await bench.open()
        journal = tasks.create_task(bench.journal.run())
        try:
            yield bench
        finally:
            journal.cancel()


@dataclass(frozen=True, slots=True)
class Session:
    """What a client sends. It waits for the answers to a stage before it sends the next one."""

    name: str
    stages: tuple[bytes, ...] = field(repr=False)


def start_ok(user: str = "guest", password: str = "guest", mechanism: str = "PLAIN") -> amqp.ConnectionStartOk:
    capabilities = {"consumer_cancel_notify": True, "authentication_failure_close": True, "connection.blocked": True}
    properties = FieldTable.of({"product": "session", "capabilities": capabilities, "connection_name": "a client"})
    return amqp.ConnectionStartOk(properties, mechanism, f"\0{user}\0{password}".encode())


def handshake(frame_max: int = FRAME_MAX) -> bytes:
    """Return the opening of a connection with channel 1, pipelined."""
    return b"".join(
        (
            PROTOCOL_HEADER,
            command(0, start_ok()),
            command(0, amqp.ConnectionTuneOk(2047, frame_max, 0)),
            command(0, amqp.ConnectionOpen("/")),
            command(1, amqp.ChannelOpen()),
        )
    )


_HEADERS = FieldTable.of({"text": "ä", "number": 1, "nested": {"list": [1, "two", None, 3.0]}, "flag": True})
_FULL = BasicProperties(
    content_type="text/plain",
    content_encoding="utf-8",
    headers=_HEADERS,
    delivery_mode=2,
    priority=3,
    correlation_id="c",
    reply_to="r",
    message_id="m",
    timestamp=1,
    type="t",
    user_id="guest",
    app_id="a",
)
_PERSISTENT = BasicProperties(delivery_mode=2)
_SIZES = (0, 0, 0, 1, 1, 1, 100, 100, 100, _ROOM - 1, _ROOM, _ROOM + 1, 2 * _ROOM + 5)


def publish(
    key: str, body: bytes, properties: BasicProperties | None = None, *, exchange: str = "", channel: int = 1
) -> bytes:
    method = amqp.BasicPublish(exchange=exchange, routing_key=key, mandatory=True)
    return command(channel, method, properties, body, FRAME_MAX)


def _declares() -> bytes:
    arguments = FieldTable.of({"x-match": "any", "text": "ä"})
    return b"".join(
        (
            command(1, amqp.QueueDeclare(queue="q", durable=True, arguments=FieldTable.of({"x-note": [1, "two"]}))),
            command(1, amqp.QueueDeclare(exclusive=True)),
            command(1, amqp.ExchangeDeclare(exchange="t", type="topic", durable=True)),
            command(1, amqp.ExchangeDeclare(exchange="h", type="headers", auto_delete=True)),
            command(1, amqp.QueueBind(queue="q", exchange="t", routing_key="a.#")),
            command(1, amqp.QueueBind(exchange="t", routing_key="*.b")),
            command(1, amqp.QueueBind(queue="q", exchange="h", arguments=arguments)),
            command(1, amqp.ExchangeBind(destination="h", source="t", routing_key="x")),
            HEARTBEAT_FRAME,
        )
    )


def _tags(first: int, last: int) -> bytes:
    return b"".join(command(1, amqp.BasicAck(tag)) for tag in range(first, last + 1))


def _publishing(sizes: Iterable[int]) -> bytes:
    kinds = (None, _PERSISTENT, _FULL)
    return b"".join(
        [publish("q", bytes((number + 65,)) * size, kinds[number % 3]) for number, size in enumerate(sizes)]
        + [publish("a.b", b"to two", _FULL, exchange="t"), publish("x", b"by headers", _FULL, exchange="t")]
        + [publish("nowhere", b"comes back", exchange="t")]
    )


def sessions(sizes: Iterable[int] = _SIZES) -> tuple[Session, ...]:
    """Return sessions that together use every part of the protocol, with bodies of `sizes`."""
    sizes = tuple(sizes)
    total = len(sizes) + 2
    opening = handshake() + _declares()
    get_all = b"".join(command(1, amqp.BasicGet(queue="q")) for _ in range(total + 1))
    closing = command(1, amqp.ChannelClose(200, "bye")) + command(0, amqp.ConnectionClose(200, "bye"))
    consume = command(1, amqp.BasicQos(prefetch_count=total)) + command(1, amqp.BasicConsume(queue="q"))
    batch = _publishing(sizes)
    settle = _tags(1, 3) + command(1, amqp.BasicNack(5, True, True)) + _tags(6, total // 2)
    settle += command(1, amqp.BasicReject(total // 2 + 1, False)) + command(1, amqp.BasicAck(total - 2, True))
    recover = command(1, amqp.BasicRecover(True))
    confirm = command(1, amqp.ConfirmSelect())
    transaction = (
        command(1, amqp.TxSelect()) + batch + command(1, amqp.TxCommit()) + get_all + _tags(1, 4)
        + command(1, amqp.TxRollback()) + _tags(1, 2) + command(1, amqp.TxCommit())
        + publish("q", b"never") + command(1, amqp.TxRollback()) + command(1, amqp.BasicGet(queue="q"))
    )  # fmt: skip
    second = b"".join(
        (
            command(2, amqp.ChannelOpen()),
            command(2, amqp.AccessRequest()),
            command(2, amqp.ChannelFlow(True)),
            command(2, amqp.QueuePurge(queue="q")),
            command(2, amqp.QueueUnbind(queue="q", exchange="t", routing_key="a.#")),
            command(2, amqp.ExchangeUnbind(destination="h", source="t", routing_key="x")),
            command(2, amqp.ExchangeDelete(exchange="t")),
            command(2, amqp.QueueDelete(queue="q")),
        )
    )
    missing = command(1, amqp.QueueDeclare(queue="missing", passive=True))
    again = command(1, amqp.ChannelCloseOk()) + command(1, amqp.ChannelOpen())
    mid_content = publish("q", b"cut")[:-11]
    return (
        Session("publish and get", (opening, batch + get_all + _tags(1, total - 4), closing)),
        Session("closing at once", (opening + batch + get_all + _tags(1, total - 4) + closing,)),
        Session("consume", (opening, batch, consume, settle, recover, command(1, amqp.BasicCancel("amq.ctag-2")))),
        Session("confirms", (opening + confirm + batch, batch, batch, closing)),
        Session("transaction", (opening + transaction,)),
        Session("channels", (opening + batch, second, closing)),
        Session("channel error", (opening + missing + batch + get_all, again + get_all, closing)),
        Session("connection error", (opening, batch + mid_content + get_all, command(0, amqp.ConnectionCloseOk()))),
    )
