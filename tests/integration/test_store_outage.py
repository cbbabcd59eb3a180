"""A node whose store is away: before the start, for a moment, for longer, and when the node is to stop.

The node is a real one with real sockets, in this process; its store fails when told to (ADR 14).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TypeVar

import pytest

from benchmarks.nodes.configuration import NodeConfiguration
from broker.codec.constants import PROTOCOL_HEADER
from broker.codec.method import Method
from broker.codec.methods import (
    BasicAck,
    BasicConsume,
    BasicConsumeOk,
    BasicDeliver,
    BasicPublish,
    ChannelOpen,
    ChannelOpenOk,
    ConfirmSelect,
    ConfirmSelectOk,
    ConnectionBlocked,
    ConnectionClose,
    ConnectionOpen,
    ConnectionOpenOk,
    ConnectionTuneOk,
    ConnectionUnblocked,
    QueueBind,
    QueueBindOk,
    QueueDeclare,
    QueueDeclareOk,
)
from broker.codec.properties import BasicProperties
from broker.config.loading import load
from broker.errors import ConfigError, StoreError, StoreShared, StoreUnavailable, StoreWentBack
from broker.message import published_ms
from broker.node.process import Node, Started
from broker.store.memory.store import MemoryStore
from tests.support.faulty_store import FaultyStore
from tests.support.harness import ALL_CAPABILITIES, start_ok
from tests.support.peer import Peer, command

AWAY = StoreUnavailable("connection refused")
PERSISTENT = BasicProperties(delivery_mode=2)
MIB = 1 << 20
HOUR_MS = 3_600_000

M = TypeVar("M", bound=Method)


class Client:
    """A connection with channel 1 open on it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.peer = Peer(writer.write)
        self._received: list[Method] = []

    @classmethod
    async def connect(cls, port: int) -> Client:
        client = cls(*await asyncio.open_connection("127.0.0.1", port))
        client.peer.send_raw(PROTOCOL_HEADER)
        client.peer.send(0, start_ok(ALL_CAPABILITIES))
        client.peer.send(0, ConnectionTuneOk(0, 0, 0))
        client.peer.send(0, ConnectionOpen("/"))
        await client.expect(ConnectionOpenOk)
        await client.call(ChannelOpen(), ChannelOpenOk)
        return client

    async def expect(self, kind: type[M]) -> M:
        """Return the next method of that kind; others are kept for those who expect them."""
        while True:
            for number, method in enumerate(self._received):
                if isinstance(method, kind):
                    del self._received[number]
                    return method
            data = await self._reader.read(1 << 16)
            assert data, f"closed while waiting for {kind.name}"
            self.peer.feed(data)
            self._received += [method for _, method in self.peer.received()]

    async def call(self, method: Method, answer: type[M]) -> M:
        self.peer.send(1, method)
        return await self.expect(answer)

    async def confirmed(self, last: int) -> None:
        """Return when publish number `last` is confirmed, and not before all of them are."""
        while True:
            ack = await self.expect(BasicAck)
            if ack.delivery_tag == last or (ack.multiple and ack.delivery_tag > last):
                return

    def publish(self, queue: str, *bodies: bytes) -> None:
        for body in bodies:
            self.peer.send(1, BasicPublish(routing_key=queue), PERSISTENT, body)

    async def flood(self, data: bytes) -> None:
        """Write until cancelled, as fast as it is taken."""
        while True:
            self._writer.write(data)
            await self._writer.drain()

    async def close(self) -> None:
        self._writer.transport.abort()
        with suppress(ConnectionError):
            await self._writer.wait_closed()


class Running:
    """A node that runs, or waits for its store."""

    def __init__(self, node: Node, store: FaultyStore, port: int) -> None:
        self.node = node
        self.store = store
        self.port = port
        self.started: asyncio.Future[Started] = asyncio.get_running_loop().create_future()
        self.began_anew = asyncio.Event()
        self.ended: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()
        self._clients: list[Client] = []

    async def live(self) -> None:
        """Run the node until its end."""
        try:
            await self.node.run(self._on_started)
        except* StoreError as group:
            self.ended.set_result(group.exceptions[0])
        else:
            self.ended.set_result(None)

    def _on_started(self, started: Started) -> None:
        if self.started.done():
            self.began_anew.set()
        else:
            self.started.set_result(started)

    async def connect(self) -> Client:
        client = await Client.connect(self.port)
        self._clients.append(client)
        return client

    async def is_listening(self) -> bool:
        try:
            client = Client(*await asyncio.open_connection("127.0.0.1", self.port))
        except OSError:
            return False
        await client.close()
        return True

    async def stop(self) -> None:
        self.node.stop()
        for client in self._clients:
            await client.close()


Begin = Callable[[FaultyStore], Running]


@pytest.fixture
def begin(tmp_path: Path) -> Begin:
    """Makes a node with a port of its own."""
    written = NodeConfiguration(f"jdbc:sqlite:{tmp_path}/mb.db")
    written.write(tmp_path)
    config = load(tmp_path, {}).config

    def begin(store: FaultyStore) -> Running:
        return Running(Node(config, store, store_timeout=0.1), store, written.port)

    return begin


