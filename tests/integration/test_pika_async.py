"""pika's callback connections and heartbeats."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pika
from pika.adapters.asyncio_connection import AsyncioConnection

TOTAL = 500


class Flow:
    """Declares, publishes with confirms, consumes and acknowledges, all in callbacks."""

    def __init__(self, queue: str, on_done: Callable[[], None]) -> None:
        self.queue = queue
        self.confirmed: set[int] = set()
        self.received: list[int] = []
        self.failure: object = None
        self._on_done = on_done
        self._channel: Any = None

    def on_open(self, connection: Any) -> None:
        connection.channel(on_open_callback=self._on_channel)

    def on_failure(self, _: Any, reason: object) -> None:
        if not self._is_complete():
            self.failure = reason
            self._on_done()

    def _on_channel(self, channel: Any) -> None:
        self._channel = channel
        channel.add_on_close_callback(self.on_failure)
        channel.confirm_delivery(self._on_confirm, callback=lambda _: self._declare())

    def _declare(self) -> None:
        self._channel.queue_declare(self.queue, exclusive=True, callback=lambda _: self._start())

    def _start(self) -> None:
        self._channel.basic_consume(self.queue, self._on_message)
        for number in range(TOTAL):
            self._channel.basic_publish("", self.queue, b"%d" % number)

    def _on_confirm(self, frame: Any) -> None:
        assert isinstance(frame.method, pika.spec.Basic.Ack)
        tag = frame.method.delivery_tag
        self.confirmed.update(range(1, tag + 1) if frame.method.multiple else [tag])
        self._check()

    def _on_message(self, channel: Any, method: Any, _: Any, body: bytes) -> None:
        self.received.append(int(body))
        channel.basic_ack(method.delivery_tag)
        self._check()

    def _check(self) -> None:
        if self._is_complete():
            self._on_done()

    def _is_complete(self) -> bool:
        return len(self.received) == TOTAL == len(self.confirmed)


def test_a_select_connection_confirms_and_delivers_everything_in_order(
    amqp_url: str, unique: Callable[[str], str]
) -> None:
    flow = Flow(unique("select"), lambda: connection.ioloop.stop())
    connection = pika.SelectConnection(
        pika.URLParameters(amqp_url), on_open_callback=flow.on_open, on_open_error_callback=flow.on_failure
    )
    connection.ioloop.call_later(30, connection.ioloop.stop)
    connection.ioloop.start()
    assert (flow.failure, flow.received) == (None, list(range(TOTAL)))
    assert flow.confirmed == set(range(1, TOTAL + 1))
    connection.add_on_close_callback(lambda *_: connection.ioloop.stop())
    connection.close()
    connection.ioloop.start()
    connection.ioloop.close()


async def test_an_asyncio_connection_confirms_and_delivers_everything_in_order(
    amqp_url: str, unique: Callable[[str], str]
) -> None:
    done, closed = asyncio.Event(), asyncio.Event()
    flow = Flow(unique("asyncio"), done.set)
    connection = AsyncioConnection(
        pika.URLParameters(amqp_url),
        on_open_callback=flow.on_open,
        on_open_error_callback=flow.on_failure,
        on_close_callback=lambda *_: closed.set(),
    )
    async with asyncio.timeout(30):
        await done.wait()
    assert (flow.failure, flow.received) == (None, list(range(TOTAL)))
    connection.close()
    async with asyncio.timeout(10):
        await closed.wait()


def test_the_clients_heartbeat_wins_and_the_broker_keeps_it(amqp_url: str) -> None:
    offered: list[int] = []
    parameters = pika.URLParameters(amqp_url)
    parameters.heartbeat = lambda _, server: (offered.append(server), 1)[1]
    connection = pika.BlockingConnection(parameters)
    channel = connection.channel()
    # Three silent intervals: pika drops a broker that sends nothing for two.
    connection.process_data_events(time_limit=3.2)
    assert channel.queue_declare("", exclusive=True).method.message_count == 0
    assert offered[0] > 0
    connection.close()


def test_a_connection_may_switch_heartbeats_off(amqp_url: str) -> None:
    parameters = pika.URLParameters(amqp_url)
    parameters.heartbeat = 0
    connection = pika.BlockingConnection(parameters)
    assert connection.channel().is_open
    connection.close()


def test_the_broker_announces_what_clients_depend_on(amqp_url: str) -> None:
    connection = pika.BlockingConnection(pika.URLParameters(amqp_url))
    assert connection.publisher_confirms_supported
    assert connection.exchange_exchange_bindings_supported
    assert connection.basic_nack_supported
    assert connection.consumer_cancel_notify_supported
    connection.update_secret("guest", "renewed")
    connection.close()
