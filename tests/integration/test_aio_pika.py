"""aio-pika as its documentation shows it, with robust connections that outlive a restart and a kill -9."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from operator import methodcaller

import aio_pika
import pytest
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage, AbstractRobustConnection
from aio_pika.exceptions import (
    ChannelNotFoundEntity,
    ChannelPreconditionFailed,
    ProbableAuthenticationError,
    PublishError,
)

from benchmarks.nodes.process import BrokerProcess

UniqueName = Callable[[str], str]


@pytest.fixture
async def channel(amqp_url: str) -> AsyncIterator[AbstractChannel]:
    connection = await aio_pika.connect(amqp_url)
    async with connection:
        yield await connection.channel()


async def test_a_confirmed_publish_is_there_to_get(channel: AbstractChannel, unique: UniqueName) -> None:
    queue = await channel.declare_queue(unique("orders"), exclusive=True)
    message = aio_pika.Message(
        b"hello", delivery_mode=aio_pika.DeliveryMode.PERSISTENT, headers={"n": 1, "list": [1, "two", None]}
    )
    confirmation = await channel.default_exchange.publish(message, queue.name)
    received = await queue.get(timeout=10)
    assert confirmation is not None
    assert (received.body, received.redelivered) == (b"hello", False)
    assert received.headers == {"n": 1, "list": [1, "two", None]}
    await received.ack()
    assert await queue.get(fail=False) is None


async def test_many_publishes_are_confirmed_at_once(channel: AbstractChannel, unique: UniqueName) -> None:
    queue = await channel.declare_queue(unique("orders"), durable=True)
    exchange = channel.default_exchange
    async with asyncio.timeout(30):
        await asyncio.gather(
            *(exchange.publish(aio_pika.Message(b"%d" % number, delivery_mode=2), queue.name) for number in range(200))
        )
    declared = await channel.declare_queue(queue.name, passive=True)
    assert declared.declaration_result.message_count == 200
    await queue.delete(if_empty=False)


async def test_an_unroutable_message_is_a_publish_error(amqp_url: str, unique: UniqueName) -> None:
    async with await aio_pika.connect(amqp_url) as connection:
        channel = await connection.channel(on_return_raises=True)
        with pytest.raises(PublishError):
            await channel.default_exchange.publish(aio_pika.Message(b"hello"), unique("nowhere"), mandatory=True)


async def test_the_queue_iterator_processes_messages_in_order(channel: AbstractChannel, unique: UniqueName) -> None:
    queue = await channel.declare_queue(unique("orders"), exclusive=True)
    await channel.set_qos(prefetch_count=3)
    for number in range(10):
        await channel.default_exchange.publish(aio_pika.Message(b"%d" % number), queue.name)
    received = []
    async with asyncio.timeout(20), queue.iterator() as messages:
        async for message in messages:
            async with message.process():
                received.append(int(message.body))
            if len(received) == 10:
                break
    assert received == list(range(10))


async def test_a_failing_process_block_rejects_or_requeues(channel: AbstractChannel, unique: UniqueName) -> None:
    queue = await channel.declare_queue(unique("orders"), exclusive=True)
    await channel.default_exchange.publish(aio_pika.Message(b"hello"), queue.name)
    with pytest.raises(ZeroDivisionError):
        async with (await queue.get(timeout=10)).process(requeue=True):
            _ = 1 / 0
    again = await queue.get(timeout=10)
    assert again.redelivered
    await again.reject()
    assert await queue.get(fail=False) is None


async def test_a_transaction_commits_or_rolls_back(amqp_url: str, unique: UniqueName) -> None:
    async with await aio_pika.connect(amqp_url) as connection:
        observer = await connection.channel()
        queue = await observer.declare_queue(unique("orders"), exclusive=True)
        channel = await connection.channel(publisher_confirms=False)
        async with channel.transaction():
            await channel.default_exchange.publish(aio_pika.Message(b"kept"), queue.name)
            before = await queue.get(fail=False)
        transaction = channel.transaction()
        await transaction.select()
        await channel.default_exchange.publish(aio_pika.Message(b"dropped"), queue.name)
        await transaction.rollback()
        assert before is None
        assert (await queue.get(timeout=10, no_ack=True)).body == b"kept"
        assert await queue.get(fail=False) is None


async def test_errors_are_exceptions(amqp_url: str, unique: UniqueName) -> None:
    async with await aio_pika.connect(amqp_url) as connection:
        with pytest.raises(ChannelNotFoundEntity, match=r"no queue 'no\.such\.queue' in vhost '/'"):
            await (await connection.channel()).get_queue("no.such.queue")
        channel = await connection.channel()
        name = unique("brief")
        await channel.declare_queue(name, auto_delete=True)
        with pytest.raises(ChannelPreconditionFailed, match="inequivalent arg 'durable'"):
            await channel.declare_queue(name, durable=True, auto_delete=True)


async def test_a_wrong_password_is_an_authentication_error(amqp_url: str) -> None:
    with pytest.raises(ProbableAuthenticationError):
        await aio_pika.connect(amqp_url.replace("guest:guest", "guest:wrong"))


class Survivor:
    """A robust connection that consumes a durable queue, and knows when it has reconnected."""

    def __init__(self) -> None:
        self.received: asyncio.Queue[bytes] = asyncio.Queue()
        self.reconnected = asyncio.Event()
        self.connection: AbstractRobustConnection

    async def start(self, url: str, name: str) -> AbstractChannel:
        self.connection = await aio_pika.connect_robust(url, reconnect_interval=0.1)
        self.connection.reconnect_callbacks.add(lambda *_: self.reconnected.set())
        channel = await self.connection.channel()
        queue = await channel.declare_queue(name, durable=True)
        await queue.consume(self._on_message)
        return channel

    async def _on_message(self, message: AbstractIncomingMessage) -> None:
        async with message.process():
            self.received.put_nowait(message.body)


@pytest.mark.parametrize("end", [methodcaller("stop"), methodcaller("kill9")], ids=["SIGTERM", "kill -9"])
async def test_a_robust_connection_goes_on_after_the_broker_came_back(
    own_broker: BrokerProcess, unique: UniqueName, end: Callable[[BrokerProcess], object]
) -> None:
    survivor, name = Survivor(), unique("orders")
    channel = await survivor.start(own_broker.url, name)
    async with asyncio.timeout(60):
        await channel.default_exchange.publish(aio_pika.Message(b"before", delivery_mode=2), name)
        first = await survivor.received.get()
        await asyncio.to_thread(end, own_broker)
        await asyncio.to_thread(own_broker.start)
        await survivor.reconnected.wait()
        await channel.default_exchange.publish(aio_pika.Message(b"after", delivery_mode=2), name)
        second = await survivor.received.get()
        while second == b"before":
            second = await survivor.received.get()
    await survivor.connection.close()
    assert (first, second) == (b"before", b"after")


async def test_confirmed_messages_survive_kill_9(own_broker: BrokerProcess, unique: UniqueName) -> None:
    name = unique("orders")
    async with await aio_pika.connect(own_broker.url) as connection:
        channel = await connection.channel()
        await channel.declare_queue(name, durable=True)
        await asyncio.gather(
            *(
                channel.default_exchange.publish(aio_pika.Message(b"%d" % number, delivery_mode=2), name)
                for number in range(100)
            )
        )
        await asyncio.to_thread(own_broker.kill9)
    await asyncio.to_thread(own_broker.start)
    async with await aio_pika.connect(own_broker.url) as connection:
        queue = await (await connection.channel()).declare_queue(name, passive=True)
        bodies = [(await queue.get(timeout=10, no_ack=True)).body for _ in range(100)]
        assert sorted(map(int, bodies)) == list(range(100))
        assert await queue.get(fail=False) is None