@asynccontextmanager
async def running(it: Running) -> AsyncIterator[Running]:
    """Run the node while the test does; stop it afterwards."""
    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        tasks.create_task(it.live())
        yield it
        await it.stop()


# The start


async def test_a_node_waits_for_its_store_and_opens_no_port_meanwhile(begin: Begin) -> None:
    store = FaultyStore()
    store.fail(AWAY)
    async with running(begin(store)) as it:
        await store.until("open", errors=2)
        assert not await it.is_listening()
        store.heal()
        await it.started
        assert await it.is_listening()


async def test_a_node_whose_store_goes_away_while_it_starts_waits_too(begin: Begin) -> None:
    store = FaultyStore()
    store.fail(AWAY, "register", "load")
    async with running(begin(store)) as it:
        await store.until("register", errors=1)
        store.fail(AWAY, "load")
        await store.until("load", errors=2)
        assert not await it.is_listening()
        store.heal()
        await it.started


async def test_a_node_that_waits_for_its_store_stops_in_order(begin: Begin) -> None:
    store = FaultyStore()
    store.fail(AWAY)
    async with running(begin(store)) as it:
        await store.until("open", errors=1)
        it.node.stop()
    assert not it.started.done()


@pytest.mark.parametrize("operation", ["open", "check_safety", "time_ms", "register", "load", "backlog", "probe"])
async def test_a_node_whose_store_hangs_at_the_start_stops_in_order(begin: Begin, operation: str) -> None:
    store = FaultyStore()
    store.fail(AWAY, operation)
    async with running(begin(store)) as it:
        await store.until(operation, errors=1)
        store.hang()
        await store.until(operation, calls=2)
        it.node.stop()
        it.node.stop()
    assert not it.started.done()
    assert not store.is_open


async def test_a_node_that_is_told_to_stop_before_it_runs_does_nothing(begin: Begin) -> None:
    it = begin(FaultyStore())
    it.node.stop()
    await it.node.run(it.started.set_result)
    assert it.store.calls["open"] == 0


@pytest.mark.parametrize(
    "failure", [ConfigError("the password is wrong"), StoreShared("in use"), StoreError("not a database")]
)
async def test_what_waiting_does_not_mend_ends_the_start(begin: Begin, failure: Exception) -> None:
    store = FaultyStore()
    store.fail(failure)
    with pytest.raises(type(failure), match=str(failure)):
        await begin(store).node.run(lambda started: None)
    assert store.calls["open"] == 1


async def test_settings_that_are_not_safe_are_told_at_the_start(begin: Begin) -> None:
    async with running(begin(FaultyStore(unsafe=["fsync is off"]))) as it:
        assert (await it.started).unsafe == ["fsync is off"]


async def test_settings_that_are_not_safe_can_forbid_the_start(begin: Begin, tmp_path: Path) -> None:
    broker_xml = tmp_path / "broker.xml"
    enforced = "<persistence><storeSafetyCheck>enforce</storeSafetyCheck></persistence></broker>"
    broker_xml.write_text(broker_xml.read_text().replace("</broker>", enforced))
    store = FaultyStore(unsafe=["fsync is off", "synchronous_commit is off"])
    with pytest.raises(ConfigError, match="fsync is off; synchronous_commit is off"):
        await Node(load(tmp_path, {}).config, store).run(lambda started: None)
    assert not store.is_open


class StoreAhead(MemoryStore):
    """A store whose clock is an hour ahead of this machine's."""

    async def time_ms(self) -> int:
        return await super().time_ms() + HOUR_MS


async def test_messages_carry_the_time_of_the_store(begin: Begin) -> None:
    ahead = StoreAhead()
    before = await ahead.time_ms()
    async with running(begin(FaultyStore(ahead))) as it:
        client = await client_with_a_queue(it)
        await client.call(ConfirmSelect(), ConfirmSelectOk)
        client.publish("q", b"m")
        await client.confirmed(1)
        [message_id] = ahead.state.rows
    assert before - 1 <= published_ms(message_id) <= await ahead.time_ms() + 1


# While it serves


async def test_an_outage_of_a_moment_is_not_noticed(begin: Begin) -> None:
    store = FaultyStore()
    async with running(begin(store)) as it:
        client = await client_with_a_queue(it)
        await client.call(ConfirmSelect(), ConfirmSelectOk)
        store.fail(AWAY)
        client.publish("q", b"m")
        client.peer.send(1, QueueBind(queue="q", exchange="amq.fanout"))
        await store.until("write", errors=2)
        await store.until("record", errors=2)
        store.heal()
        await client.expect(QueueBindOk)
        await client.confirmed(1)
        assert it.node.store_state.outages == 0


