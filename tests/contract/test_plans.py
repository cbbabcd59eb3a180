"""No statement of a running node reads a whole table that grows, on any database.

Everything that a store offers to a running node is done once on large tables; the database tells which statements that
makes, and their plans.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from broker.message import KeyClaim
from broker.ports.branches import BranchKey, PreparedBranch, Xid
from broker.ports.cluster import ClusterStore, EventStore, MemberStore, SlotStore
from broker.ports.cluster_rows import Beat, Claim, Incarnation, Leave, Renew, Resign
from broker.ports.groups import BEFORE_GROUPS, GroupHead, GroupRow
from broker.ports.peer_calls import Fence
from broker.ports.records import (
    BindingRecord,
    Change,
    Drop,
    ExchangeKey,
    ExchangeRecord,
    Put,
    QueueKey,
    QueueRecord,
    SubscriptionKey,
    SubscriptionRecord,
    VirtualHostRecord,
)
from broker.ports.slot import Slot
from broker.ports.store import FIRST_KEY, Batch, Store
from broker.ports.streams import StreamAppend, StreamBounds, TrimRule
from broker.store.sqlite.store import SqliteStore
from tests.contract.cluster_calls import register
from tests.contract.harness import LATEST, Queue, expiring, message, server_maker
from tests.contract.nodes import Nodes, message_id, row, slot
from tests.contract.test_deduplication_keys import batch, keyed
from tests.support.databases import DatabaseServer
from tests.support.plans import LANE, QUEUE, QUEUES, ROWS, Listener, MariaDbListener, PostgreSqlListener, SqliteListener

OF_A_START = {
    "open",
    "look",
    "close",
    "describe",
    "check_safety",
    "register",
    "resign",
    "join",
    "load",
    "backlog",
    "earliest_due",
}
"""What a node does before it serves anybody or after that; it reads all there is."""
OF_A_TERM = {"slots", "window", "reclaim"}
"""What is done once when a term begins or an incarnation ends; it reads all slots, or the messages of a lane."""
PORTS = {"store": Store, "cluster": ClusterStore, "slots": SlotStore, "events": EventStore, "members": MemberStore}

LARGE = Queue(QUEUE + 7)
NEW = Queue(QUEUE + ROWS)
GROUPED = Queue(QUEUE + 17)
STREAM = Queue(QUEUE + 19, is_stream=True)
VHOST = VirtualHostRecord("other")
EXCHANGE = ExchangeRecord("other", "e", "topic")
ORDERS = QueueRecord("other", "orders", NEW.queue_id)
BINDING = BindingRecord("other", "e", "queue", "orders", "k", b"")


class Doing:
    """Passes calls on to a port and remembers which of its methods were called."""

    def __init__(self, port: Any) -> None:
        self._port = port
        self.done: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        self.done.add(name)
        return getattr(self._port, name)


class Everything:
    """All that running nodes ask of a store."""

    def __init__(self, store: Any, incarnation: Incarnation) -> None:
        self.incarnation = incarnation
        self.ports = {"store": Doing(store)} | {name: Doing(getattr(store, name)) for name in PORTS if name != "store"}

    async def do(self, lane: int) -> None:
        await self.write(lane)
        await self.ask_for_groups(lane)
        await self.use_streams(lane)
        await self.change_topology()
        await self.coordinate()
        await self.move_slots(lane)

    async def write(self, lane: int) -> None:
        store = self.ports["store"]
        first, *rest = [expiring(message_id(10 * ROWS + number, lane), 1, NEW) for number in range(20)]
        shared = message(message_id(10 * ROWS + 30, lane), NEW, b"x" * 100_000, content_id=message_id(10 * ROWS, lane))
        await store.write(Batch([first, *rest], high_water=1))
        await store.write(Batch([shared], rest[:2], high_water=rest[-1].id))
        await store.write(Batch(deletes=[shared], purges=[Slot(LARGE.queue_id, LANE, 0, LATEST, 0, transient=True)]))
        await store.write(Batch(slots=[slot(lane, 10 * ROWS, 10 * ROWS + 1, queue=NEW)]))
        for is_transient in (False, True):
            await store.read(LARGE, Slot(LARGE.queue_id, LANE, 0, LATEST, 0, transient=is_transient), 100, 1 << 20)
        assert len(await store.read_due(NEW, LATEST, (first.due, 0), 100, 1 << 20)) == len(rest) - 1
        await store.read_due(LARGE, ROWS, (ROWS // 2, 0), 100, 1 << 20)
        assert await store.next_due(NEW, (0, 0)) == first.due
        await store.write(Batch(recounts=[first, *rest[2:]]))
        assert (await store.find_messages(b"no such octets", LATEST, 100)).seen == 100
        branch = PreparedBranch(BranchKey("other", Xid(1, b"g", b"b")), b"content")
        await store.write(Batch(prepared=[branch]))
        assert await store.prepared_xids("other", 10) == [branch.key.xid]
        assert await store.read_branch(branch.key) == branch
        await store.write(Batch(resolved=[branch.key]))
        await self.ask_for_keys(lane)
        await store.mark_redelivered([first])
        await store.reserve_queue_ids(10)
        await store.distrust()
        await store.probe()
        await store.time_ms()

    async def ask_for_keys(self, lane: int) -> None:
        store = self.ports["store"]
        there = [KeyClaim(QUEUE + number, f"{number:032}", number, ROWS, 0) for number in (7, 8)]
        asking = [keyed(message_id(10 * ROWS + 40, lane), there[0]), keyed(message_id(10 * ROWS + 41, lane), there[1])]
        asked = batch(*asking)
        await store.write(asked)
        assert asked.duplicates == {asking[1].id}  # the time of the first one's key was over
        after = FIRST_KEY
        for _ in range(3):
            after = (await store.sweep_keys(after, ROWS, 100)).last or FIRST_KEY
        await store.sweep_keys((QUEUE + 77, "5"), ROWS, 100)
        assert await store.trim_keys(QUEUE + 1000, 5, 3) == 3

    async def ask_for_groups(self, lane: int) -> None:
        store = self.ports["store"]
        there = [message_id(number, LANE) for number in range(17, ROWS, QUEUES)]
        sent = message(message_id(10 * ROWS + 50, lane), GROUPED, b"x" * 100_000)
        gone = [message_id(10 * ROWS + number, lane) for number in (51, 52)]
        rows = [GroupRow(each, GROUPED.queue_id, 1) for each in (sent.id, *gone)]
        await store.write(Batch([sent], grouped=rows))
        await store.write(Batch(deletes=[message(gone[0], GROUPED)], ungrouped=gone[:1]))
        page = await store.read_groups(GROUPED.queue_id, BEFORE_GROUPS, 100, 5)
        assert page.heads == [GroupHead(1, [sent.id]), GroupHead(17, there[:5])]
        assert (await store.read_groups(GROUPED.queue_id, 1, 3, 2)).heads == [GroupHead(17, there[:2])]
        listed = await store.read_listed(GROUPED, [*there, sent.id], 1 << 20)
        assert [each.id for each in listed] == [sent.id]  # the others are damaged, and set aside

    async def use_streams(self, lane: int) -> None:
        store, stream = self.ports["store"], STREAM.queue_id
        end = ROWS + 19
        sent = [message(message_id(10 * ROWS + 60 + number, lane), STREAM, b"x" * 100_000) for number in range(2)]
        append = StreamAppend(stream, sent)
        await store.write(Batch(appends=[append, StreamAppend(stream + 1, sent[:1])]))
        assert append.first == end
        assert (await store.read_stream(stream, end + 1, 1 << 20)).end == end + 2
        assert (await store.read_stream(stream, 0, 1 << 20)).end == end + 2
        assert await store.find_in_stream(stream, ROWS // 2) == ROWS // 2 + 19
        assert await store.trim_stream(stream, TrimRule(None, ROWS // 4), 100) == 3
        assert await store.trim_stream(stream, TrimRule(append.octets, None), 2) == 2
        bounds = await store.stream_bounds(range(stream, stream + 20))
        assert len(bounds) == 20
        assert bounds[stream] == StreamBounds(5 * QUEUES + 19, end + 2, 5 * QUEUES + append.octets)
        for offset in (7, 8):
            await store.keep_places({(stream, "new"): offset, (stream, "c19"): offset, (NEW.queue_id, "gone"): offset})
        assert await store.place_in_stream((stream, "c19")) == 8
        assert len(await store.places_in_stream(stream)) == ROWS // QUEUES + 1
        assert await store.forget_place((stream, "new"))

    async def change_topology(self) -> None:
        queue = QueueKey("v11", "q11", QUEUE + 11)
        subscription = SubscriptionRecord(QUEUE + 12, "a", "1", exclusive=False)
        together: list[Change] = [
            *map(Put, (VHOST, EXCHANGE, ORDERS, BINDING, subscription)),
            Drop(SubscriptionKey(QUEUE + 12, "a", "1")),
            Drop(BINDING),
            Drop(ExchangeKey("v13", "e13")),
            Drop(queue),
            Drop(VHOST),
        ]
        for each in together:
            await self.ports["store"].record([each])
        events = self.ports["events"]
        assert await events.record(together, b"", expected=ROWS, token="t", incarnation=self.incarnation)
        assert await events.record(together, b"", expected=ROWS, token="t", incarnation=self.incarnation)
        await events.events(ROWS - 100, 50)
        await events.note_cursor(self.incarnation, ROWS, "hash")
        await events.cursors()
        await events.prune(ROWS - 10)

    async def coordinate(self) -> None:
        cluster, members = self.ports["cluster"], self.ports["members"]
        lease = await cluster.read_lease()
        assert await cluster.claim(Claim(lease, "t1", 0.0, 0.0), "a", "127.0.0.1", 7611)
        assert await cluster.renew(Renew(1, "t1", 0.0, 0.0), "a")
        assert await cluster.beat(Beat("1", 0.0, 0.0), "a")
        await members.coordinator_address()
        await members.note_contact(self.incarnation, True, "a")
        await register(cluster, "d", "1")
        await cluster.leave(Leave("1"), "d")
        await register(cluster, "e", "1")
        assert await cluster.evict(await cluster.own_row("e"), 1, "t1")
        await cluster.nodes()
        await cluster.timeline(10)

    async def move_slots(self, lane: int) -> None:
        slots, fence = self.ports["slots"], Fence(1, "t1")
        assert await slots.fence() == fence
        free = [row(slot(LANE, number, number + 1, queue=Queue(QUEUE + number % 500))) for number in (101, 103)]
        assert len(await slots.assign(free, self.incarnation, fence)) == 2
        changed = [row(slot(LANE, 105, 107, queue=Queue(QUEUE + 105)))]
        assert await slots.assign(changed, self.incarnation, fence) == []
        assert len(await slots.owned(self.incarnation)) == 2
        await slots.finish([each.start for each in free], self.incarnation)
        piece = slot(lane, 10 * ROWS + 5, 10 * ROWS + 6, queue=NEW)
        assert await slots.cut([], [], [piece], self.incarnation)
        [own] = await slots.assign([row(piece)], self.incarnation, fence)
        assert await slots.cut([own.start], [], [piece], self.incarnation)
        await slots.purge(QUEUE + 109)
        assert await slots.stored(QUEUE + 11) >= 0
        await self.ports["cluster"].resign(Resign(1, "t1"), "a")

    def not_done(self) -> set[tuple[str, str]]:
        """Return the methods of the ports that were not called, without those that begin or end something."""
        asked = {
            (port, name)
            for port, kind in PORTS.items()
            for name, _ in inspect.getmembers(kind, inspect.isfunction)
            if not name.startswith("_") and name not in OF_A_START | OF_A_TERM
        }
        return asked.difference((port, name) for port, doing in self.ports.items() for name in doing.done)


@asynccontextmanager
async def large(kind: str, request: pytest.FixtureRequest, folder: Path) -> AsyncIterator[tuple[Nodes, Any, Listener]]:
    """Open a store and yield it with its listener, which fills the tables when it begins."""
    listener: Listener
    if kind == "sqlite":
        nodes = Nodes(lambda: SqliteStore(folder / "mb.db"), is_single=True)
        listener = SqliteListener(store := await nodes.store())
        async with aclosing(nodes):
            yield nodes, store, listener
        return
    server: DatabaseServer = request.getfixturevalue(kind.partition(" ")[0])
    database = server.create_database()
    if kind == "mariadb":
        listener = MariaDbListener(server, database)
    else:
        listener = PostgreSqlListener(server, database, server._log, has_generic_plans="generic" in kind)
        listener.prepare()
    nodes = Nodes(server_maker(server, database, is_shared=True))
    async with aclosing(nodes):
        yield nodes, await nodes.store(), listener
    server.drop_database(database)


@pytest.mark.parametrize("kind", ["sqlite", "mariadb", "postgresql", "postgresql generic"])
async def test_no_statement_of_a_running_node_reads_a_whole_table_that_grows(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    async with large(kind, request, tmp_path) as (nodes, store, listener):
        incarnation = await nodes.register(store, "a", "1")
        lane = (await store.members.join(incarnation)).lane
        await listener.begin()
        everything = Everything(store, incarnation)

        await everything.do(lane)

        assert everything.not_done() == set()
        scans = [f"{scan.table}: {scan.statement[:300]}" for scan in listener.scans()]
    assert "\n".join(scans) == ""
