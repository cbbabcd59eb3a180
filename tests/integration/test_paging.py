"""Backlogs larger than the memory of a queue come out complete and in order (ADR 6; invariant I12, I31)."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel

from benchmarks.nodes.process import BrokerProcess
from tests.integration.channels import OpenChannel, channel_of, leaving, restart
from tests.integration.conftest import EXTERNAL_URL

__all__ = ["channel_of"]

SMALL_MEMORY = """\
import functools, sys
import broker.node.incarnation
from broker.__main__ import main
from broker.queue.settings import QueueLimits
broker.node.incarnation.QueueLimits = functools.partial(QueueLimits, memory=1 << 20, transient_memory=1 << 20)
sys.exit(main(sys.argv[1:]))
"""
BATCH = 1000


@pytest.fixture
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    """A broker whose queues keep a mebibyte in memory."""
    if EXTERNAL_URL:
        pytest.skip("needs a broker with little memory")
    process = BrokerProcess(tmp_path_factory.mktemp("paging"), command=(sys.executable, "-c", SMALL_MEMORY))
    process.start()
    yield process
    print(process.log)
    if process.is_running():
        process.stop()


def body(number: int, size: int) -> bytes:
    return f"{number:08d}".encode().ljust(size, b".")


def publish(
    channel: BlockingChannel, queue: str, count: int, size: int, mode: pika.DeliveryMode, start: int = 0
) -> None:
    properties = pika.BasicProperties(delivery_mode=mode.value)
    channel.tx_select()
    for number in range(start, start + count):
        channel.basic_publish("", queue, body(number, size), properties)
        if number % BATCH == BATCH - 1:
            channel.tx_commit()
    channel.tx_commit()


def waiting(channel: BlockingChannel, queue: str) -> int:
    return int(channel.queue_declare(queue, passive=True).method.message_count)


def drain(channel: BlockingChannel, queue: str, count: int, size: int) -> list[bool]:
    """Take `count` messages, which must come whole and in order; return their redelivered flags."""
    channel.basic_qos(prefetch_count=500)
    flags: list[bool] = []
    for method, _, octets in channel.consume(queue, inactivity_timeout=20):
        assert method is not None, f"nothing came after {len(flags)} messages"
        assert octets == body(len(flags), size)
        flags.append(method.redelivered)
        if len(flags) % 250 == 0 or len(flags) == count:
            channel.basic_ack(method.delivery_tag, multiple=True)
        if len(flags) == count:
            break
    channel.cancel()
    return flags


def test_a_persistent_backlog_is_drained_completely_and_in_order(
    broker: BrokerProcess, channel_of: OpenChannel
) -> None:
    channel = channel_of(broker)
    channel.queue_declare("backlog", durable=True)
    publish(channel, "backlog", 30_000, 1024, pika.DeliveryMode.Persistent)
    assert waiting(channel, "backlog") == 30_000
    assert not any(drain(channel_of(broker), "backlog", 30_000, 1024))
    assert waiting(channel, "backlog") == 0


def test_a_transient_backlog_spills_into_the_store_and_is_drained_in_order(
    broker: BrokerProcess, channel_of: OpenChannel
) -> None:
    channel = channel_of(broker)
    channel.queue_declare("spilled")
    publish(channel, "spilled", 10_000, 1024, pika.DeliveryMode.Transient)
    assert waiting(channel, "spilled") == 10_000
    assert not any(drain(channel_of(broker), "spilled", 10_000, 1024))
    assert waiting(channel, "spilled") == 0


def test_messages_published_while_a_backlog_is_drained_come_after_it(
    broker: BrokerProcess, channel_of: OpenChannel
) -> None:
    channel = channel_of(broker)
    channel.queue_declare("busy", durable=True)
    publish(channel, "busy", 5000, 1024, pika.DeliveryMode.Persistent)
    consumer = channel_of(broker)
    consumer.basic_qos(prefetch_count=100)
    numbers: list[int] = []
    for method, _, octets in consumer.consume("busy", inactivity_timeout=20):
        assert method is not None
        numbers.append(int(octets[:8]))
        consumer.basic_ack(method.delivery_tag)
        if len(numbers) == 2000:
            publish(channel, "busy", 2000, 1024, pika.DeliveryMode.Persistent, start=5000)
        if len(numbers) == 7000:
            break
    assert numbers == list(range(7000))


def test_a_purged_backlog_is_gone_and_the_queue_goes_on(broker: BrokerProcess, channel_of: OpenChannel) -> None:
    channel = channel_of(broker)
    channel.queue_declare("purged", durable=True)
    publish(channel, "purged", 5000, 1024, pika.DeliveryMode.Persistent)
    assert channel.queue_purge("purged").method.message_count == 5000
    publish(channel, "purged", 3000, 1024, pika.DeliveryMode.Persistent)
    restart(broker, channel)
    again = channel_of(broker)
    assert waiting(again, "purged") == 3000
    assert not any(drain(again, "purged", 3000, 1024))


def test_exclusive_queues_with_a_backlog_in_the_store_do_not_keep_the_broker_from_stopping(
    broker: BrokerProcess, channel_of: OpenChannel
) -> None:
    channel = channel_of(broker)
    for name in ("mine", "mine too", "mine as well"):
        channel.queue_declare(name, exclusive=True)
        publish(channel, name, 3000, 1024, pika.DeliveryMode.Transient)
    assert broker.stop(then=leaving(channel)) == 0
