"""Every store does the same: one random history in all of them at once, and after each step one answer."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from broker.errors import StoreError
from broker.message import STORED, TRANSIENT, WRITING, Message, published_ms
from broker.ports.records import (
    BindingRecord,
    Change,
    Drop,
    ExchangeKey,
    ExchangeRecord,
    Put,
    QueueKey,
    QueueRecord,
    Topology,
    VirtualHostRecord,
)
from broker.ports.slot import Slot
from broker.ports.store import Batch, Store
from tests.contract.harness import LATEST, Queue, empty, expiring, memory_maker, message, server_maker, sqlite_maker
from tests.support.databases import DatabaseServer
from tests.support.machines import run_machine

QUEUES = (Queue(7), Queue(8))
NODES = ("node-a", "node-b")
NAMES = ("orders", "Orders", "orders ", "ordérs", "a\\b", "a\0b")

queues = st.sampled_from(QUEUES)
# The lane is in bits 10 to 17: these ids lie on lanes 0 and 1. No message has the id 0.
ids = st.builds(lambda time, lane, number: time << 18 | lane << 10 | number, *map(st.integers, (0, 0, 1), (3, 1, 9)))
sizes = st.sampled_from((0, 10, 900, 65_500, 65_501, 140_000))
names = st.sampled_from(NAMES)


def body_of(message_id: int, size: int) -> bytes:
    return (b"%d " % message_id * size)[:size]


def some_message(message_id: int, queue: Queue = QUEUES[0], body: bytes = b"", **options: Any) -> Message:
    """Return a message; two of three expire, and whether and when is told by the id."""
    ttl = (message_id & 1023) % 3
    if ttl:
        return expiring(message_id, ttl, queue, body, **options)
    return message(message_id, queue, body, **options)


def fields_of(messages: list[Message]) -> list[tuple[Any, ...]]:
    return [(m.due, m.id, m.content_id, m.redelivered, m.state, m.routing, m.header, m.payload) for m in messages]


class StoreMachine(RuleBasedStateMachine):
    """Rules over all stores; the subclass has what makes them."""

    new_makers: Callable[[Path], Mapping[str, Callable[[], Store]]]

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(prefix="store-machine-"))
        self.makers = type(self).new_makers(self.directory)
        self.loop = asyncio.new_event_loop()
        self.contents: dict[int, int] = {}
        self.content_sizes: dict[int, int] = {}
        """By content id: a broker never writes another body by the same one."""
        self.stores: dict[str, Store] = {}
        self.open("node-a")

    def open(self, node_id: str) -> None:
        self.stores = {name: make() for name, make in self.makers.items()}
        self.each(lambda store: store.open())
        self.each(lambda store: store.register(node_id))

    def teardown(self) -> None:
        self.each(lambda store: store.close())
        self.loop.close()
        shutil.rmtree(self.directory)

    def each(self, call: Callable[[Store], Coroutine[Any, Any, Any]]) -> Any:
        """Return the one answer of all stores; an error is an answer too."""

        async def ask(store: Store) -> Any:
            try:
                return await call(store)
            except StoreError:
                return StoreError

        answers = {name: self.loop.run_until_complete(ask(store)) for name, store in self.stores.items()}
        expected = answers["memory"]
        assert all(answer == expected for answer in answers.values()), answers
        return expected

    @rule(
        inserts=st.lists(st.tuples(ids, queues, sizes, st.booleans(), st.integers(0, 2)), max_size=6),
        deletes=st.lists(ids, max_size=6),
        purge=st.none() | st.tuples(queues, ids, ids, st.integers(0, 1)),
        high_water=st.integers(0, 4 << 18),
    )
    def write(
        self,
        inserts: list[tuple[int, Queue, int, bool, int]],
        deletes: list[int],
        purge: tuple[Queue, int, int, int] | None,
        high_water: int,
    ) -> None:
        inserts = [
            (each, queue, size if size <= 65_500 else self.content_sizes.setdefault(each, size), *rest)
            for each, queue, size, *rest in inserts
        ]

        def batch() -> Batch:
            made = Batch(high_water=high_water)
            for message_id, queue, size, is_transient, redelivered in inserts:
                state = TRANSIENT if is_transient else WRITING
                new = some_message(message_id, queue, body_of(message_id, size), state=state)
                new.redelivered = redelivered
                made.inserts.append(new)
            for message_id in deletes:
                # Whoever deletes a message has read or written it: it knows where the content is, and when it expires.
                old = some_message(message_id, content_id=self.contents.get(message_id, 0))
                made.deletes.append(old)
            if purge is not None:
                made.purges.append(Slot(purge[0].queue_id, purge[3], purge[1], purge[2], 0))
            return made

        if self.each(lambda store: store.write(batch())) is None:
            for message_id, _, size, _, _ in inserts:
                self.contents[message_id] = message_id if size > 65_500 else 0

    @rule(first=ids, second=ids, size=sizes)
    def share(self, first: int, second: int, size: int) -> None:
        def batch() -> Batch:
            body = body_of(first, self.content_sizes.setdefault(first, size))
            return Batch(inserts=[some_message(first, QUEUES[0], body, content_id=first), copy(second, body)])

        def copy(message_id: int, body: bytes) -> Any:
            return some_message(message_id, QUEUES[1], body, content_id=first)

        if self.contents.get(first, first) == first and self.each(lambda store: store.write(batch())) is None:
            self.contents |= {first: first, second: first}

    @rule(counts=st.dictionaries(ids, st.integers(1, 3), max_size=4), in_batch=st.booleans())
    def count_deliveries(self, counts: dict[int, int], in_batch: bool) -> None:
        counted = [message(message_id) for message_id in counts]
        for each in counted:
            each.redelivered = counts[each.id]
        self.each(lambda store: store.write(Batch(recounts=counted)) if in_batch else store.mark_redelivered(counted))

    @rule(
        changes=st.lists(
            st.one_of(
                st.builds(Put, st.builds(VirtualHostRecord, names)),
                st.builds(Drop, st.builds(VirtualHostRecord, names)),
                st.builds(
                    Put,
                    st.builds(ExchangeRecord, names, names, names, st.booleans(), st.booleans(), st.binary(max_size=5)),
                ),
                st.builds(Drop, st.builds(ExchangeKey, names, names)),
                st.builds(
                    Put,
                    st.builds(
                        BindingRecord,
                        names,
                        names,
                        st.sampled_from(("queue", "exchange")),
                        names,
                        names,
                        st.binary(max_size=3),
                    ),
                ),
                st.builds(
                    Drop,
                    st.builds(
                        BindingRecord,
                        names,
                        names,
                        st.sampled_from(("queue", "exchange")),
                        names,
                        names,
                        st.binary(max_size=3),
                    ),
                ),
            ),
            max_size=4,
        )
    )
    def record_some(self, changes: list[Change]) -> None:
        self.record(changes)

    def record(self, changes: list[Change]) -> None:
        self.each(lambda store: store.record(changes))

    @rule(queue=queues, vhost=names)
    def declare_queue(self, queue: Queue, vhost: str) -> None:
        record = QueueRecord(vhost, f"queue {queue.queue_id}", queue.queue_id, False, False, b"")
        there = [known.queue_id for known in self.loaded().of(QueueRecord)]
        if queue.queue_id not in there:
            self.each(lambda store: store.record([Put(record)]))

    @rule(queue=queues)
    def delete_queue(self, queue: Queue) -> None:
        for known in self.loaded().of(QueueRecord):
            if known.queue_id == queue.queue_id:
                self.record([Drop(QueueKey(known.vhost, known.name, known.queue_id))])

    @rule(count=st.integers(1, 2000))
    def reserve(self, count: int) -> None:
        self.each(lambda store: store.reserve_queue_ids(count))

    @rule(node_id=st.sampled_from(NODES), in_order=st.booleans())
    def restart(self, node_id: str, in_order: bool) -> None:
        if in_order:
            self.each(lambda store: store.resign())
        self.each(lambda store: store.close())
        self.open(node_id)

    @rule(queue=queues, start=ids, lane=st.integers(0, 1), limit=st.integers(0, 4), limit_bytes=sizes)
    def read_a_page(self, queue: Queue, start: int, lane: int, limit: int, limit_bytes: int) -> None:
        self.read(Slot(queue.queue_id, lane, start, LATEST, 0, transient=True), queue, limit, limit_bytes)

    @rule(queue=queues, until=ids, after=ids, limit=st.integers(0, 4), limit_bytes=sizes)
    def read_what_is_due(self, queue: Queue, until: int, after: int, limit: int, limit_bytes: int) -> None:
        async def ask(store: Store) -> list[tuple[Any, ...]]:
            return fields_of(
                await store.read_due(queue, published_ms(until), (published_ms(after), after), limit, limit_bytes)
            )

        self.each(ask)

    @invariant()
    def everything_is_the_same(self) -> None:
        async def backlog(store: Store) -> list[Slot]:
            return sorted(await store.backlog(), key=lambda slot: (slot.queue_id, slot.lane))

        for slot in self.each(backlog):
            queue = next(queue for queue in QUEUES if queue.queue_id == slot.queue_id)
            found = self.read(slot, queue, 1000, 1 << 30)
            assert len(found) == slot.count
            for message_id, content_id in found:
                self.contents[message_id] = content_id
        self.each(lambda store: store.earliest_due())
        self.loaded()

    @rule(queue=queues)
    def what_expires(self, queue: Queue) -> None:
        async def ask(store: Store) -> list[tuple[Any, ...]]:
            return fields_of(await store.read_due(queue, LATEST, (0, 0), 1000, 1 << 30))

        found = self.each(ask)
        assert [row[:2] for row in found] == sorted(row[:2] for row in found)
        for due, message_id, *_ in [(0, 0), *found[-2:]]:
            self.each(lambda store, after=(due, message_id): store.next_due(queue, after))  # type: ignore[misc]

    def read(self, slot: Slot, queue: Queue, limit: int, limit_bytes: int) -> list[tuple[int, int]]:
        async def ask(store: Store) -> list[tuple[Any, ...]]:
            return fields_of(await store.read(queue, slot, limit, limit_bytes))

        found = self.each(ask)
        assert all(row[4] in (STORED, TRANSIENT) for row in found)
        return [(row[1], row[2]) for row in found]

    def loaded(self) -> Any:
        async def ask(store: Store) -> Any:
            topology = await store.load()
            unordered = (VirtualHostRecord, ExchangeRecord, QueueRecord)
            records = [record for each in unordered for record in sorted(topology.of(each), key=repr)]
            return Topology([*records, *topology.of(BindingRecord)])

        return self.each(ask)


def check(mariadb: DatabaseServer, postgresql: DatabaseServer, runs: int, steps: int, *, derandomize: bool) -> None:
    servers = {
        "mariadb": (mariadb, mariadb.create_database()),
        "postgresql": (postgresql, postgresql.create_database()),
    }
    used = False

    def new_makers(directory: Path) -> Mapping[str, Callable[[], Store]]:
        nonlocal used
        if used:
            for server, database in servers.values():
                empty(server, database)
        used = True
        at_servers = {name: server_maker(*place) for name, place in servers.items()}
        return {"memory": memory_maker(directory), "sqlite": sqlite_maker(directory), **at_servers}

    machine = type("AllStores", (StoreMachine,), {"new_makers": staticmethod(new_makers)})
    run_machine(machine, runs, steps, derandomize=derandomize)


def test_all_stores_give_the_same_answers(mariadb: DatabaseServer, postgresql: DatabaseServer) -> None:
    check(mariadb, postgresql, 5, 30, derandomize=True)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_all_stores_give_the_same_answers_over_many_runs(mariadb: DatabaseServer, postgresql: DatabaseServer) -> None:
    check(mariadb, postgresql, int(os.environ.get("STORE_MACHINE_RUNS", "300")), 50, derandomize=False)
