"""Channels to brokers that stop and start again while clients are connected."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPError, ConnectionClosedByBroker

from benchmarks.nodes.process import BrokerProcess

OpenChannel = Callable[[BrokerProcess], BlockingChannel]


def restart(broker: BrokerProcess, *channels: BlockingChannel) -> None:
    """Restart a broker whose clients read: one that does not is waited for before it is cut off."""
    broker.restart(then=leaving(*channels))


def leaving(*channels: BlockingChannel) -> Callable[[], None]:
    """Return what clients do while their broker stops: they read that it does, and answer."""

    def leave() -> None:
        for channel in channels:
            with pytest.raises(ConnectionClosedByBroker, match="320"):
                channel.connection.sleep(60)

    return leave


@pytest.fixture
def channel_of() -> Iterator[OpenChannel]:
    """Opens a channel on a connection of its own, which ends with the test or with its broker."""
    connections: list[pika.BlockingConnection] = []

    def open_channel(broker: BrokerProcess) -> BlockingChannel:
        connections.append(pika.BlockingConnection(pika.URLParameters(broker.url)))
        return connections[-1].channel()

    yield open_channel
    for connection in connections:
        with suppress(AMQPError):
            connection.close()
