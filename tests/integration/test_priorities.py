"""Priorities of messages over kill -9 and restarts, in memory and in slots, on each engine (contract F9)."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from contextlib import closing
from pathlib import Path

import pika
from pika.adapters.blocking_connection import BlockingChannel

from benchmarks.nodes.process import BrokerProcess
from broker.ports.levels import level_of
from tests.cluster.clients import consume
from tests.integration.channels import OpenChannel, channel_of
from tests.integration.engines import broker

__all__ = ["broker", "channel_of"]

COUNT = 2000
PRIORITIES = 5


def declare(channel: BlockingChannel) -> None:
    channel.queue_declare("q", durable=True, arguments={"x-max-priority": PRIORITIES})


def publish(channel: BlockingChannel, count: int, padding: int = 0) -> list[bytes]:
    """Publish messages whose priorities go round; return their bodies in the order in which they are to come."""
    levels: dict[int, list[bytes]] = defaultdict(list)
    channel.tx_select()
    for number in range(count):
        priority = number % (PRIORITIES + 2)  # one of them is above the highest
        body = b"%d" % number + bytes(padding)
        channel.basic_publish("", "q", body, pika.BasicProperties(delivery_mode=2, priority=priority))
        levels[min(priority, PRIORITIES)].append(body)
        if number % 300 == 299:
            channel.tx_commit()
    channel.tx_commit()
    return [body for priority in sorted(levels, reverse=True) for body in levels[priority]]


def test_priorities_hold_after_a_kill(broker: BrokerProcess, channel_of: OpenChannel) -> None:
    channel = channel_of(broker)
    declare(channel)
    expected = publish(channel, COUNT)
    broker.kill9()
    broker.start()
    channel = channel_of(broker)
    assert channel.queue_declare("q", passive=True).method.message_count == COUNT
    assert consume(channel, "q", prefetch=100).wait(COUNT) == expected
    assert channel.queue_declare("q", passive=True).method.message_count == 0


def test_what_does_not_fit_into_memory_comes_by_priority(broker: BrokerProcess, channel_of: OpenChannel) -> None:
    channel = channel_of(broker)
    declare(channel)
    expected = publish(channel, COUNT, padding=20_000)
    consumer = consume(channel_of(broker), "q", prefetch=20)
    consumer.wait(COUNT // 2)
    assert consumer.bodies == expected[: len(consumer.taken)]
    consumer.cancel()
    broker.stop()
    broker.start()
    there = consume(channel_of(broker), "q", prefetch=20)
    there.wait(COUNT - len(consumer.taken))
    assert there.bodies == expected[len(consumer.taken) :]


def test_a_deleted_queue_leaves_nothing_of_any_level(broker: BrokerProcess, channel_of: OpenChannel) -> None:
    channel = channel_of(broker)
    declare(channel)
    publish(channel, 500)
    assert channel.queue_purge("q").method.message_count == 500
    publish(channel, 500)
    assert channel.queue_delete("q").method.message_count == 500
    broker.stop()
    broker.start()
    assert '"messages": 0, "event": "stopped"' in broker.log
    assert "unknown queue" not in broker.log


def test_a_queue_of_an_earlier_version_has_priorities_for_what_comes(tmp_path: Path, channel_of: OpenChannel) -> None:
    """Earlier versions stored all messages under the id of the queue."""
    broker = BrokerProcess(tmp_path)
    broker.start()
    channel = channel_of(broker)
    declare(channel)
    publish(channel, 14)
    broker.stop()
    with closing(sqlite3.connect(tmp_path / "data" / "mb.db")) as database, database:
        ids = [row[0] for row in database.execute("SELECT DISTINCT QUEUE_ID FROM MB_METADATA")]
        assert sorted(map(level_of, ids)) == list(range(PRIORITIES + 1))
        database.execute("UPDATE MB_METADATA SET QUEUE_ID = QUEUE_ID % (1 << 40)")
    broker.start()
    channel = channel_of(broker)
    later = publish(channel, 7)
    before = [b"%d" % number for number in range(14)]
    assert consume(channel, "q").wait(21) == [*later[:6], *before, *later[6:]]
    broker.stop()
