"""Nodes of a cluster over one store: how they begin and end, and messages of their lanes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from broker.message import TRANSIENT, Message
from broker.ports.cluster_rows import Incarnation, Lease, Leave, NodeState, SlotRow
from broker.ports.peer_calls import Fence
from broker.ports.slot import Slot
from broker.ports.store import Batch, Registration
from tests.contract.cluster_calls import NEVER_HELD, claim, register
from tests.contract.harness import LATEST, ORDERS, Queue, message
from tests.support.databases import DatabaseServer


def message_id(number: int, lane: int = 0) -> int:
    """Return the id that is `number` in the order of all lanes' ids."""
    return number << 18 | lane << 10


def messages(lane: int, *numbers: int, queue: Queue = ORDERS, body: bytes = b"hello") -> list[Message]:
    return [message(message_id(number, lane), queue, body) for number in numbers]


def transient(lane: int, *numbers: int, queue: Queue = ORDERS) -> list[Message]:
    return [message(message_id(number, lane), queue, state=TRANSIENT) for number in numbers]


def slot(lane: int, first: int, last: int, count: int | None = None, queue: Queue = ORDERS, **flags: Any) -> Slot:
    start, end = message_id(first, lane), message_id(last, lane)
    return Slot(queue.queue_id, lane, start, end, last - first + 1 if count is None else count, **flags)


def row(piece: Slot, owner: Incarnation | None = None, **flags: Any) -> SlotRow:
    """Return the row of a slot."""
    place = piece.queue_id, piece.lane, piece.start, piece.end, piece.count
    return replace(SlotRow(*place, piece.maybe_delivered, piece.transient, owner), **flags)


@dataclass
class Node:
    """A node that has joined, and its store: the ports of a cluster are attributes of it."""

    store: Any
    incarnation: Incarnation
    registration: Registration

    @property
    def lane(self) -> int:
        return self.registration.lane

    async def insert(self, *inserts: Message) -> None:
        await self.store.write(Batch(inserts=list(inserts), high_water=max(one.id for one in inserts)))

    async def delete(self, *deletes: Message) -> None:
        await self.store.write(Batch(deletes=list(deletes)))

    async def ids(self, queue: Queue = ORDERS, *, lane: int = 0, is_transient: bool = True) -> list[int]:
        """Return the numbers of all messages that a queue has in a lane."""
        whole = Slot(queue.queue_id, lane, 0, LATEST, 0, transient=is_transient)
        return [one.id >> 18 for one in await self.store.read(queue, whole, 1000, 1 << 30)]

    async def give(self, *given: Slot) -> list[SlotRow]:
        return list(await self.store.slots.cut([], [], given, self.incarnation))


@dataclass
class Nodes:
    """What one store's nodes are. SQLite has one store, which is whose incarnation began last."""

    make: Callable[[], Any]
    stores: list[Any] = field(default_factory=list)
    fence: Fence = field(default_factory=Fence)
    is_single: bool = False

    async def store(self) -> Any:
        if self.is_single and self.stores:
            return self.stores[0]
        made = self.make()
        await made.open()
        self.stores.append(made)
        return made

    async def register(self, store: Any, node_id: str, incarnation: str) -> Incarnation:
        seen = await store.cluster.own_row(node_id)
        assert await register(store.cluster, node_id, incarnation, seen)
        return Incarnation(node_id, incarnation)

    async def join(self, node_id: str, incarnation_id: str = "1") -> Node:
        store = await self.store()
        incarnation = await self.register(store, node_id, incarnation_id)
        return Node(store, incarnation, await store.members.join(incarnation))

    async def coordinate(self, node: Node) -> Fence:
        """Let `node` claim the lease."""
        lease: Lease = await node.store.cluster.read_lease()
        assert lease == NEVER_HELD or lease.epoch == self.fence.epoch
        term = f"t{lease.epoch + 1}"
        assert await claim(node.store.cluster, lease, term, node.incarnation.node_id)
        self.fence = Fence(lease.epoch + 1, term)
        return self.fence

    async def evict(self, node: Node) -> None:
        """Evict `node` with its own connection and the coordinator's power."""
        seen = await node.store.cluster.own_row(node.incarnation.node_id)
        if not self.fence.epoch:
            await self.coordinate(node)
        assert await node.store.cluster.evict(seen, self.fence.epoch, self.fence.term)
        seen = await node.store.cluster.own_row(node.incarnation.node_id)
        assert seen.state is NodeState.DEAD

    async def leave(self, node: Node) -> None:
        await node.store.cluster.leave(Leave(node.incarnation.id), node.incarnation.node_id)

    async def aclose(self) -> None:
        for store in self.stores:
            await store.close()

    close = aclose


@dataclass
class OnServer:
    """Nodes whose store is a database server, and the administrator's view of it."""

    server: DatabaseServer
    database: str
    nodes: Nodes

    @property
    def is_mariadb(self) -> bool:
        return self.server.kind == "mariadb"

    def sql(self, statement: str) -> list[str]:
        """Run statements, whose names stand in double quotes; return a line for each row."""
        text = statement.replace('"', "`") if self.is_mariadb else statement
        return self.server.sql(text, self.database).splitlines()

    async def someone_waits(self) -> None:
        """Return when a transaction waits for a lock."""
        waiting = (
            "SELECT VARIABLE_VALUE FROM information_schema.GLOBAL_STATUS"
            " WHERE VARIABLE_NAME = 'INNODB_ROW_LOCK_CURRENT_WAITS'"
            if self.is_mariadb
            else "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        )
        for _ in range(500):
            if self.sql(waiting) != ["0"]:
                return
            await asyncio.sleep(0.01)
        raise AssertionError("nobody waits for a lock")
