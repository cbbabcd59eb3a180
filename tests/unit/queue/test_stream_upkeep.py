"""What is done about streams beside consuming them: retention when it is due, places, news of other nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from broker.codec.field_table import FieldTable
from broker.errors import StoreUnavailable
from broker.ports.streams import ReaderPlace, StreamBounds, TrimRule
from broker.queue.stream_queue import StreamQueue
from broker.queue.stream_reader import StreamReader
from broker.queue.stream_upkeep import SEGMENTS_AT_ONCE, StreamUpkeep
from tests.support.composition import new_queue
from tests.support.stage import drive

NOW_MS = 1_900_000_000_000


@dataclass
class Store:
    """A store of streams that notes what it is asked, and deletes as much as it is told to."""

    bounds: dict[int, StreamBounds] = field(default_factory=dict)
    excess: list[int] = field(default_factory=list)
    trims: list[tuple[int, TrimRule]] = field(default_factory=list)
    places: dict[ReaderPlace, int] = field(default_factory=dict)
    asked: list[list[int]] = field(default_factory=list)
    is_away: bool = False

    async def stream_bounds(self, queue_ids: Sequence[int]) -> Mapping[int, StreamBounds]:
        self.asked.append(list(queue_ids))
        return {each: self.bounds[each] for each in queue_ids if each in self.bounds}

    async def trim_stream(self, queue_id: int, rule: TrimRule, limit: int) -> int:
        self.trims.append((queue_id, rule))
        return min(self.excess.pop(0), limit) if self.excess else 0

    async def keep_places(self, places: Mapping[ReaderPlace, int]) -> None:
        if self.is_away:
            raise StoreUnavailable("away")
        self.places |= places


class Node:
    """Streams on one node, and what looks after them."""

    def __init__(self, *streams: StreamQueue, store: Store, is_shared: bool = False, tells_length: bool = True) -> None:
        self.now = NOW_MS
        self.woken: list[StreamQueue] = []
        no_tasks: Any = None
        any_store: Any = store
        self.reader = StreamReader(any_store, no_tasks, wake=self.woken.append, tells_length=lambda: tells_length)
        self.upkeep = StreamUpkeep(
            any_store,
            self.reader,
            streams=lambda: streams,
            wake=self.woken.append,
            now_ms=lambda: self.now,
            is_shared=is_shared,
            tells_length=lambda: tells_length,
        )

    def step(self) -> None:
        drive(self.upkeep.step())


def stream(queue_id: int = 7, **arguments: Any) -> StreamQueue:
    table = {"x-queue-type": "stream"} | {f"x-{name.replace('_', '-')}": value for name, value in arguments.items()}
    storage: Any = None
    journal: Any = _Journal()
    made = new_queue("log", queue_id, arguments=FieldTable.of(table), storage=storage, journal=journal)
    assert isinstance(made, StreamQueue)
    return made


class _Journal:
    def append_to_stream(self, message: Any) -> None:
        raise AssertionError("nothing is published")


@pytest.fixture
def store() -> Store:
    return Store()


def test_a_stream_that_is_too_long_is_trimmed_and_measured_again(store: Store) -> None:
    log = stream(max_length_bytes=1000)
    log.learn(StreamBounds(0, 10, 1500))
    store.excess, store.bounds = [3], {7: StreamBounds(3, 10, 1100)}
    Node(log, store=store).step()
    assert store.trims == [(7, TrimRule(1000, None))]
    assert log.bounds == StreamBounds(3, 10, 1100)


def test_a_stream_within_its_length_costs_nothing(store: Store) -> None:
    log = stream(max_length_bytes=1000)
    log.learn(StreamBounds(0, 10, 1000))
    Node(log, stream(8), store=store).step()
    assert (store.trims, store.asked) == ([], [])


def test_what_is_much_too_long_is_trimmed_in_several_bounded_steps(store: Store) -> None:
    log = stream(max_length_bytes=1)
    log.learn(StreamBounds(0, 10, 1500))
    store.excess = [SEGMENTS_AT_ONCE, SEGMENTS_AT_ONCE, 5, 7]
    Node(log, store=store).step()
    assert store.excess == [7]


def test_the_age_of_a_stream_is_looked_at_now_and_then(store: Store) -> None:
    log = stream(max_age="100s")
    log.learn(StreamBounds(0, 10, 1500))
    node = Node(log, store=store)
    for _ in range(11):
        node.step()
        node.now += 1000
    looked = [NOW_MS, NOW_MS + 5000, NOW_MS + 10_000]
    assert [rule.before_ms for _, rule in store.trims] == [now - 100_000 for now in looked]


def test_one_node_alone_sees_to_retention(store: Store) -> None:
    log = stream(max_length_bytes=1)
    log.learn(StreamBounds(0, 10, 1500))
    Node(log, store=store, is_shared=True, tells_length=False).step()
    assert store.trims == []


def test_nodes_of_a_cluster_learn_how_long_streams_are(store: Store) -> None:
    log = stream()
    store.bounds = {7: StreamBounds(2, 9, 100)}
    Node(log, store=store, is_shared=True).step()
    assert log.message_count == 7


def test_places_are_written_and_those_that_could_not_be_are_tried_again(store: Store) -> None:
    log = stream()
    node = Node(log, store=store)
    node.reader.keep(log, "reader", 5)
    store.is_away = True
    node.step()
    assert (store.places, drive(node.reader.place(log, "reader"))) == ({}, 5)
    store.is_away = False
    node.reader.keep(log, "reader", 6)
    node.step()
    assert store.places == {(7, "reader"): 6}
    store.places.clear()
    node.step()
    assert store.places == {}