@pytest.mark.parametrize("outage", [lambda store: store.fail(AWAY), FaultyStore.hang], ids=["refuses", "hangs"])
async def test_publishers_are_blocked_in_an_outage_and_nothing_is_lost(
    begin: Begin, outage: Callable[[FaultyStore], None]
) -> None:
    store = FaultyStore()
    async with running(begin(store)) as it:
        await it.started
        publisher, consumer = await it.connect(), await it.connect()
        await publisher.call(QueueDeclare(queue="q", durable=True), QueueDeclareOk)
        await publisher.call(ConfirmSelect(), ConfirmSelectOk)
        outage(store)
        publisher.publish("q", b"1", b"2")
        await until_down(it, publisher)
        publisher.publish("q", b"3")
        await publisher.expect(ConnectionBlocked)
        publisher.publish("q", b"4", b"5")
        await consumer.call(BasicConsume(queue="q", no_ack=True), BasicConsumeOk)
        for _ in range(2):  # nothing is read behind the header of the first message that is published in an alarm
            await consumer.expect(BasicDeliver)
        store.heal()
        await publisher.expect(ConnectionUnblocked)
        await publisher.confirmed(5)
        for _ in range(3):
            await consumer.expect(BasicDeliver)
        assert [content.body for content in consumer.peer.received_content()] == [b"1", b"2", b"3", b"4", b"5"]
        state = it.node.store_state
        assert (state.is_up, state.outages) == (True, 1)


async def client_with_a_queue(it: Running) -> Client:
    """Wait for the start, connect and declare the durable queue `q`."""
    await it.started
    client = await it.connect()
    await client.call(QueueDeclare(queue="q", durable=True), QueueDeclareOk)
    return client


async def until_down(it: Running, client: Client) -> None:
    """Return when the node knows that its store is away; other clients are served meanwhile."""
    while it.node.store_state.is_up:
        await client.call(QueueDeclare(queue="q", passive=True), QueueDeclareOk)


async def test_publishers_that_flood_are_stopped_and_take_bounded_memory(begin: Begin) -> None:
    store = FaultyStore()
    async with running(begin(store)) as it:
        other = await client_with_a_queue(it)
        store.hang()
        publishers = [await it.connect() for _ in range(4)]
        burst = command(1, BasicPublish(routing_key="q"), PERSISTENT, b"x" * 60_000) * 20
        async with asyncio.TaskGroup() as floods:
            flooding = [floods.create_task(publisher.flood(burst)) for publisher in publishers]
            for publisher in publishers:
                await publisher.expect(ConnectionBlocked)
            accepted = await other.call(QueueDeclare(queue="q", passive=True), QueueDeclareOk)
            assert accepted.message_count * 60_000 < 68 * MIB
            for flood in flooding:
                flood.cancel()
        store.heal()


async def test_a_store_that_is_broken_for_good_ends_the_node(begin: Begin) -> None:
    store = FaultyStore()
    async with running(begin(store)) as it:
        client = await client_with_a_queue(it)
        store.fail(StoreError("database disk image is malformed"))
        client.publish("q", b"m")
        assert "malformed" in repr(await it.ended)
    assert not store.is_open


# The end


async def test_a_node_that_is_to_stop_does_not_wait_for_ever(begin: Begin) -> None:
    store = FaultyStore()
    async with running(begin(store)) as it:
        client = await client_with_a_queue(it)
        store.hang()
        client.publish("q", b"m")
        await until_down(it, client)
        it.node.stop()
        await client.expect(ConnectionClose)
        await client.close()
        assert "away when the node was to stop" in repr(await it.ended)
    assert not store.is_open


async def test_a_node_that_is_to_stop_waits_a_moment_for_its_store(begin: Begin) -> None:
    store = FaultyStore()
    async with running(begin(store)) as it:
        client = await client_with_a_queue(it)
        store.fail(AWAY)
        client.publish("q", b"m")
        await store.until("write", errors=1)
        it.node.stop()
        await client.expect(ConnectionClose)
        await client.close()
        store.heal()
        assert await it.ended is None
    assert store.calls["resign"] == 1


# A store that has lost commits


async def test_clients_are_told_which_confirms_are_void_and_the_node_goes_on_from_what_is_there(begin: Begin) -> None:
    store = FaultyStore()
    async with running(begin(store)) as it:
        await it.started
        client = await it.connect()
        await client.call(QueueDeclare(queue="q", durable=True), QueueDeclareOk)
        await client.call(ConfirmSelect(), ConfirmSelectOk)
        lost = "the database has lost 2 batches that it had committed from 10:00:00 to 10:00:01 UTC"
        store.fail(StoreWentBack(lost), "write")
        client.publish("q", b"a")

        close = await client.expect(ConnectionClose)
        store.heal()
        await it.began_anew.wait()
        again = await it.connect()
        await again.call(ConfirmSelect(), ConfirmSelectOk)
        again.publish("q", b"b")
        await again.confirmed(1)

    assert (close.reply_code, close.reply_text) == (320, f"CONNECTION_FORCED - {lost}")
