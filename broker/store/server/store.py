"""The store in a database server: one connection writes, one serves the cluster, a pool does everything else.

Each batch also inserts a row with its number, on condition that its incarnation still lasts (ADR 31). By that row the
store finds out later whether a commit without an answer was done, and a node that was replaced commits nothing. The
statements and the driver belong to a `Dialect`.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from bisect import bisect_right
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any, Final, TypeVar

import structlog
from sqlalchemy import Connection

from broker.errors import Evicted, StoreFull, StoreLocked, StoreShared, StoreUnavailable, StoreWentBack
from broker.message import Message, StorageQueue
from broker.ports.branches import BranchKey, PreparedBranch, Xid
from broker.ports.cluster_rows import Incarnation, SlotRow
from broker.ports.finding import FoundPage
from broker.ports.groups import GroupPage
from broker.ports.peer_calls import Fence
from broker.ports.records import Change, Topology
from broker.ports.slot import Slot
from broker.ports.store import Batch, DueKey, KeyPlace, KeySweep, Registration, StoreLook
from broker.ports.streams import ReaderPlace, StreamBounds, StreamPage, TrimRule
from broker.store.rows import ids_by_deliveries
from broker.store.server import looking, pages
from broker.store.server.batch import rows_of
from broker.store.server.choosing import DatabaseChoice
from broker.store.server.dialect import Dialect
from broker.store.server.engine import Engine, Failure, PoolLimits
from broker.store.server.lone_broker import LoneBroker
from broker.store.server.own_connection import OwnConnection
from broker.store.server.pages import ReadPage
from broker.store.server.writer import BatchWriter, Writing
from broker.store.sql import branches, cluster, damaged, finding, groups, keys, migrate, nodes, streams, went_back
from broker.store.sql import messages as message_rows
from broker.store.sql.cluster_store import SqlClusterStore
from broker.store.sql.shared_store import SqlEventStore, SqlMemberStore, SqlSlotStore
from broker.store.sql.topology import TOPOLOGY
from broker.store.wso2.survey import make_way

T = TypeVar("T")
K = TypeVar("K")

_log = structlog.get_logger(__name__)

_ROWS_PER_SECOND: Final = 2_000
"""What a slow server still manages: the deadline of a batch grows by a second for so many rows or octets."""
_OCTETS_PER_SECOND: Final = 1_000_000
_LOCK_TIMEOUT: Final = 5.0
"""Seconds to wait for the lock: the server may need them to notice that the broker before this one is gone."""
_LOCK_SILENCE: Final = 90.0
"""Seconds without a statement after which the lock of a machine that has vanished is free; probes come more often."""
_LEAVE_TIMEOUT: Final = 2.0
"""Seconds for telling that this broker is gone, which is a courtesy."""
_ONE_MOMENT: Final = "REPEATABLE READ"
_LONG_DEADLINE: Final = 600.0
"""Seconds for statements whose amount of work is not known beforehand: on whole queues, on the whole schema."""
_YOUNG_MS: Final = 30_000
"""Milliseconds after its last beat for which a node of a cluster counts as alive to a standalone broker."""
_GROUP_PAGES: Final = 16
"""Pages of the index of groups that one call looks at."""
CLUSTER_DEADLINE: Final = 2.0
"""Seconds for a call about the cluster: with heartbeatInterval 5 s a beat can be tried twice before trust ends."""


class ServerStore:
    """A store in the database that `dialect` connects to.

    It belongs to one standalone broker, or it `is_shared` by the nodes of a cluster. A standalone broker begins with
    `register`, a node of a cluster with `members.join`.
    """

    def __init__(
        self,
        dialect: Dialect,
        limits: PoolLimits,
        new_cluster_connection: Callable[[], OwnConnection],
        *,
        is_shared: bool,
        choice: DatabaseChoice,
        demands_safety: bool = False,
        make_way: migrate.MakeWay = make_way,
    ) -> None:
        """`choice` finds the database where several servers may have one. `make_way` looks at it before the schema is
        made (`migrate.upgrade`). A store that `demands_safety` commits nothing while a setting of the server can lose
        it.
        """
        self._dialect = dialect
        self._choice = choice
        self._make_way = make_way
        self._demands_safety = demands_safety
        self._is_shared = is_shared
        self._engine = Engine(dialect, limits)
        self._new_cluster_connection = new_cluster_connection
        self._cluster_connection = new_cluster_connection()
        self.cluster = SqlClusterStore(self._cluster_connection.run)
        self.slots = SqlSlotStore(self._work, self._assign_all)
        self.events = SqlEventStore(self._work, self._on_events_lost)
        before_join = self._notice_lone_broker if is_shared else None
        self.members = SqlMemberStore(self._work, self._cluster_connection.run, self._on_joined, before_join)
        self._product = ""
        self._writer = BatchWriter(self._engine, dialect, self._deadline, self._end_all, demands_safety=demands_safety)
        self._lone = LoneBroker(self._run, dialect.where)
        self._guard: Any = None
        self._guards = 0
        self._guard_lock = asyncio.Lock()
        self._asking = asyncio.Lock()
        self._node_id = ""
        self._incarnation: Incarnation | None = None
        self._times_gone_back = 0
        self._high_water = 0
        self._is_full = False
        self._is_freeing = False

    @asynccontextmanager
    async def cluster_beside(self) -> AsyncIterator[SqlClusterStore]:
        """Give the rows of the cluster over connections of their own, which belong to the event loop that runs now."""
        connection = self._new_cluster_connection()
        await connection.open()
        try:
            yield SqlClusterStore(connection.run)
        finally:
            await connection.close()

    def describe(self) -> str:
        where = self._dialect.servers.in_use
        return f"{self._product}, {where}" if self._product else where

    @property
    def connects(self) -> int:
        return self._writer.connects + self._guards + self._dialect.servers.not_replicated

    async def look(self) -> StoreLook:
        await self._engine.open()
        try:
            await self._engine.own(self._choice.make())
            await self._engine.own(self._refuse_pooler())
            work = looking.look(self._engine, self._dialect, is_shared=self._is_shared, young_ms=_YOUNG_MS)
            return await self._engine.own(work)
        finally:
            await self.close()

    async def open(self) -> None:
        self._engine.is_proven = False
        await self._engine.open()
        await self._cluster_connection.open()
        try:
            await self._engine.own(self._open())
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        await self._cluster_connection.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(_LEAVE_TIMEOUT):
                await self._lone.leave()
        await self._engine.close()
        self._writer.close()
        guard, self._guard = self._guard, None
        if guard is not None:
            self._dialect.abort(guard)

    async def distrust(self) -> None:
        if self._demands_safety:
            await self._writer.distrust()

    async def write(self, batch: Batch) -> None:
        high_water = batch.high_water if batch.high_water > self._high_water else 0
        if not batch and not high_water:
            return
        rows = rows_of(batch, high_water)
        try:
            await self._engine.own(self._writer.write(batch, rows))
        except StoreFull:
            self._is_full = True
            raise
        if self._is_full:
            self._is_full = not batch.inserts
            self._free_room()
        self._high_water = max(self._high_water, high_water)

    async def read(self, queue: StorageQueue, slot: Slot, limit: int, limit_bytes: int) -> list[Message]:
        async def page_from(raw: Any, start: int) -> ReadPage[int]:
            part = replace(slot, start=start)
            return await pages.slot_page(self._dialect, raw, queue, part, limit, limit_bytes)

        return await self._whole(queue.queue_id, page_from, slot.start, self._deadline(limit, limit_bytes))

    async def earliest_due(self) -> dict[int, int]:
        return await self._engine.run(message_rows.earliest_due, deadline=_LONG_DEADLINE)

    async def read_due(
        self, queue: StorageQueue, until_ms: int, after: DueKey, limit: int, limit_bytes: int
    ) -> list[Message]:
        async def page_behind(raw: Any, after: DueKey) -> ReadPage[DueKey]:
            return await pages.due_page(self._dialect, raw, queue, until_ms, after, limit, limit_bytes)

        return await self._whole(queue.queue_id, page_behind, after, self._deadline(limit, limit_bytes))

    async def next_due(self, queue: StorageQueue, after: DueKey) -> int | None:
        async def once() -> int | None:
            async with self._engine.raw(self._deadline()) as raw:
                return await pages.next_due(self._dialect, raw, queue, after)

        return await self._engine.own(self._engine.retrying(once, again=Failure.LOST))

    async def read_groups(self, queue_id: int, after: int, limit: int, depth: int) -> GroupPage:
        return await self._run(
            lambda connection: groups.read_groups(connection, queue_id, after, limit, depth), limit * _GROUP_PAGES
        )

    async def read_listed(self, queue: StorageQueue, message_ids: Sequence[int], limit_bytes: int) -> list[Message]:
        async def page_behind(raw: Any, after: int) -> ReadPage[int]:
            return await pages.listed_page(
                self._dialect, raw, queue, message_ids[bisect_right(message_ids, after) :], limit_bytes
            )

        return await self._whole(queue.queue_id, page_behind, 0, self._deadline(len(message_ids), limit_bytes))

    async def _whole(
        self, queue_id: int, page_from: Callable[[Any, K], Awaitable[ReadPage[K]]], start: K, deadline: float
    ) -> list[Message]:
        """Return the messages of the first page that has any; set aside what is damaged before them."""

        async def once() -> ReadPage[K]:
            async with self._engine.raw(deadline) as raw:
                return await page_from(raw, start)

        while True:
            page = await self._engine.own(self._engine.retrying(once, again=Failure.LOST))
            if page.damaged:
                await damaged.set_aside(self._work, self._incarnation, queue_id, page.damaged)
            if page.messages or page.next is None:
                return page.messages
            start = page.next

    async def find_messages(self, wanted: bytes, before: int, limit: int) -> FoundPage:
        return await self._run(lambda connection: finding.find_messages(connection, wanted, before, limit), limit)

    async def backlog(self) -> list[Slot]:
        return await self._engine.run(message_rows.backlog, deadline=_LONG_DEADLINE)

    async def mark_redelivered(self, messages: Sequence[Message]) -> None:
        ids = ids_by_deliveries(messages)
        await self._run(lambda connection: message_rows.mark_redelivered(connection, ids), len(messages))

    async def sweep_keys(self, after: KeyPlace, now_ms: int, limit: int) -> KeySweep:
        return await self._run(lambda connection: keys.sweep_keys(connection, after, now_ms, limit), limit)

    async def trim_keys(self, scope: int, keep: int, limit: int) -> int:
        return await self._run(lambda connection: keys.trim_keys(connection, scope, keep, limit), keep + limit)

    async def prepared_xids(self, vhost: str, limit: int) -> list[Xid]:
        return await self._run(lambda connection: branches.prepared_xids(connection, vhost, limit), limit)

    async def read_branch(self, key: BranchKey) -> PreparedBranch | None:
        return await self._engine.run(lambda connection: branches.read_branch(connection, key), deadline=_LONG_DEADLINE)

    async def stream_bounds(self, queue_ids: Sequence[int]) -> dict[int, StreamBounds]:
        return await self._run(lambda connection: streams.stream_bounds(connection, queue_ids), len(queue_ids))

    async def read_stream(self, queue_id: int, offset: int, limit_octets: int) -> StreamPage:
        deadline = self._deadline(octets=limit_octets)
        return await self._engine.run(
            lambda connection: streams.read_stream(connection, queue_id, offset, limit_octets), deadline=deadline
        )

    async def find_in_stream(self, queue_id: int, time_ms: int) -> int | None:
        return await self._run(lambda connection: streams.find_in_stream(connection, queue_id, time_ms))

    async def trim_stream(self, queue_id: int, retention: TrimRule, limit: int) -> int:
        return await self._run(lambda connection: streams.trim_stream(connection, queue_id, retention, limit), limit)

    async def keep_places(self, places: Mapping[ReaderPlace, int]) -> None:
        await self._run(lambda connection: streams.keep_places(connection, places), len(places))

    async def place_in_stream(self, place: ReaderPlace) -> int | None:
        return await self._run(lambda connection: streams.place_in_stream(connection, place))

    async def places_in_stream(self, queue_id: int) -> dict[str, int]:
        return await self._run(lambda connection: streams.places_in_stream(connection, queue_id))

    async def forget_place(self, place: ReaderPlace) -> bool:
        return await self._run(lambda connection: streams.forget_place(connection, place))

    async def load(self) -> Topology:
        return await self._engine.run(TOPOLOGY.load, deadline=_LONG_DEADLINE)

    async def record(self, changes: Sequence[Change]) -> None:
        deadline = _LONG_DEADLINE if TOPOLOGY.deletes_messages(changes) else self._deadline(len(changes))
        await self._engine.run(lambda connection: TOPOLOGY.record(connection, changes), deadline=deadline)

    async def reserve_queue_ids(self, count: int) -> tuple[int, int]:
        return await self._run(lambda connection: nodes.reserve_queue_ids(connection, count))

    async def register(self, node_id: str) -> Registration:
        incarnation = uuid.uuid4().hex

        def register(connection: Connection) -> tuple[frozenset[str], Registration]:
            known = nodes.incarnations(connection)
            return known, nodes.register(connection, node_id, incarnation)

        known, registration = await self._engine.run(register, deadline=_LONG_DEADLINE)
        self._incarnation = None
        self._begin(Writing(node_id, registration.lane, incarnation, known=known))
        return registration

    def _on_joined(self, incarnation: Incarnation, registration: Registration, times_gone_back: int) -> None:
        self._incarnation = incarnation
        self._times_gone_back = times_gone_back
        self._begin(Writing(incarnation.node_id, registration.lane, incarnation.id, incarnation))

    def _begin(self, writing: Writing) -> None:
        self._node_id = writing.node_id
        self._high_water = 0
        self._writer.begin(writing)
        self._engine.is_proven = True

    async def why_ended(self, error: Evicted) -> Evicted:
        """Return what has ended this incarnation: `error`, or that another node has found the database gone back."""
        if self._incarnation is None or isinstance(error, StoreWentBack):
            return error
        times = await self._run(went_back.times_gone_back)
        if times == self._times_gone_back:
            return error
        return StoreWentBack(
            "another node has found that the database has lost what it had committed: confirms of the"
            " last seconds before may be void"
        )

    async def _on_events_lost(self, count: int) -> None:
        """Events of topology that were recorded are not there: end all incarnations."""
        if self._incarnation is not None:
            _log.error("the database has lost what it had committed", events=count, server=self._dialect.servers.in_use)
            await self._end_all(self._incarnation)
            raise StoreWentBack(f"the database has lost {count} changes of topology that it had committed")

    async def _end_all(self, member: Incarnation) -> None:
        seen, node_id = self._times_gone_back, member.node_id
        if await self._run(lambda connection: went_back.end_all(connection, seen, node_id)):
            _log.warning("all nodes of the cluster begin anew, because the database has gone back", node=node_id)

    async def resign(self) -> None:
        await self._run(lambda connection: nodes.resign(connection, self._node_id))

    async def probe(self) -> float:
        return await self._engine.own(self._probe_in_turn())

    async def time_ms(self) -> int:
        async def once() -> int:
            async with self._engine.raw() as raw:
                return await self._dialect.time_ms(raw)

        return await self._engine.own(self._engine.retrying(once, again=Failure.LOST))

    async def check_safety(self) -> Sequence[str]:
        async def once() -> list[str]:
            async with self._engine.raw() as raw:
                return await self._dialect.check_safety(raw)

        if not self._choice.is_complete:
            self._engine.start(self._ask_again())
        return await self._engine.own(self._engine.retrying(once))

    async def _ask_again(self) -> None:
        """Record of servers that come later that they have no other database, for a start when another one is away."""
        if self._asking.locked():
            return  # a server that says nothing may keep the last question for longer than it is to the next one
        async with self._asking:
            if await self._choice.ask_again():
                await self._run(self._choice.take)

    async def _assign_all(self, rows: Sequence[SlotRow], incarnation: Incarnation, fence: Fence) -> bool:
        async def once() -> bool:
            async with self._engine.raw(self._deadline(len(rows))) as raw:
                return await self._dialect.assign(raw, rows, incarnation, fence)

        return await self._engine.own(self._engine.retrying(once, again=Failure.LOST))

    async def _run(self, function: Callable[[Connection], T], rows: int = 0) -> T:
        return await self._engine.run(function, deadline=self._deadline(rows))

    async def _work(
        self,
        function: Callable[[Connection], T],
        *,
        rows: int = 0,
        is_long: bool = False,
        sees_one_moment: bool = False,
    ) -> T:
        deadline = _LONG_DEADLINE if is_long else self._deadline(rows)
        return await self._engine.run(function, deadline=deadline, isolation=_ONE_MOMENT if sees_one_moment else None)

    def _deadline(self, rows: int = 0, octets: int = 0) -> float:
        return self._engine.limits.socket_timeout + rows / _ROWS_PER_SECOND + octets / _OCTETS_PER_SECOND

    # Opening

    async def _open(self) -> None:
        await self._choice.make()
        await self._refuse_pooler()
        self._guard = await self._locked()
        if self._is_shared:  # to get the lock proves that no standalone broker has it; this node does not keep it
            self._dialect.abort(self._guard)
            self._guard = await self._engine.connect()
        await self._choice.keep(await self._engine.retrying(self._create_schema))
        if not self._is_shared:
            await self._refuse_cluster()
        if self._dialect.has_local_locks(self._guard):
            if self._is_shared:
                await self._lone.look()
            else:
                await self._lone.take()
                self._engine.start(self._lone.keep())

    async def _refuse_pooler(self) -> None:
        """Raise `ConfigError` when what a session has, such as its locks, is lost between two transactions."""
        raw = await self._engine.connect()
        try:
            other = await self._engine.connect()
            try:
                with self._engine.translated(), self._engine.deadline(raw), self._engine.deadline(other):
                    await self._dialect.refuse_shared_sessions(raw, other)
            finally:
                self._dialect.abort(other)
        finally:
            self._dialect.abort(raw)

    async def _locked(self) -> Any:
        """Return a connection that holds the lock of a standalone broker. Raises `StoreLocked` when it is taken."""
        raw = await self._engine.connect()
        try:
            with self._engine.translated(), self._engine.deadline(raw, self._deadline() + _LOCK_TIMEOUT):
                self._product = await self._dialect.describe(raw)
                if not await self._dialect.lock(raw, "broker", wait=_LOCK_TIMEOUT, silence=_LOCK_SILENCE):
                    raise StoreLocked(
                        f"{self._dialect.where} is in use by another broker{self._outside}; stop it or choose another"
                        f" (if its machine has vanished: wait {_LOCK_SILENCE:g} s)"
                    )
        except BaseException:
            self._dialect.abort(raw)
            raise
        return raw

    @property
    def _outside(self) -> str:
        return ", which is not clustered" if self._is_shared else ""

    async def _notice_lone_broker(self) -> None:
        """Raise `StoreLocked` when a standalone broker has started since this store was opened.

        A standalone broker takes the lock first and then looks for nodes; a node registers first and then tries the
        lock. So at least one of them sees the other.
        """
        raw = await self._engine.own(self._locked())
        has_local_locks = self._dialect.has_local_locks(raw)
        self._dialect.abort(raw)
        if has_local_locks:
            await self._lone.look()

    async def _refuse_cluster(self) -> None:
        """Raise `StoreShared` when a node of a cluster is alive, or may be."""
        member = await self._run(lambda connection: cluster.young_member(connection, _YOUNG_MS))
        if member is not None:
            raise StoreShared(
                f"{self._dialect.where} is in use by the node {member!r} of a cluster; stop all its nodes or choose"
                f" another (if it has crashed: wait {_YOUNG_MS // 1000} s)"
            )

    async def _create_schema(self) -> int:
        """Create the schema or bring it up to date; wait while another node does that. Return the database's number."""
        raw = await self._engine.connect()
        try:
            with self._engine.deadline(raw, _LONG_DEADLINE):
                if not await self._dialect.lock(raw, "schema", wait=60.0, silence=_LONG_DEADLINE):
                    raise StoreUnavailable(f"{self._dialect.where}: another node has been setting up for 60 s")
                async with self._engine.connection(_LONG_DEADLINE) as connection, self._engine.committing(connection):
                    await connection.run_sync(migrate.upgrade, self._make_way)
                    return await connection.run_sync(self._choice.take)
        finally:
            self._dialect.abort(raw)

    # Writing

    def _free_room(self) -> None:
        """Let the server find the room of deleted rows, beside everything else; while it does, do nothing."""
        if self._is_freeing:
            return
        self._is_freeing = True

        async def free() -> None:
            try:
                async with self._engine.raw(_LONG_DEADLINE) as raw:
                    await self._dialect.free_room(raw)
            finally:
                self._is_freeing = False

        self._engine.start(free())

    # Probing

    async def _probe_in_turn(self) -> float:
        """Probe when no other probe uses the guard: a start asks while the store is watched already."""
        async with self._guard_lock:
            return await self._probe()

    async def _probe(self) -> float:
        started = time.perf_counter()
        try:
            if self._guard is None:
                await self._stand_guard()
            with self._engine.translated(), self._engine.deadline(self._guard):
                await self._dialect.probe(self._guard, self._node_id)
        except BaseException:
            guard, self._guard = self._guard, None
            if guard is not None:
                self._dialect.abort(guard)
            raise
        return time.perf_counter() - started

    async def _stand_guard(self) -> None:
        """Connect anew, and look whether everything is as it was."""
        self._guard = await self._engine.connect()
        self._guards += 1
        with self._engine.translated(), self._engine.deadline(self._guard):
            self._product = await self._dialect.describe(self._guard)
            if not self._is_shared:
                # Not getting the lock does no harm: the node that was replaced cannot commit.
                await self._dialect.lock(self._guard, "broker", wait=0.0, silence=_LOCK_SILENCE)
            await self._writer.verify(self._guard)
