"""Connections and channels as pika's documentation makes them, shared by the pika tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import monotonic

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel

Connect = Callable[[], pika.BlockingConnection]


def process_until(connection: pika.BlockingConnection, is_done: Callable[[], bool], deadline: float = 20.0) -> None:
    """Let pika handle what arrives until `is_done`; fail after `deadline` seconds."""
    until = monotonic() + deadline
    while not is_done():
        left = until - monotonic()
        assert left > 0, f"nothing happened for {deadline} s"
        connection.process_data_events(time_limit=left)


@pytest.fixture
def connect(amqp_url: str) -> Iterator[Connect]:
    """Opens connections that are closed after the test."""
    opened: list[pika.BlockingConnection] = []

    def open_connection() -> pika.BlockingConnection:
        opened.append(pika.BlockingConnection(pika.URLParameters(amqp_url)))
        return opened[-1]

    yield open_connection
    for connection in opened:
        if connection.is_open:
            connection.close()


@pytest.fixture
def connection(connect: Connect) -> pika.BlockingConnection:
    return connect()


@pytest.fixture
def channel(connection: pika.BlockingConnection) -> BlockingChannel:
    return connection.channel()


@pytest.fixture
def queue(channel: BlockingChannel) -> str:
    """A queue that goes with the connection."""
    return str(channel.queue_declare("", exclusive=True).method.queue)
