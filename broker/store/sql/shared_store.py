"""The ports `SlotStore`, `EventStore` and `MemberStore` over any database.

Each call is one transaction. It may be done twice, and the second time it changes nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Protocol, TypeAlias, TypeVar

from sqlalchemy import Connection

from broker.ports.cluster_rows import Cursor, EventPage, Incarnation, SlotRow
from broker.ports.peer_calls import Fence
from broker.ports.records import Change, Topology
from broker.ports.slot import Slot
from broker.ports.store import Registration
from broker.store.sql import cluster, events, fencing, members, messages, recovery, slots, went_back
from broker.store.sql.cluster_store import Run
from broker.store.sql.topology import TOPOLOGY

T = TypeVar("T")

AssignAll: TypeAlias = Callable[[Sequence[SlotRow], Incarnation, Fence], Awaitable[bool]]


class Work(Protocol):
    """Calls a function in a transaction of its own, and again after a conflict or a lost connection.

    `rows` is how many rows it touches, as far as that is known. One that `is_long` reads a whole lane or deletes whole
    queues, so its time cannot be told. One that `sees_one_moment` reads everything as it was at its first statement.
    """

    def __call__(
        self,
        function: Callable[[Connection], T],
        *,
        rows: int = 0,
        is_long: bool = False,
        sees_one_moment: bool = False,
    ) -> Awaitable[T]: ...


class SqlSlotStore:
    """The slots of all nodes in the table of a database."""

    def __init__(self, work: Work, assign_all: AssignAll | None = None) -> None:
        """`assign_all` is a faster `assign`: it returns False and changes nothing unless it can assign all slots."""
        self._work = work
        self._assign_all = assign_all

    async def slots(self) -> list[SlotRow]:
        return await self._work(slots.slots, is_long=True)

    async def owned(self, incarnation: Incarnation) -> list[SlotRow]:
        return await self._work(lambda connection: slots.owned(connection, incarnation))

    async def fence(self) -> Fence:
        return await self._work(fencing.read_fence)

    async def assign(self, rows: Sequence[SlotRow], incarnation: Incarnation, fence: Fence) -> list[SlotRow]:
        if self._assign_all is not None and rows and await self._assign_all(rows, incarnation, fence):
            return [replace(row, owner=incarnation) for row in rows]
        return await self._work(lambda connection: slots.assign(connection, rows, incarnation, fence), rows=len(rows))

    async def cut(
        self, removed: Sequence[int], kept: Sequence[Slot], given: Sequence[Slot], incarnation: Incarnation
    ) -> list[SlotRow]:
        return await self._work(
            lambda connection: slots.cut(connection, removed, kept, given, incarnation),
            rows=len(removed) + len(kept) + len(given),
        )

    async def finish(self, starts: Sequence[int], incarnation: Incarnation) -> list[int]:
        return await self._work(lambda connection: slots.finish(connection, starts, incarnation), rows=len(starts))

    async def purge(self, queue_id: int) -> int:
        return await self._work(lambda connection: slots.purge(connection, queue_id), is_long=True)

    async def stored(self, queue_id: int) -> int:
        return await self._work(lambda connection: messages.count_queue_messages(connection, queue_id), is_long=True)

    async def window(self, lane: int, size: int) -> list[Slot]:
        return await self._work(lambda connection: recovery.window(connection, lane, size), is_long=True)

    async def reclaim(self, fence: Fence, size: int) -> int:
        return await self._work(lambda connection: recovery.reclaim(connection, fence, size), is_long=True)


class SqlEventStore:
    """Events, and the topology that results from them, in the tables of a database."""

    def __init__(self, work: Work, on_lost: Callable[[int], Awaitable[None]] | None = None) -> None:
        """`on_lost` is called with the number of events that were there and are not any more."""
        self._work = work
        self._on_lost = on_lost

    async def record(
        self, changes: Sequence[Change], payload: bytes, *, expected: int, token: str, incarnation: Incarnation
    ) -> bool:
        return await self._work(
            lambda connection: events.record(
                connection, changes, payload, expected=expected, token=token, incarnation=incarnation
            ),
            rows=len(changes),
            is_long=TOPOLOGY.deletes_messages(changes),
        )

    async def events(self, after: int, limit: int) -> EventPage:
        page = await self._work(lambda connection: events.events(connection, after, limit), rows=limit)
        if page.last < after and self._on_lost is not None:
            await self._on_lost(after - page.last)
        return page

    async def load(self) -> tuple[Topology, int]:
        return await self._work(events.load, is_long=True, sees_one_moment=True)

    async def note_cursor(self, incarnation: Incarnation, event_id: int, topology_hash: str) -> None:
        await self._work(lambda connection: events.note_cursor(connection, incarnation, event_id, topology_hash))

    async def cursors(self) -> list[Cursor]:
        return await self._work(events.cursors)

    async def prune(self, keep: int) -> int:
        return await self._work(lambda connection: events.prune(connection, keep), is_long=True)


class SqlMemberStore:
    """Lets incarnations of this node begin to write.

    `before_join` may raise to refuse a join. `on_joined` is called before `join` returns; its last argument is how
    often the database has gone back (`went_back.times_gone_back`).
    """

    def __init__(
        self,
        work: Work,
        run: Run,
        on_joined: Callable[[Incarnation, Registration, int], None],
        before_join: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._work = work
        self._run = run
        self._on_joined = on_joined
        self._before_join = before_join

    async def join(self, incarnation: Incarnation) -> Registration:
        members.check_incarnation(incarnation)
        if self._before_join is not None:
            await self._before_join()

        def join(connection: Connection) -> tuple[Registration, int]:
            return members.join(connection, incarnation), went_back.times_gone_back(connection)

        registration, times = await self._work(join, is_long=True)
        self._on_joined(incarnation, registration, times)
        return registration

    async def note_contact(self, member: Incarnation, is_reached: bool, node_id: str) -> None:
        await self._work(lambda connection: cluster.note_contact(connection, member, is_reached, node_id))

    async def coordinator_address(self) -> tuple[str, int, Fence] | None:
        return await self._run(cluster.coordinator_address, repeatable=True, is_single=True)
