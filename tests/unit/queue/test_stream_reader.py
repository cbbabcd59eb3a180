"""Reading streams: one read of a stream at a time, and what was asked for meanwhile after it."""

from __future__ import annotations

from typing import Any

from broker.codec.field_table import FieldTable
from broker.ports.streams import StreamPage
from broker.queue.stream_queue import StreamQueue
from broker.queue.stream_reader import StreamReader
from tests.support.composition import new_queue
from tests.support.stage import Stage, turn


class Store:
    def __init__(self) -> None:
        self.reads: list[tuple[int, int, int]] = []
        self.under_way = self.most_under_way = 0

    async def read_stream(self, queue_id: int, offset: int, limit_octets: int) -> StreamPage:
        self.reads.append((queue_id, offset, limit_octets))
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        await turn()
        self.under_way -= 1
        return StreamPage((), offset)


class _Journal:
    append_to_stream = None


def stream(storage: Any, queue_id: int = 7) -> StreamQueue:
    arguments = FieldTable.of({"x-queue-type": "stream"})
    journal: Any = _Journal()
    made = new_queue("log", queue_id, arguments=arguments, storage=storage, journal=journal)
    assert isinstance(made, StreamQueue)
    return made


def test_reads_of_one_stream_follow_each_other() -> None:
    stage, store = Stage(), Store()
    woken: list[StreamQueue] = []
    tasks: Any = stage
    any_store: Any = store
    reader = StreamReader(any_store, tasks, wake=woken.append, tells_length=lambda: True)
    log = stream(reader)
    for offset in (0, 50, 99):
        reader.read(log, offset, 1000)
    for _ in range(5):
        stage.run()
    assert store.reads == [(7, 0, 1000), (7, 50, 1000), (7, 99, 1000)]
    assert (store.most_under_way, woken) == (1, [log, log, log])


def test_a_stream_that_is_deleted_is_not_read_on() -> None:
    stage, store = Stage(), Store()
    tasks: Any = stage
    any_store: Any = store
    reader = StreamReader(any_store, tasks, wake=lambda stream: None, tells_length=lambda: True)
    log = stream(reader)
    reader.read(log, 0, 1000)
    reader.read(log, 50, 1000)
    log.delete()
    stage.run()
    assert store.reads == []
