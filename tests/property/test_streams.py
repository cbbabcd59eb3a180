"""Streams over crashes: what was confirmed stays at its offset, and an offset that was seen means one message for ever.

A node without sockets on a SQLite store is crashed at any moment, by a seeded chance; the trace of a seed that fails is
the same again.
"""

from __future__ import annotations

from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import pytest

from broker.codec import methods as amqp
from broker.codec.field_table import FieldTable
from broker.codec.properties import BasicProperties
from broker.queue.settings import QueueLimits
from broker.store.journal_limits import JournalLimits
from broker.store.sqlite.store import SqliteStore
from tests.support.node_in_process import Client, NodeInProcess, UnhurriedStore, turns

SEEDS = 2
MANY = 60
LIFE = 60
LIVES = 4
STREAM = FieldTable.of({"x-queue-type": "stream"})


class Watched:
    """What clients of one stream have seen in all lives of its node."""

    def __init__(self, path: Path, chance: Random) -> None:
        self._path = path
        self._chance = chance
        self._clock = count()
        self._number = 0
        self.confirmed: set[bytes] = set()
        self.seen: dict[int, bytes] = {}
        """The bodies by offset, whoever has read them."""
        self.node: NodeInProcess
        self._waiting: list[bytes] = []
        self._publisher: Client
        self._readers: list[tuple[Client, int | None]] = []
        self._published = 0

    async def begin(self) -> None:
        store: Any = UnhurriedStore(SqliteStore(self._path), self._chance.randint(0, 3))
        limits = QueueLimits(memory=self._chance.choice((20_000, 1_000_000)))
        self.node = NodeInProcess(store, queue_limits=limits, journal_limits=JournalLimits(), clock=self._clock)
        await self.node.open()
        await self.node.start()
        self._publisher = self.node.connect()
        self._publisher.send(1, amqp.ChannelOpen())
        self._publisher.send(1, amqp.QueueDeclare(queue="s", durable=True, arguments=STREAM))
        await self.settle()
        self._publisher.send(1, amqp.ConfirmSelect())
        self._publisher.receive()
        self._waiting, self._published, self._readers = [], 0, []

    async def settle(self) -> None:
        while await self.node.step():
            pass

    def publish(self) -> None:
        self._number += 1
        body = b"%d " % self._number + b"x" * self._chance.choice((0, 10, 3000))
        self._waiting.append(body)
        mode = self._chance.choice((1, 2))
        self._publisher.send(1, amqp.BasicPublish(routing_key="s"), BasicProperties(delivery_mode=mode), body)

    def read_from(self, start: object) -> None:
        client = self.node.connect()
        client.send(1, amqp.ChannelOpen())
        client.send(1, amqp.BasicQos(0, self._chance.choice((1, 7, 100)), False))
        client.send(1, amqp.BasicConsume(queue="s", arguments=FieldTable.of({"x-stream-offset": start})))
        self._readers.append((client, None))

    @property
    def last_read(self) -> int:
        """The last offset that the last reader has got; -1 before the first."""
        last = self._readers[-1][1]
        return -1 if last is None else last

    def hear(self) -> None:
        """Take what has come to everybody, and compare it with what was seen before."""
        for _, method, _ in self._publisher.receive():
            if isinstance(method, amqp.BasicAck):
                done = method.delivery_tag - self._published
                self.confirmed.update(self._waiting[:done])
                self._waiting, self._published = self._waiting[done:], method.delivery_tag
        for place, (client, last) in enumerate(self._readers):
            for _, method, content in client.receive():
                if not isinstance(method, amqp.BasicDeliver):
                    continue
                assert content is not None
                assert content.properties.headers is not None
                offset = content.properties.headers.values["x-stream-offset"]
                assert self.seen.setdefault(offset, content.body) == content.body
                assert last is None or offset == last + 1
                last = offset
                client.send(1, amqp.BasicAck(method.delivery_tag, True))
            self._readers[place] = client, last


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(SEEDS, MANY))
async def test_sixty_streams_survive_four_crashes_each(tmp_path: Path, seed: int) -> None:
    await _survive(tmp_path, seed)


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_offsets_and_confirmed_messages_survive_crashes_at_any_moment(tmp_path: Path, seed: int) -> None:
    await _survive(tmp_path, seed)


async def _survive(tmp_path: Path, seed: int) -> None:
    chance = Random(seed)
    watched = Watched(tmp_path / "store", chance)
    for _ in range(LIVES):
        await watched.begin()
        for _ in range(LIFE):
            match chance.randrange(8):
                case 0:
                    watched.read_from(chance.choice(["first", "last", "next", chance.randrange(30)]))
                    await turns(1)
                case 1:
                    await watched.settle()
                case 2:
                    await watched.node.step()
                case _:
                    watched.publish()
            watched.hear()
        await watched.node.crash()
    await watched.begin()
    watched.read_from("first")
    place = None
    while place is None or place < watched.last_read:
        place = watched.last_read
        for _ in range(10):
            await watched.settle()
            watched.hear()
    await watched.node.crash()
    assert sorted(watched.seen) == list(range(len(watched.seen)))
    assert watched.confirmed <= set(watched.seen.values())
    assert len(set(watched.seen.values())) == len(watched.seen)
    assert watched.confirmed
